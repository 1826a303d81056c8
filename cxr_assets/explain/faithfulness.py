"""Whether the maps show what the network uses: deletion, randomisation, a second seed, lungs, lesions (report 6.1)."""

import dagster as dg
import numpy as np

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.trained import open_model, predictions_of, temperature_of
from cxr_assets.verdicts import verdict_result
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS", "faithfulness", "lung_attention"]

_SECTIONS = ("faithfulness", "explain", "evaluation", "labels", "preprocessing")


@dg.asset(
    group_name="explain",
    deps=["pixel_cache"],
    kinds={"pytorch", "matplotlib"},
    **versioned(1, load_settings(), *_SECTIONS),
    description="The maps on trial: deletion and insertion against random and centre maps, weights drawn anew from the "
    "head down, a second training, energy in the lungs and at the border, lesions hit; each beside chance.",
)
def faithfulness(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    trained_model: Artefact,
    second_model: Artefact,
    calibrated_model: Artefact,
    predictions: Artefact,
    splits: Artefact,
    image_index: Artefact,
) -> dg.Output[Artefact]:
    """Explain test films of each class with both networks, and measure."""
    from cxr_core.dataset.phantom.masks import truth_masks
    from cxr_core.evaluation.metrics import logits_of
    from cxr_core.evaluation.predict import predict_logits
    from cxr_core.explain.faithfulness import REPORT_FILE, Judged, judge_maps
    from cxr_core.explain.faithfulness_figures import faithfulness_figures
    from cxr_core.explain.faithfulness_films import ExplainedFilms, boxes_of, choose_films, model_scorer
    from cxr_core.explain.faithfulness_scores import Grouping
    from cxr_core.explain.faithfulness_tables import score_table
    from cxr_core.explain.lungs import lung_masks
    from cxr_core.explain.methods import METHODS, explain
    from cxr_core.explain.second_training import second_record
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS

    now = settings.load()
    shelf = store.open()
    how = now.faithfulness
    first, second = (open_model(now, shelf, model) for model in (trained_model, second_model))
    temperature = temperature_of(shelf, calibrated_model, trained_model.digest)
    rows = predictions_of(shelf, trained_model, predictions)
    test = rows[rows["split"] == "test"].sort_values("image_id", ignore_index=True)
    sha256 = shelf.read_table(splits, ["image_id", "sha256"]).set_index("image_id")["sha256"]
    cache = pixel_cache(now)
    index = shelf.read_table(image_index).drop_duplicates("image_id").set_index("image_id")
    chosen = choose_films(test, how.films, how.seed)
    keys = chosen["image_id"].tolist()
    frames = cache.frames(sha256.loc[keys].tolist()).take(np.arange(len(keys)))
    raw_dir = now.raw_dir
    assert raw_dir is not None  # load_settings makes every path absolute
    truth = truth_masks(raw_dir, index.loc[keys, "file"].tolist(), now.preprocessing.size)
    films = ExplainedFilms(
        tuple(keys),
        chosen["label_index"].to_numpy(np.int64),
        chosen["predicted_index"].to_numpy(np.int64),
        chosen["group_id"].to_numpy(object),
        frames,
        boxes_of(index.reset_index(), keys, now.preprocessing.size),
        lung_masks(frames),
        None if truth is None else truth.lung,
        None if truth is None else truth.lesion,
    )
    everything = cache.frames(sha256.loc[test["image_id"]].tolist())
    logits = predict_logits(second.model, everything, second.preprocessing, log=context.log.info, what="second model")
    answers = (
        temperature.probabilities(logits_of(test, len(now.labels))),
        temperature.probabilities(logits.astype(np.float64)),
        Grouping(
            test["label_index"].to_numpy(np.int64), test["group_id"].to_numpy(object), now.labels, how.seed,
            now.evaluation.resamples,
        ),
    )  # fmt: skip
    judged = Judged(
        first.model,
        second.model,
        first.preprocessing,
        temperature.probabilities,
        lambda method, model, shown, classes: explain(method, model, shown, first.preprocessing, classes, now.explain),
        {name: method.title for name, method in METHODS.items()},
        tuple(name for name, method in METHODS.items() if method.gradients),
    )
    score = model_scorer(first.model, first.preprocessing, temperature.probabilities)
    found = judge_maps(judged, score, films, now.labels, how, now.evaluation.resamples, answers, context.log.info)
    report = {
        SAYS: trained_model.digest,
        "second_model": second_record(first.record, second.record, second_model.digest),
        **found.report,
    }
    figures = {name: png_bytes(drawn) for name, drawn in faithfulness_figures(report, found.curves).items()}
    scores = score_table(report)
    tables = {"curves": found.curves, "films": found.films, "scores": scores}
    return artefact_output(
        shelf.write_report("faithfulness", REPORT_FILE, report, figures, tables),
        now,
        _SECTIONS,
        films=len(films),
        verdict=report["verdict"]["sentence"],
        sentences=dg.MetadataValue.md("\n".join(f"- {sentence}" for sentence in report["sentences"])),
        scores=table(scores[scores["of"] == "all"]),
        second_model=dg.MetadataValue.json(report["second_model"]),
        **{f"{name}_figure": figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )


@dg.asset_check(
    asset="faithfulness",
    description="The maps look at the lungs no less than a map of the centre does (TRAPS 1, 15).",
)
def lung_attention(store: StoreResource) -> dg.AssetCheckResult:
    """The verdict of the trial of the maps."""
    return verdict_result(store.open(), "faithfulness")


ASSETS = [faithfulness]
CHECKS = [lung_attention]
