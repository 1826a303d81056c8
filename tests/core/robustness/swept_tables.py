"""Tables of what an invented model said under conditions, for the tests of the robustness report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["NAMES", "clean_table", "said_of", "swept_table"]

NAMES = ("Normal", "Pneumonia", "Tuberculosis")


def said_of(
    labels: npt.NDArray[np.integer], wrong: Sequence[int], confidence: float, seed: int = 0, spread: float = 0.02
) -> npt.NDArray[np.float64]:
    """Probabilities (n, 3): the true class but for the rows ``wrong``, about as sure as ``confidence``."""
    said = np.asarray(labels).copy()
    said[list(wrong)] = (said[list(wrong)] + 1) % 3
    rng = np.random.default_rng(seed)
    sure = np.clip(confidence + rng.uniform(-spread, spread, len(labels)), 0.4, 0.999)
    share = rng.uniform(0.3, 0.7, len(labels))
    p = np.zeros((len(labels), 3))
    rows = np.arange(len(labels))
    p[rows, said] = sure
    p[rows, (said + 1) % 3] = (1 - sure) * share
    p[rows, (said + 2) % 3] = (1 - sure) * (1 - share)
    return p


def clean_table(
    labels: npt.NDArray[np.integer], p: npt.NDArray[np.float64], groups: Sequence[str], sources: Sequence[str]
) -> pd.DataFrame:
    """Rows of the predictions table of the clean films."""
    rows = pd.DataFrame(
        {
            "image_id": [f"{row:016x}" for row in range(len(labels))],
            "label_index": np.asarray(labels, np.int64),
            "source": list(sources),
            "group_id": list(groups),
        }
    )
    return rows.assign(**{f"l_{k}": np.log(p[:, k]) for k in range(3)})


def swept_table(clean: pd.DataFrame, said: Mapping[str, npt.NDArray[np.float64]], seed: int = 3) -> pd.DataFrame:
    """Rows of the sweep, shuffled, as nothing may hang on their order."""
    parts = [
        clean.assign(
            condition=name,
            severity=int(name.rpartition("-")[2]) if "-" in name else 0,
            **{f"l_{k}": np.log(p[:, k]) for k in range(3)},
        )
        for name, p in said.items()
    ]
    return pd.concat(parts, ignore_index=True).sample(frac=1, random_state=seed, ignore_index=True)
