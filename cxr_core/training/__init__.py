"""Training: the loop, its schedule, tuning, tracking."""
