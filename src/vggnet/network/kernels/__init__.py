"""Triton kernels for what cuDNN leaves over in a training step: the passes between convolutions.

`elementwise` holds the kernels, `reference` what they compute in PyTorch's own words. Triton comes with PyTorch's CUDA
builds; nothing here is imported where it is not needed.
"""
