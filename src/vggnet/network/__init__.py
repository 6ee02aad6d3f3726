"""The nets of Table 1: the model, its initialisation, its files."""
