"""The evidence report's sections, in the order of reading."""

from __future__ import annotations

from collections.abc import Callable

from cxr_core.release import report_sections_data as of_films
from cxr_core.release import report_sections_groups as of_groups
from cxr_core.release import report_sections_scores as of_scores
from cxr_core.release import report_sections_stress as of_stress
from cxr_core.release import report_sections_summary as of_all
from cxr_core.release import report_sections_trust as of_trust
from cxr_core.release.claim import checklist
from cxr_core.release.document import Section
from cxr_core.release.published import published
from cxr_core.release.report_sections_explain import explanation
from cxr_core.release.report_sections_training import training
from cxr_core.release.report_sources import Sources

__all__ = ["SECTIONS"]

SECTIONS: tuple[Callable[[Sources], Section], ...] = (
    of_all.summary,
    of_films.data,
    of_films.splits,
    of_films.leaks,
    of_films.labels,
    training,
    of_scores.metrics,
    of_scores.operating_points,
    of_scores.calibration,
    of_scores.prediction_sets,
    of_trust.shortcut,
    of_stress.robustness,
    of_stress.shift,
    of_stress.mitigation,
    explanation,
    of_groups.subgroups,
    of_groups.failures,
    of_trust.film_detector,
    of_all.limits,
    published,
    checklist,
    of_all.digests,
    of_all.reproduce,
)
