"""How fast: this package beside the other ways to run a VGG, in one run on one machine."""
