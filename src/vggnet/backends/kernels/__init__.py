"""Triton kernels for what cuDNN leaves over: the passes between convolutions, and conv1_1.

`elementwise` holds the passes, `first_layer` conv1_1, `reference` what both compute in PyTorch's own words. Triton
comes with PyTorch's CUDA builds; nothing here is imported where it is not needed.
"""
