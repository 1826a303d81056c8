"""Benchmarks: ratios of two ways to do one thing, measured side by side in one run."""
