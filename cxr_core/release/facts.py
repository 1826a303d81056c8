"""What the gate is told of a model beside its scores. Light: a service reads packages without pandas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cxr_core.release.decision import GateDecision

__all__ = ["Comparison", "Evidence", "GateFacts"]


@dataclass(frozen=True)
class Comparison:
    """A candidate beside the champion, the model in service.

    Attributes:
        champion: digest of the champion's package; empty where there is no champion yet.
        name: what the champion is called in a sentence.
        standing: the decision that the champion entered service with, where the candidate is that very model.
        problem: why the two could not be compared, as it follows "because"; empty where they were.
        difference: macro F1 of the candidate minus that of the champion, -1 to 1.
        low, high: 95 % interval of the difference, from a paired bootstrap over patient groups.
        films, groups: that both models were scored on.
        left_out: test films left out, since the champion was trained on them or on their patient.
    """

    champion: str = ""
    name: str = ""
    standing: GateDecision | None = None
    problem: str = ""
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    films: int = 0
    groups: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Evidence:
    """The reports about a model, and whether they are about this one.

    Attributes:
        model: digest of the trained model that is judged.
        made_from: name of each report to the digest of the model that it says it was made from; None where the report
            is not in the store or does not say.
        unpassed: a sentence for each blocking check upstream that has not passed.
    """

    model: str
    made_from: Mapping[str, str | None]
    unpassed: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateFacts:
    """What the gate is told of the package beside its metrics; what is None was not measured, and fails its rule.

    Attributes:
        trained_preprocessing_digest: digest of the preprocessing that the model was trained with.
        package_preprocessing_digest: digest of the preprocessing that the package carries.
        export_difference: largest absolute difference of an output between PyTorch and the exported model.
        comparison: the candidate beside the champion.
        calibration: see :func:`cxr_core.evaluation.calibration.calibration_report`.
        evidence: the reports about the model.
        verdicts: name of a report to the verdict that it holds, with ``passed``, ``sentence``, ``value``, ``low``,
            ``high``, ``limit``.
    """

    trained_preprocessing_digest: str
    package_preprocessing_digest: str
    export_difference: float
    comparison: Comparison | None = None
    calibration: Mapping[str, Any] | None = None
    evidence: Evidence | None = None
    verdicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
