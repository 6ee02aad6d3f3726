"""Facts of the paper as data, without torch: its nets, its recipes, its results."""
