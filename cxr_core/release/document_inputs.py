"""Which stored artefacts the model card and the evidence report are written from."""

from __future__ import annotations

from cxr_core.release.evidence import REPORTS

__all__ = ["CARD_INPUTS", "REPORT_INPUTS"]

# What describes the films.
_DATA: tuple[str, ...] = (
    "eda_class_distribution",
    "eda_duplicates_found",
    "eda_edges",
    "eda_exposure",
    "eda_image_properties",
    "eda_quality_table",
    "eda_samples",
    "eda_source_by_class",
    "image_index",
    "quarantine",
    "splits",
)
# What describes the model: how it came about, and every report about it.
_MODEL: tuple[str, ...] = ("operating_points", "trained_model", "tuned_hyperparameters", *REPORTS)
# Reports that no rule of the promotion gate needs.
_BESIDE: tuple[str, ...] = ("embedding_shift", "faithfulness", "lung_segmentation", "mitigation", "second_model")

# The card travels with the package, so it is written before the package is judged.
CARD_INPUTS: tuple[str, ...] = tuple(sorted({*_DATA, *_MODEL, *_BESIDE}))
# The report tells how the package was judged, so it is written after.
REPORT_INPUTS: tuple[str, ...] = tuple(sorted({*CARD_INPUTS, "release_candidate"}))
