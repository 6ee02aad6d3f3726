"""The nets of Table 1: layers, initialisation, weight files, named layers. Begin with `vgg.py`."""
