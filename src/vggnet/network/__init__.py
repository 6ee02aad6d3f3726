"""The nets of Table 1: layers, initialisation, weight files, named layers, perceptual losses. Begin with `vgg.py`."""
