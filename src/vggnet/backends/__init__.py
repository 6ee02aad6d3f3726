"""Compute a net's function faster on particular hardware. Nothing outside knows how."""
