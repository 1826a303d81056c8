"""Chest X-ray classification (Normal / Pneumonia / Tuberculosis): the plain-Python core.

For research use; not a medical device. This package knows nothing of Dagster or BentoML.
"""

__all__ = ["NOTICE", "__version__"]

__version__ = "0.1.0"

NOTICE = "For research use; not a medical device."
