"""The test protocol of Sect. 3.2."""
