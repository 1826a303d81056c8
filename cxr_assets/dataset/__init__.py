"""Raw images to validated splits."""
