"""What each command does, from its options; the command line only parses and reports mistakes."""
