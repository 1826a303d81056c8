"""Images on disk: scanning, labels, duplicates, splits, the pixel cache, phantoms."""
