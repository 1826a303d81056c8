"""Items 28 to 44 of CLAIM, the checklist for AI in medical imaging: evaluation, results, discussion, the rest.

Source: as of :mod:`cxr_core.release.claim_items`. The numbers and sections are the checklist's; the words are ours.
"""

from __future__ import annotations

from cxr_core.release.claim_answers import Item, count, digest, measures, no, number, text
from cxr_core.release.document import PERCENT

__all__ = ["ITEMS_OF_RESULTS"]

_ACCEPTED = {"status": "accepted"}
_REPORT, _GATE, _POINTS = "evaluation", "release_candidate", "operating_point_report"
_TB = "/points/tb_sensitivity_90/pooled"

ITEMS_OF_RESULTS: tuple[Item, ...] = (
    Item(28, "Methods: evaluation", "measures of performance", (
        measures("measures with intervals"),
    )),
    Item(29, "Methods: evaluation", "significance and uncertainty", (
        text("intervals", _REPORT, "/intervals/method"),
        number("level", _REPORT, "/intervals/level", PERCENT),
        number("resamples", _REPORT, "/intervals/resamples"),
        number("chance of a false alarm over all gaps", "subgroup_report", "/alpha", PERCENT),
    )),
    Item(30, "Methods: evaluation", "robustness and sensitivity", (
        number("accuracy, clinical corruption", "robustness", "/conditions/clinical/accuracy", PERCENT,
               "/conditions/clinical/intervals/accuracy"),
        number("accuracy, severe corruption", "robustness", "/conditions/severe/accuracy", PERCENT,
               "/conditions/severe/intervals/accuracy"),
        text("framing and groups of films", "subgroup_report", "/verdict/sentence"),
    )),
    Item(31, "Methods: evaluation", "explanation and how it was tested", (
        digest("gallery of heat maps", "gradcam_gallery"),
        text("heat maps against lungs", "faithfulness", "/verdict/sentence"),
    )),
    Item(32, "Methods: evaluation", "evaluation on internal data", (
        number("test films", _REPORT, "/overall/n"),
        number("accuracy", _REPORT, "/intervals/accuracy", PERCENT),
    )),
    Item(33, "Methods: evaluation", "test on external data", (
        no("external films", "no films of another hospital than those of the sources were scored",
           "external_evaluation"),
        number("AUC of a disease inside sources, mean", _REPORT, "/macro_over_sources/disease_auc"),
    )),
    Item(34, "Methods: evaluation", "registration as a trial", (
        no("registration", "no trial was registered"),
    )),
    Item(35, "Results: data", "films taken in and left out", (
        count("files found", "image_index"),
        count("accepted", "image_index", _ACCEPTED),
        count("copies", "image_index", {"status": "duplicate"}),
        count("put aside", "image_index", {"status": "quarantined"}),
    )),
    Item(36, "Results: data", "who is in each part", (
        no("age and sex", "no stored report describes either", "demographics"),
        number("films of the largest class for one of the smallest", "eda_class_distribution", "/largest_to_smallest"),
        number("patient groups of the test part", _REPORT, "/intervals/groups"),
    )),
    Item(37, "Results: performance", "measures with their uncertainty", (
        number("accuracy", _REPORT, "/intervals/accuracy", PERCENT),
        number("macro F1", _REPORT, "/intervals/macro_f1"),
        number("macro AUC", _REPORT, "/intervals/macro_auc"),
        number("calibration error", "calibrated_model", "/after/expected_calibration_error"),
    )),
    Item(38, "Results: performance", "diagnostic accuracy with its precision", (
        number("sensitivity for tuberculosis", _POINTS, f"{_TB}/sensitivity", PERCENT),
        number("specificity for tuberculosis", _POINTS, f"{_TB}/specificity", PERCENT),
        number("positive predictive value", _POINTS, f"{_TB}/ppv", PERCENT),
        number("negative predictive value", _POINTS, f"{_TB}/npv", PERCENT),
    )),
    Item(39, "Results: performance", "what the wrong films are", (
        number("normal films called a disease", "failure_report", "/false_positives", PERCENT),
        number("diseased films called normal", "failure_report", "/false_negatives", PERCENT),
        number("the two diseases confused", "failure_report", "/counts/between_diseases"),
    )),
    Item(40, "Discussion", "limits of the study", (
        number("share of the score without lungs", "shortcut_audit", "/model/explained", PERCENT),
        number("labels estimated wrong", "label_audit", "/overall", PERCENT),
        number("accuracy", _REPORT, "/intervals/accuracy", PERCENT),
    )),
    Item(41, "Discussion", "what it means for practice", (
        text("use", _REPORT, "/notice"),
        text("promotion gate passed", _GATE, "/gate/passed"),
    )),
    Item(42, "Other", "the full protocol", (
        no("protocol", "no protocol was registered"),
        text("digest of thresholds fixed before test", "operating_points", "/digest"),
        text("digest of the settings", "settings", "/digest"),
    )),
    Item(43, "Other", "where software, model and data are", (
        text("model", _GATE, "/name"),
        text("version", _GATE, "/version"),
        digest("digest of the package", _GATE),
        no("data", "no stored report says where the films can be had"),
    )),
    Item(44, "Other", "funding", (
        no("funding", "no source of funding is recorded"),
    )),
)  # fmt: skip
