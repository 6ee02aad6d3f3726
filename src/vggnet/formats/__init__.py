"""Weights of other libraries, in and out: files, layouts, and what a net expects its pixels to be."""
