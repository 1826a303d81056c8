"""Robustness: corruptions in the canonical frame and what they cost."""
