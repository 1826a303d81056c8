"""Fetch the report's data set from Kaggle, for people with an account there."""

from __future__ import annotations

import shutil
from pathlib import Path

from cxr_core.errors import CxrError

__all__ = ["KAGGLE_DATASET", "download"]

KAGGLE_DATASET = "muhammadrehan00/chest-xray-dataset"  # three classes, 25,553 images: report 2.1

_BY_HAND = (
    "Download https://www.kaggle.com/datasets/{dataset} in a browser, unpack it and set CXR_RAW_DIR to the folder that "
    "holds the class folders."
)


def download(into: Path, dataset: str = KAGGLE_DATASET) -> Path:
    """Download and unpack a Kaggle data set.

    Args:
        into: folder that will hold the class folders; must be empty or missing.
        dataset: Kaggle handle, ``owner/name``.

    Raises:
        CxrError: no account, no network, or a folder in use; the text explains the way by hand.
    """
    if into.is_dir() and any(path for path in into.iterdir() if not path.name.startswith(".")):
        raise CxrError(f"{into} is not empty: give another folder by --into.")
    by_hand = _BY_HAND.format(dataset=dataset)
    try:
        import kagglehub

        fetched = Path(kagglehub.dataset_download(dataset))
    except Exception as error:  # kagglehub raises what its HTTP client raises: no common base
        raise CxrError(f"Kaggle did not give {dataset} ({type(error).__name__}). {by_hand}") from error
    into.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(fetched, into, dirs_exist_ok=True)
    return into
