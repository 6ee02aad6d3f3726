"""Test nets (Sect. 3.2): views, scores, stored posteriors, tables."""
