"""Lung masks: how good they are on phantoms, and what they are on the test films."""

import json

import dagster as dg

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache, preprocessing_of
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS", "lung_mask_quality", "lung_segmentation"]

_SECTIONS = ("lungs", "labels", "preprocessing", "evaluation")


@dg.asset(
    group_name="explain",
    deps=["pixel_cache"],
    kinds={"opencv", "matplotlib"},
    **versioned(1, load_settings(), *_SECTIONS),
    description="Lung fields of the test films by a small classical segmenter, with its overlap with the true lungs of "
    "phantoms that are drawn for this alone: what the check of attention inside the lungs rests on.",
)
def lung_segmentation(
    context: dg.AssetExecutionContext, settings: SettingsResource, store: StoreResource, splits: Artefact
) -> dg.Output[Artefact]:
    """Draw phantoms and judge, then segment the test films."""
    import numpy as np

    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.explain.lung_figures import outline_figure, overlap_figure
    from cxr_core.explain.lung_plausibility import lung_areas, plausibility_of
    from cxr_core.explain.lung_quality import judging_phantoms, judging_seed
    from cxr_core.explain.lung_report import REPORT_FILE, judge, lung_report
    from cxr_core.explain.lungs import lung_masks
    from cxr_core.plotting import png_bytes

    now = settings.load()
    shelf = store.open()
    assert now.raw_dir is not None  # load_settings makes every path absolute
    seed = judging_seed(now.raw_dir, now.lungs.seed)
    films, ovals = judge(judging_phantoms(now.lungs.phantom_patients, seed, preprocessing_of(now)))
    context.log.info(f"Lung masks of {len(films)} phantoms judged; model passes: none")

    dealt = shelf.read_table(splits)
    test = labelled_frames(pixel_cache(now), dealt, ["test"])
    frames = test.frames.take(np.arange(len(test)))
    masks = lung_masks(frames)
    areas = lung_areas(frames, masks, test.keys)
    labels = [now.labels[label] for label in test.labels]
    known = dealt[dealt["split"] == "test"].set_index("image_id").loc[list(test.keys)].reset_index()
    plausibility = plausibility_of(areas, known.assign(label=labels))

    report = lung_report(films, ovals, plausibility, seed, now.lungs, now.evaluation.resamples)
    figures = {
        "overlap": png_bytes(overlap_figure(films, ovals, now.lungs.min_dice)),
        "outlines": png_bytes(outline_figure(frames, masks, areas, labels, now.lungs.shown_per_class, now.labels)),
    }
    return artefact_output(
        shelf.write_report("lung_segmentation", REPORT_FILE, report, figures, {"masks": areas, "phantoms": films}),
        now,
        _SECTIONS,
        verdict=report["verdict"]["sentence"],
        masks=table(areas),
        **{f"{name}_figure": figure(png, f"lung {name}") for name, png in figures.items()},
    )


@dg.asset_check(
    asset="lung_segmentation",
    name="lung_mask_quality",
    description="The median Dice of the lung masks with the true lungs of phantoms reaches the limit.",
)
def lung_mask_quality(store: StoreResource) -> dg.AssetCheckResult:
    """The verdict of the report of the lung masks."""
    from cxr_core.explain.lung_report import REPORT_FILE

    shelf = store.open()
    folder = shelf.local_tree(shelf.get_ref("lung_segmentation"))
    verdict = json.loads((folder / REPORT_FILE).read_bytes())["verdict"]
    return dg.AssetCheckResult(
        passed=verdict["passed"],
        severity=dg.AssetCheckSeverity.WARN,
        description=verdict["sentence"],
        metadata={"verdict": dg.MetadataValue.json(verdict)},
    )


ASSETS = [lung_segmentation]
CHECKS = [lung_mask_quality]
