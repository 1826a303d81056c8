"""What corruption costs."""
