"""Triton kernels for what cuDNN has no fast kernel for: the passes between convolutions, and conv1_1.

`elementwise` holds the passes and `first_layer` conv1_1; `reference` defines both in PyTorch's operators. Triton comes
with PyTorch's CUDA builds, so the kernels are imported only where they run.
"""
