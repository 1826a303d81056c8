"""``cxr fit-points``: operating points for a new site, from a folder of its labelled films."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxr_core import NOTICE
from cxr_core.errors import CxrError

if TYPE_CHECKING:
    from cxr_core.evaluation.operating_points_record import Measured
    from cxr_core.evaluation.site_points import SitePoints

__all__ = ["fit_points"]

_path = click.Path(path_type=Path)


@click.command("fit-points")
@click.argument("folder", type=_path)
@click.option("--model", type=_path, help="Model package; default: the model in service, else the candidate.")
@click.option("--rejected", is_flag=True, help="Use a package even though it did not pass the gate.")
@click.option("--output", type=_path, required=True, help="JSON file for the service: service.operating_points.")
def fit_points(folder: Path, model: Path | None, rejected: bool, output: Path) -> None:
    """Fix operating points for a site on its own labelled films.

    FOLDER holds one folder a class, as the raw folder of the pipeline, with a metadata.csv that names the patients
    where there is one. The film that cannot be used is named with its reason. What the thresholds are worth has to be
    seen on other films than these.
    """
    from cxr_core.evaluation.site_points_fit import fit_site_points
    from cxr_core.predict_command import released_package
    from cxr_core.release.predictor import Predictor
    from cxr_core.settings import load_settings
    from cxr_core.store import write_atomically

    now = load_settings()
    if not folder.is_dir():
        raise CxrError(f"{folder} is no folder: name one that holds a folder of films for each class.")
    predictor = Predictor.load(released_package(now, model, rejected))
    fitted = fit_site_points(
        folder,
        predictor,
        now.quality,
        now.split.seed,
        sensitivities=now.calibration.tb_sensitivities,
        min_films=now.calibration.min_positives,
        resamples=now.evaluation.resamples,
    )
    write_atomically(output, fitted.record.content)
    for file, reason in fitted.left_out:
        click.echo(f"left out: {file}: {reason}", err=True)
    _show(fitted.record, output)


def _show(record: SitePoints, output: Path) -> None:
    points = record.points
    counts = ", ".join(f"{name} {films}" for name, films in points.per_class.items())
    click.echo(f"{points.films} of {record.files} films ({counts}), {points.groups} patients or single films")
    click.echo(f"model {record.model}, digest {record.model_digest[:12]}, temperature {points.temperature:.3g}")
    width = max(len(point.name) for point in points.points)
    click.echo(f"{'point':{width}}  threshold  sensitivity              specificity")
    for point in points.points:
        if point.threshold is None:
            click.echo(f"{point.name:{width}}  not available: {point.reason}")
            continue
        shares = f"{_text(point.sensitivity):23}  {_text(point.specificity)}"
        click.echo(f"{point.name:{width}}  {point.threshold:9.4f}  {shares}")
    click.echo(f"Written to {output}; the service takes it by CXR_SERVICE__OPERATING_POINTS={output}")
    click.secho(NOTICE, dim=True)


def _text(share: Measured) -> str:
    if share.value is None:
        return "not available"
    if share.low is None or share.high is None:
        return f"{share.value:.1%}"
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
