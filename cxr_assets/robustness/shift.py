"""embedding_shift: how far corruption moves what the linear head sees, beside what no corruption does (report 5.3)."""

import dagster as dg

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource
from cxr_assets.robustness.conditions import conditions_of
from cxr_assets.trained import embeddings_of, predictions_of
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS", "embedding_shift"]

_SECTIONS = ("shift", "evaluation", "labels")


@dg.asset(
    group_name="robustness",
    ins={"robustness_conditions": dg.AssetIn(partition_mapping=dg.AllPartitionMapping())},
    kinds={"numpy", "scipy", "matplotlib"},
    **versioned(1, load_settings(), *_SECTIONS),
    description="Cosine, Fréchet, norm, MMD and energy distances and a two-sample classifier between the embeddings of "
    "clean and corrupted test films under every condition, each beside its null by exchange of versions and by halves "
    "of the clean films, and whether they warn before accuracy falls (report 5.3).",
)
def embedding_shift(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    robustness_conditions: dict[str, Artefact],
    trained_model: Artefact,
    embeddings: Artefact,
    predictions: Artefact,
) -> dg.Output[Artefact]:
    """Measure, test and draw the shift of every condition."""
    from cxr_core.evaluation.embeddings import EMBEDDING
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS
    from cxr_core.robustness.shift import Version
    from cxr_core.robustness.shift_figures import first_seen_figure, ladder_figure, null_units_figure
    from cxr_core.robustness.shift_report import REPORT_FILE, published_table, shift_report, shift_table
    from cxr_core.robustness.shift_tables import clean_films, versions_in

    now = settings.load()
    shelf = store.open()
    classes = len(now.labels)
    films = clean_films(
        embeddings_of(shelf, trained_model, embeddings),
        predictions_of(shelf, trained_model, predictions),
        classes,
        now.shift,
    )
    columns = ["image_id", "label_index", "condition", "severity", *(f"l_{k}" for k in range(classes)), EMBEDDING]
    versions: dict[str, Version] = {}
    for partition in sorted(robustness_conditions):  # one at a time: together they may be a gigabyte
        swept = conditions_of(shelf, trained_model, {partition: robustness_conditions[partition]}, columns)
        versions.update(versions_in(swept, films, classes))
    context.log.info(f"{len(films.drawn)} of {len(films.image_ids)} test films under {len(versions)} conditions")
    report = shift_report(films.version, versions, films.groups, now.shift, now.evaluation.resamples, films.drawn)
    report[SAYS] = trained_model.digest
    figures = {
        "ladders": png_bytes(null_units_figure(report)),
        "frechet": png_bytes(ladder_figure(report, "frechet")),
        "first_seen": png_bytes(first_seen_figure(report)),
    }
    published = published_table(report)
    return artefact_output(
        shelf.write_report("embedding_shift", REPORT_FILE, report, figures, {"distances": shift_table(report)}),
        now,
        _SECTIONS,
        films=report["films"],
        drawn=report["drawn"]["films"],
        conditions=len(versions),
        sentences=dg.MetadataValue.md("\n".join(f"- {sentence}" for sentence in report["sentences"])),
        published=table(published),
        association=dg.MetadataValue.json(report["association"]),
        **{f"{name}_figure": figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )


ASSETS = [embedding_shift]
CHECKS: list[dg.AssetChecksDefinition] = []
