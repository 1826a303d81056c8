"""Drift: whether films and answers of one time differ from those of another beyond chance."""
