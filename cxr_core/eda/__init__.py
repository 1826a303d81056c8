"""Exploratory data analysis: statistics taken in the one pass over the pixels, and figures of them."""
