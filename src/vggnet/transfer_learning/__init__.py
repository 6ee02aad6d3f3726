"""A trained net's descriptors on other data, and linear classifiers on them (Appendix B)."""
