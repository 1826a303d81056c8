"""Explanation: class activation maps and galleries of them."""
