"""What test-time augmentation, CLAHE, corruption in training and abstention buy, and what they cost (report 5.5)."""

import dagster as dg

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.trained import open_model, temperature_of
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS", "mitigation"]

_SECTIONS = (
    "mitigation", "robustness", "evaluation", "uncertainty", "loss", "training", "augmentation", "preprocessing",
    "labels",
)  # fmt: skip


@dg.asset(
    group_name="robustness",
    deps=["pixel_cache"],
    kinds={"pytorch", "matplotlib"},
    pool="gpu",
    **versioned(1, load_settings(), *_SECTIONS),
    description="Each measure against the unmitigated model on the test films, clean and corrupted, paired over "
    "patient groups: averaged augmented copies, CLAHE before the trained model, corruption in training (with a fair "
    "twin, and corruptions that training never drew), abstention by confidence; what each gains, costs, and a verdict.",
)
def mitigation(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    trained_model: Artefact,
    splits: Artefact,
    calibrated_model: Artefact,
    tuned_hyperparameters: Artefact,
) -> dg.Output[Artefact]:
    """Train two arms further, show every condition to every arm, compare."""
    import time

    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS
    from cxr_core.robustness.mitigation import REPORT_FILE, gains_table, mitigation_report
    from cxr_core.robustness.mitigation_arms import PLAIN, run_arms
    from cxr_core.robustness.mitigation_conditions import trials_of
    from cxr_core.robustness.mitigation_figures import abstention_figure, gains_figure
    from cxr_core.robustness.mitigation_training import TrainingFilms, about_training, all_arms, continued
    from cxr_core.training.tuning import read_best

    now = settings.load()
    assert now.checkpoint_dir is not None  # load_settings makes every path absolute
    own, shelf = now.mitigation, store.open()
    saved = open_model(now, shelf, trained_model)
    temperature = temperature_of(shelf, calibrated_model, trained_model.digest)
    hyper = read_best(shelf, tuned_hyperparameters)
    trials = trials_of(own, now.robustness)
    dealt, cache = shelf.read_table(splits), pixel_cache(now)
    train, val, calibration, test = (
        labelled_frames(cache, dealt, [name]) for name in ("train", "val", "calibration", "test")
    )
    group_of = dealt.set_index("image_id")["group_id"]
    films = TrainingFilms(train, val, calibration, group_of.loc[list(calibration.keys)].tolist())

    started = time.perf_counter()
    twin, corrupted = (
        continued(saved, films, now, hyper, share, now.checkpoint_dir / "mitigation", context.log.info)
        for share in (0.0, own.corruption_share)
    )
    training_seconds = time.perf_counter() - started
    arms, absent = all_arms(now, saved, temperature, twin, corrupted)
    run = run_arms(arms, trials, test.frames, test.keys, now.robustness.seed, context.log.info)
    report = {
        SAYS: trained_model.digest,
        **mitigation_report(
            test.labels, group_of.loc[list(test.keys)].tolist(), now.labels, arms, trials, run.probabilities,
            now.uncertainty.low_confidence, own.seed, now.evaluation.resamples,
        ),
        "absent": absent,
        "training": about_training(now, saved, hyper, films, twin, corrupted),
    }  # fmt: skip
    figures = {"gains": png_bytes(gains_figure(report)), "abstention": png_bytes(abstention_figure(report))}
    rows = gains_table(report)
    artefact = shelf.write_report("mitigation", REPORT_FILE, report, figures, {"gains": rows})
    for arm in (twin, corrupted):
        arm.clear()
    plain = max(run.seconds[PLAIN], 1e-9)
    verdicts = [a["verdicts"]["accuracy"]["sentence"] for a in report["arms"].values() if "verdicts" in a]
    return artefact_output(
        artefact,
        now,
        _SECTIONS,
        conclusion=report["conclusion"],
        verdicts="\n".join([*verdicts, report["abstention"]["verdict"]["sentence"]]),
        gains=table(rows[rows["score"] == "accuracy"], rows=100),
        training_seconds=round(training_seconds, 1),
        time_over_unmitigated=dg.MetadataValue.json({n: round(s / plain, 2) for n, s in run.seconds.items()}),
        passes_per_film=dg.MetadataValue.json({arm.name: arm.passes for arm in arms}),
        **{f"{name}_figure": figure(png, name) for name, png in figures.items()},
    )


ASSETS = [mitigation]
CHECKS: list[dg.AssetChecksDefinition] = []
