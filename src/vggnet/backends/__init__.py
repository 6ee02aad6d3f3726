"""The same nets, computed faster on particular hardware."""
