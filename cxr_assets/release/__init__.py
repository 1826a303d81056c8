"""From evidence to a packaged service."""
