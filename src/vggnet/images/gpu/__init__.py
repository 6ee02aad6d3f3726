"""Decode images, cut crops and make batches on a GPU."""
