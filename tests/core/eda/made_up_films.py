"""A made-up index with films drawn from a seed: plausible enough to fill every figure."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd

from cxr_core.eda.data import EdaData
from cxr_core.eda.statistics import STATISTICS, film_statistics
from cxr_core.imaging.preprocess import Preprocessing, content_box
from cxr_core.imaging.quality import broken_rules
from cxr_core.settings_sections import QualitySettings

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
QUALITY = QualitySettings()
_PREPROCESSING = Preprocessing(64, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3)


def film(rng: np.random.Generator, place: int) -> np.ndarray:
    """A blob-like film whose brightness and texture lean on its class."""
    height, width = int(rng.integers(150, 260)), int(rng.integers(150, 300))
    coarse = rng.normal(90 + 25 * place, 45, (8 + 2 * place, 8))
    grey = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grey += rng.normal(0, 4 + 2 * place, grey.shape) + rng.normal(0, 30)
    return grey.clip(0, 255).astype(np.uint8)


def made_up(
    labels: tuple[str, ...] = LABELS,
    per_class: int = 30,
    sources: int = 3,
    defects: bool = True,
    seed: int = 0,
) -> EdaData:
    """Tables and frames; ``defects`` adds two quarantined files and three copies."""
    rng = np.random.default_rng(seed)
    rows, frames = [], {}
    for place, label in enumerate(labels):
        for number in range(per_class + 7 * place):
            grey = film(rng, place)
            frame = _PREPROCESSING.frame(grey)
            key = f"{place}{number:015x}"
            row = {
                "image_id": key,
                "file": f"{label}/{number}.png",
                "label": label,
                "label_index": place,
                "source": "" if sources == 0 else f"site {'abcdefghijklmnopq'[(number * (place + 1)) % sources]}",
                "status": "accepted",
                "reason_code": "",
                "duplicate_of": "",
                "width": grey.shape[1],
                "height": grey.shape[0],
                "bytes": grey.size // 2,
                "tint": 0.0,
                **film_statistics(grey, frame, content_box(grey.shape[1], grey.shape[0], 64)),
            }
            row["flags"] = ",".join(rule.code for rule in broken_rules(row, QUALITY, "flag"))
            rows.append(row)
            frames[key] = frame
    if defects:
        nothing = dict.fromkeys([*STATISTICS, "width", "height"])
        broken = {"status": "quarantined", "flags": "", **nothing}
        rows.append({**rows[0], **broken, "image_id": "q1", "file": "q1.png", "reason_code": "truncated"})
        rows.append({**rows[0], **broken, "image_id": "q2", "file": "q2.png", "reason_code": "near_uniform"})
        for kept, name in ((0, "c1"), (0, None), (per_class + 2, "c2")):
            key = name or rows[kept]["image_id"]
            code = "near_duplicate" if name else "exact_duplicate"
            copy = {"status": "duplicate", "image_id": key, "file": f"copy {key}", "reason_code": code}
            rows.append({**rows[kept], **copy, "duplicate_of": rows[kept]["image_id"]})
            frames[key] = frames[rows[kept]["image_id"]]
    index = pd.DataFrame(rows).astype(dict.fromkeys(STATISTICS, "float64"))
    index = index.astype({"width": "Int64", "height": "Int64"})
    kept_rows = index[index["status"] == "accepted"]
    order = rng.permutation(len(kept_rows))
    split = np.where(order % 10 < 8, "train", np.where(order % 10 == 8, "val", "test"))
    splits = kept_rows[["image_id", "label", "label_index", "source"]].assign(split=split)

    def frames_of(ids: Sequence[str]) -> np.ndarray:
        return np.stack([frames[key] for key in ids])

    return EdaData(index, labels, QUALITY, seed=42, splits=splits, frames_of=frames_of)
