"""Models by name: which there are, where they come from, and their conversion into the cache."""
