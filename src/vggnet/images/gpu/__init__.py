"""The same pixels on a GPU: decoding, crops and batches."""
