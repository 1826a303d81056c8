"""Chest X-ray classification (Normal / Pneumonia / Tuberculosis): the plain-Python core.

For research use; not a medical device. This package knows nothing of Dagster or BentoML.
"""

import os

__all__ = ["NOTICE", "__version__"]

# Before anything imports torch. Its OpenMP threads spin while they wait for each other, and as soon as another process
# wants a core they spin for nothing: training fell from 22 to 2 images/s beside one busy process, and to 12 with this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

NOTICE = "For research use; not a medical device."
