"""Figures of the data, one asset each."""
