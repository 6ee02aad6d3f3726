"""Faster forms of a net for particular hardware (CPU bf16 and int8, GPU), and the choice among them."""
