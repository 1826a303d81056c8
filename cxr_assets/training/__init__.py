"""Tuning and training."""
