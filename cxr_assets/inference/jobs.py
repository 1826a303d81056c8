"""``predict_folder``: a folder of films, not urgent, by the prediction service or by a package on this machine."""

import dagster as dg
from pydantic import Field

from cxr_assets.outputs import figure, table
from cxr_assets.resources import SettingsResource, StoreResource

__all__ = ["PREDICT_FOLDER_JOB", "PredictFolder", "predict_folder"]

PREDICT_FOLDER_JOB = "predict_folder"

_RETRIES = 3  # of a run whose service went away: the journal keeps what was answered
_RETRY_SECONDS = 30.0  # before the first; they double, so a restart of the service is waited for


class PredictFolder(dg.Config):
    """Which films, which model, where to. The key comes from the variable ``CXR_API_KEY`` of the process alone."""

    folder: str = Field(description="Folder with JPEG, PNG or DICOM files, at any depth.")
    out: str = Field(description="File of the results, one row a film: .csv, .parquet or .jsonl.")
    url: str = Field("", description="Prediction service to ask, https://HOST; empty: a model package here.")
    package: str = Field("", description="Without url: folder of the model package; empty: the model in service.")
    ca: str = Field("", description="PEM file of the authority that signed the service's certificate.")
    concurrency: int = Field(2, ge=1, le=64, description="Requests under way at the same time.")
    fresh: bool = Field(False, description="Ask again what an earlier run of the same out has answered.")


@dg.op(
    out=dg.Out(dg.Nothing),
    retry_policy=dg.RetryPolicy(max_retries=_RETRIES, delay=_RETRY_SECONDS, backoff=dg.Backoff.EXPONENTIAL),
    description="Classify every film of a folder. Killed or ended by an error, the next run goes on where it was.",
)
def predict_films(
    context: dg.OpExecutionContext, config: PredictFolder, settings: SettingsResource, store: StoreResource
) -> dg.Output[None]:
    """Predict, keep the results by content digest in the store, and show counts and confidences.

    File names, which may hold those of patients, stand in ``out`` alone: neither store nor event log has them.
    """
    from pathlib import Path

    import pandas as pd

    from cxr_assets.inference.asking import asked_model
    from cxr_core.client.confidences import confidence_figure
    from cxr_core.client.errors import ServiceProblem, ServiceUnreachable
    from cxr_core.client.folder import predict_folder as predict
    from cxr_core.client.results import results_table
    from cxr_core.errors import CxrError
    from cxr_core.plotting import png_bytes

    now, out = settings.load(), Path(config.out).expanduser()
    try:
        with asked_model(config, now) as model:
            found = predict(
                Path(config.folder).expanduser(), model, out,
                concurrency=config.concurrency, fresh=config.fresh, log=context.log.info,
            )  # fmt: skip
    except CxrError as error:
        passing = isinstance(error, ServiceUnreachable) or (isinstance(error, ServiceProblem) and error.transient)
        raise dg.Failure(str(error), allow_retries=passing) from error
    results = results_table(found.rows).drop(columns=["file", "request_id"])
    counts = pd.DataFrame(
        [*found.predictions.items(), *((f"no answer: {code}", n) for code, n in found.errors.items())],
        columns=["outcome", "films"],
    )
    summary = {
        "films": len(found.rows),
        "sent": found.asked,
        "other_files": found.others,
        "predictions": found.predictions,
        "errors": found.errors,
        "models": list(found.models),
    }
    pngs = {"confidence": png_bytes(confidence_figure(results))} if found.predictions else {}
    artefact = store.open().write_report("folder_predictions", "summary.json", summary, pngs, {"results": results})
    return dg.Output(
        None,
        metadata={
            "films": len(found.rows),
            "sent_now": found.asked,
            "without_answer": sum(found.errors.values()),
            "other_files": found.others,
            "model": f"{found.model.name} {found.model.version} {found.model.digest[:12]}",
            "outcomes": table(counts),
            "results": dg.MetadataValue.path(str(out.resolve())),
            "path": dg.MetadataValue.path(artefact.path),
            **{name: figure(png, "Confidence by predicted class") for name, png in pngs.items()},
        },
    )


@dg.job(
    name=PREDICT_FOLDER_JOB,
    executor_def=dg.in_process_executor,
    description="Predictions for a folder of films, not urgent. Killed, the next run goes on where it was.",
)
def predict_folder() -> None:
    """One step."""
    predict_films()
