"""The training protocol of Sect. 3.1."""
