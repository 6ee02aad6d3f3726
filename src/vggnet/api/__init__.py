"""The commands as Python functions: the same names, options and defaults, with objects as results; nets in memory."""
