"""Examine the installation and the machine (`vggnet doctor`): facts, what is unusual, and a self-test."""
