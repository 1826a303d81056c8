"""From a file's bytes to the canonical frame: decoding, the one preprocessing, quality rules."""
