"""The sweep: every test film under every condition, through the model once, from the frames of the pixel cache.

A condition is a corruption at one of its severities ("gamma-3") or a preset of report 5.1. The conditions of one
partition make one long row of frames, corrupted as they are taken, so that one pass of the model serves them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.dataset.frames import Frames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.progress import Log
from cxr_core.robustness.corruptions import CORRUPTIONS, SEVERITIES, Preset, condition, corrupt, presets
from cxr_core.settings_stress import RobustnessSettings

if TYPE_CHECKING:
    from cxr_core.imaging.preprocess import Preprocessing
    from cxr_core.modelling.network import Classifier

__all__ = ["PARTITIONS", "PRESETS", "Condition", "ConditionFrames", "conditions_in", "sweep"]

PRESETS: tuple[str, ...] = ("clinical", "severe")  # of report 5.1
PARTITIONS: tuple[str, ...] = tuple(sorted([*CORRUPTIONS, *PRESETS]))


@dataclass(frozen=True)
class Condition:
    """What is done to every test film.

    Attributes:
        preset: the steps; its name is the condition's.
        severity: 1 to 5; 0 for a preset of the report.
    """

    preset: Preset
    severity: int


def conditions_in(partition: str, settings: RobustnessSettings) -> tuple[Condition, ...]:
    """The conditions of a partition, mildest first: five severities of a corruption, or one preset.

    Args:
        partition: one of :data:`PARTITIONS`.
        settings: of the presets.

    Raises:
        CxrError: no such partition.
    """
    if partition in PRESETS:
        return (Condition(presets(settings)[partition], 0),)
    if partition not in CORRUPTIONS:
        raise CxrError(f"No conditions are called {partition!r}: use one of {', '.join(PARTITIONS)}.")
    return tuple(Condition(condition(partition, s), s) for s in SEVERITIES)


@dataclass(frozen=True)
class ConditionFrames:
    """The same films under one condition after the other; see :class:`cxr_core.dataset.frames.Frames`.

    Row ``r`` is film ``r % n`` under condition ``r // n``. Films are corrupted as they are taken.

    Attributes:
        base: n canonical frames.
        keys: n image keys, which seed the corruptions.
        presets: what is done, c conditions.
        seed: of the random draws.
    """

    base: Frames
    keys: Sequence[str]
    presets: Sequence[Preset]
    seed: int

    @property
    def side(self) -> int:
        """Side of every frame, pixels."""
        return self.base.side

    def __len__(self) -> int:
        return len(self.base) * len(self.presets)

    def take(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        """Corrupted copies of the given rows."""
        out = np.empty((len(rows), self.side, self.side), np.uint8)
        which, films = np.divmod(rows, max(1, len(self.base)))
        for place in np.unique(which):
            here = np.flatnonzero(which == place)
            keys = [self.keys[film] for film in films[here]]
            out[here] = corrupt(self.base.take(films[here]), keys, self.presets[place], self.seed)
        return out


def sweep(
    conditions: Sequence[Condition],
    films: LabelledFrames,
    groups: Sequence[str],
    model: Classifier,
    preprocessing: Preprocessing,
    seed: int,
    log: Log | None = None,
) -> pd.DataFrame:
    """What a model says of films under conditions: one pass of the model a condition, nothing decoded.

    Args:
        conditions: c of them.
        films: n films with their keys and sources.
        groups: n group names.
        model: the trained classifier.
        preprocessing: turns frames into network input.
        seed: of the corruptions.
        log: where progress lines go.

    Returns:
        One row a condition and film, conditions in their order, films in theirs: ``image_id``, ``label_index`` int64,
        ``source``, ``group_id``, ``condition``, ``severity`` int64, ``l_0`` ... float32, ``embedding`` (what the
        linear head sees: TRAPS 14; list of float32).

    Raises:
        CxrError: no films, or groups that do not match them.
    """
    from cxr_core.evaluation.embeddings import EMBEDDING
    from cxr_core.evaluation.predict import classify_embeddings, embed_frames

    n, c = len(films), len(conditions)
    if not n:
        raise CxrError("No films to corrupt: pass the test split.")
    if len(groups) != n:
        raise CxrError(f"{n} films and {len(groups)} groups do not match: pass one group a film.")
    frames = ConditionFrames(films.frames, films.keys, [one.preset for one in conditions], seed)
    embeddings = embed_frames(model, frames, preprocessing, log=log)
    logits = classify_embeddings(model, embeddings)
    return pd.DataFrame(
        {
            "image_id": list(films.keys) * c,
            "label_index": np.tile(films.labels, c),
            "source": list(films.sources or [""] * n) * c,
            "group_id": list(groups) * c,
            "condition": [one.preset.name for one in conditions for _ in range(n)],
            "severity": np.repeat(np.array([one.severity for one in conditions], np.int64), n),
            **{f"l_{place}": logits[:, place] for place in range(logits.shape[1])},
            EMBEDDING: list(embeddings),
        }
    )
