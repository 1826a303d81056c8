"""The graph of assets, as the design draws it."""

from __future__ import annotations

import dagster as dg

from cxr_assets.definitions import CROSS_VALIDATION_JOB, PIPELINE_JOB, ROBUSTNESS_JOB, defs
from cxr_assets.gates import gate_specs
from cxr_core.eda.figures import FIGURES

EDA_WITH_SPLITS = {name for name, spec in FIGURES.items() if spec.needs_splits}
EDA_WITH_FRAMES = {name for name, spec in FIGURES.items() if spec.needs_frames}

EVIDENCE = {
    "calibrated_model", "operating_points", "operating_point_report", "evaluation", "uncertainty", "shortcut_audit",
    "label_audit", "subgroup_report", "failure_report", "film_detector", "robustness", "gradcam_gallery",
    "embedding_shift", "mitigation", "faithfulness",
}  # fmt: skip

WRITTEN_FROM = {
    *EVIDENCE, "lung_segmentation", "second_model", "trained_model", "tuned_hyperparameters", "image_index",
    "quarantine", "splits", "eda_class_distribution", "eda_duplicates_found", "eda_edges", "eda_exposure",
    "eda_image_properties", "eda_quality_table", "eda_samples", "eda_source_by_class",
}  # fmt: skip

LINEAGE = {
    "raw_images": set(),
    "image_index": {"raw_images"},
    "quarantine": {"image_index"},
    "pixel_cache": {"image_index"},
    "splits": {"image_index"},
    "tuned_hyperparameters": {"splits", "pixel_cache"},
    "trained_model": {"tuned_hyperparameters", "splits", "pixel_cache"},
    "embeddings": {"trained_model", "splits", "pixel_cache"},
    "pretrained_features": {"splits", "pixel_cache"},
    "predictions": {"trained_model", "embeddings"},
    "calibrated_model": {"predictions"},
    "operating_points": {"predictions", "calibrated_model"},
    "operating_point_report": {"predictions", "operating_points"},
    "evaluation": {"predictions", "calibrated_model"},
    "uncertainty": {"predictions", "embeddings", "trained_model", "calibrated_model"},
    "shortcut_audit": {
        "predictions",
        "embeddings",
        "pretrained_features",
        "image_index",
        "splits",
        "pixel_cache",
    },
    "label_audit": {"predictions", "image_index", "splits", "pixel_cache"},
    "subgroup_report": {"predictions", "trained_model", "image_index", "splits", "pixel_cache"},
    "failure_report": {"predictions", "image_index", "splits", "pixel_cache"},
    "film_detector": {"trained_model", "embeddings", "splits", "pixel_cache"},
    "out_of_fold": {"splits", "pixel_cache"},
    "robustness_conditions": {"trained_model", "splits", "pixel_cache"},
    "robustness": {
        "robustness_conditions",
        "trained_model",
        "predictions",
        "calibrated_model",
        "splits",
        "pixel_cache",
    },
    "embedding_shift": {"robustness_conditions", "trained_model", "predictions", "embeddings"},
    "mitigation": {"trained_model", "tuned_hyperparameters", "calibrated_model", "splits", "pixel_cache"},
    "gradcam_gallery": {"trained_model", "predictions", "splits", "pixel_cache"},
    "lung_segmentation": {"splits", "pixel_cache"},
    "second_model": {"tuned_hyperparameters", "splits", "pixel_cache"},
    "faithfulness": {
        "trained_model",
        "second_model",
        "predictions",
        "calibrated_model",
        "image_index",
        "splits",
        "pixel_cache",
    },
    "model_card": WRITTEN_FROM,
    "evidence_report": {*WRITTEN_FROM, "release_candidate"},
    "release_candidate": {
        "trained_model",
        "predictions",
        "image_index",
        "splits",
        "model_card",
        *EVIDENCE,
    },
    "bento": {"release_candidate"},
    **{
        f"eda_{name}": {"image_index"}
        | ({"splits"} if name in EDA_WITH_SPLITS else set())
        | ({"pixel_cache"} if name in EDA_WITH_FRAMES else set())
        for name in FIGURES
    },
}

CHECKS = {
    "image_index": {"schema_and_ranges", "quarantine_share", "images_per_class"},
    "splits": {"no_group_in_two_splits", "no_duplicate_across_splits", "class_balance"},
    "release_candidate": {"promotion_gate"},
}


def test_the_code_location_loads():
    dg.Definitions.validate_loadable(defs)


def test_the_lineage_is_the_design_s():
    graph = defs.resolve_asset_graph()
    found = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert found == LINEAGE


def test_the_pipeline_leaves_the_hours_of_cross_validation_to_a_job_of_their_own():
    def made_by(job: str) -> set[str]:
        return {key.to_user_string() for key in defs.resolve_job_def(job).asset_layer.selected_asset_keys}

    assert made_by(PIPELINE_JOB) == LINEAGE.keys() - {"raw_images", "out_of_fold", "robustness_conditions"}
    assert made_by(ROBUSTNESS_JOB) == {"robustness_conditions"}
    assert made_by(CROSS_VALIDATION_JOB) == {"image_index", "splits", "pixel_cache", "out_of_fold"}


def test_every_asset_says_what_it_is():
    for spec in defs.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.group_name, name
        assert spec.description, name
        assert spec.kinds, name
        if name != "raw_images":
            assert spec.code_version, name


def test_the_gates_block():
    found = {name: {spec.name for spec in gate_specs(dg.AssetKey(name))} for name in CHECKS}
    assert found == CHECKS


def test_what_does_not_stop_the_pipeline_by_itself():
    checks = defs.resolve_asset_graph().asset_check_keys
    gated = {spec.key for name in CHECKS for spec in gate_specs(dg.AssetKey(name))}
    assert {key.name for key in checks - gated} == {
        "exposure_share", "calibration", "who_minimum", "coverage", "shortcut", "label_noise", "subgroup_gap",
        "film_detector", "robustness", "lung_mask_quality", "lung_attention",
    }  # fmt: skip
