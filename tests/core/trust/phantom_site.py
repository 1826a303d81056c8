"""Small phantom data sets in memory: index rows and frames, each distinct film rendered once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.dataset.ingest import record_of
from cxr_core.dataset.phantom.files import build_content
from cxr_core.dataset.phantom.plan import PlannedFile, plan_files
from cxr_core.dataset.phantom.spec import DEFECTS, PhantomSpec
from cxr_core.digests import digest_bytes
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings import LABELS
from cxr_core.settings_sections import QualitySettings

__all__ = ["phantom_films"]

_PREPROCESSING = Preprocessing(224, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3)
_CLEAN = dict.fromkeys((name for name in DEFECTS if name != "wrong_labels"), 0)


@lru_cache(maxsize=2048)
def _film(seed: int, key: int, patient: int, label: str, site: str, container: str) -> tuple[dict, npt.NDArray]:
    spec = PhantomSpec(patients_per_class=1, seed=seed, **_CLEAN)
    planned = PlannedFile(key, patient, 0, label, label, site, container)
    data = build_content(spec, planned).data
    sha256 = digest_bytes(data)
    record = record_of(data, sha256, _PREPROCESSING, QualitySettings())
    assert record.frame is not None
    return {**record.values, "image_id": sha256[:16], "bytes": len(data)}, record.frame


def phantom_films(seed: int, shortcut: float, patients: int = 15) -> tuple[pd.DataFrame, npt.NDArray[np.uint8]]:
    """Index rows with label, source, group_id, and canonical frames, of ``3 * patients`` films.

    The twin of a data set, with another ``shortcut``, shares the films whose site is the same.
    """
    spec = PhantomSpec(
        patients_per_class=patients, films_per_patient=(1, 1), seed=seed, site_shortcut=shortcut, **_CLEAN
    )
    plan = plan_files(spec)
    with ThreadPoolExecutor(2) as pool:  # rendering releases the interpreter's lock most of the time
        made = list(pool.map(lambda p: _film(seed, p.key, p.patient, p.true_label, p.site, p.container), plan))
    rows = [
        {**values, "label": p.filed_label, "label_index": LABELS.index(p.filed_label), "source": p.site,
         "group_id": p.patient_id}
        for p, (values, _) in zip(plan, made, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows), np.stack([frame for _, frame in made])
