"""From image files to batches of pixels."""
