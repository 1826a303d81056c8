"""The arms: what each measure does with a batch of frames, and the one run of all of them over all conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cxr_core.dataset.frames import Frames
from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import finite_probabilities
from cxr_core.progress import Log
from cxr_core.robustness.corruptions import corrupt
from cxr_core.robustness.mitigation_conditions import Trial
from cxr_core.robustness.test_time import Copy, averaged, equalised

__all__ = ["CLAHE", "CORRUPTED", "PLAIN", "TEST_TIME", "TWIN", "Arm", "Predict", "Run", "arms_at_test_time", "run_arms"]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Predict = Callable[[Pixels], Floats]

PLAIN, TEST_TIME, CLAHE = "unmitigated", "test_time_augmentation", "clahe"
TWIN, CORRUPTED = "further_training", "corruption_training"

_CHUNK = 512  # frames corrupted once and shown to every arm: 26 MB at 224 px


@dataclass(frozen=True)
class Arm:
    """One way to answer.

    Attributes:
        name: stable machine name.
        title: for readers.
        passes: of a network over each film.
        predict: frames (n, side, side) uint8 to calibrated probabilities (n, k); the second argument is what the
            unmitigated model said of them, for an arm that needs it.
        reuses: whether ``predict`` takes that answer over; its time then counts the unmitigated pass too.
        against: arm that shows what the measure alone brings; its twin where it has one.
    """

    name: str
    title: str
    passes: int
    predict: Callable[[Pixels, Floats], Floats]
    reuses: bool = False
    against: str = PLAIN


@dataclass
class Run:
    """What came of a run.

    Attributes:
        probabilities: condition to arm to calibrated probabilities (n, k), in the order of the films.
        seconds: arm to the time that its passes took, all of them side by side on this machine; never in a report.
    """

    probabilities: dict[str, dict[str, Floats]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def arms_at_test_time(predict: Predict, copies: Sequence[Copy], clip_limit: float, tiles: int) -> list[Arm]:
    """The unmitigated model and the two measures that leave it as it is.

    Args:
        predict: frames to the model's calibrated probabilities.
        copies: of test-time augmentation.
        clip_limit, tiles: of CLAHE.
    """
    return [
        Arm(PLAIN, "the model as it is", 1, lambda frames, _: predict(frames)),
        Arm(
            TEST_TIME,
            f"test-time augmentation ({len(copies)} copies)",
            len(copies),
            lambda frames, plain: averaged(frames, copies, predict, plain),
            reuses=True,
        ),
        Arm(
            CLAHE,
            "CLAHE before the trained model",
            1,
            lambda frames, _: predict(equalised(frames, clip_limit, tiles)),
        ),
    ]


def run_arms(
    arms: Sequence[Arm], trials: Sequence[Trial], frames: Frames, keys: Sequence[str], seed: int, log: Log | None = None
) -> Run:
    """Show the films under every condition to every arm; each is corrupted once and seen by all.

    Args:
        arms: the unmitigated model first.
        trials: the conditions.
        frames: n canonical frames.
        keys: n image keys, which seed the corruptions.
        seed: of the corruptions.
        log: where progress lines go.

    Raises:
        CxrError: no films, an arm before the unmitigated one, or probabilities that are no numbers.
    """
    if not len(frames):
        raise CxrError("No films to try the measures on: pass the test split.")
    if not arms or arms[0].name != PLAIN:
        raise CxrError("The unmitigated model comes first: the others are compared with it.")
    run = Run(seconds={arm.name: 0.0 for arm in arms})
    for number, trial in enumerate(trials, 1):
        parts: dict[str, list[Floats]] = {arm.name: [] for arm in arms}
        for start in range(0, len(frames), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(frames)))
            shown = corrupt(frames.take(rows), [keys[row] for row in rows.tolist()], trial.preset, seed)
            for arm in arms:
                plain = parts[PLAIN][-1] if parts[PLAIN] else np.empty((0, 0))
                started = time.perf_counter()
                said = arm.predict(shown, plain)
                run.seconds[arm.name] += time.perf_counter() - started
                parts[arm.name].append(finite_probabilities(said))
        run.probabilities[trial.name] = {name: np.concatenate(found) for name, found in parts.items()}
        if log:
            log(f"condition {number} of {len(trials)}, {trial.name}: {len(frames)} films seen by {len(arms)} arms")
    for arm in arms:
        run.seconds[arm.name] += run.seconds[PLAIN] if arm.reuses else 0.0
    return run
