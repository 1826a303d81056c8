"""Evaluation: predictions, metrics, figures."""
