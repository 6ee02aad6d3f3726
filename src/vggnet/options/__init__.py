"""The options of every command: one schema for the command line, config.json and Python. No torch here."""
