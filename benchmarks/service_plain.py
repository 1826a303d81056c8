"""What a service is measured against: FastAPI, PyTorch eager, PIL; ``uvicorn benchmarks.service_plain:app``.

Written as the tutorials of both write it, with the weights and the preprocessing of the package in ``BENCH_MODEL``, so
that both services give the same answers. It has no keys, limits, trail, metrics, queue or checks.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import torch
from fastapi import FastAPI, UploadFile
from PIL import Image

from cxr_core.modelling.network import empty_classifier
from cxr_core.release.package import WEIGHTS, load_manifest

_folder = Path(os.environ["BENCH_MODEL"])
_manifest = load_manifest(_folder)
_model = empty_classifier(_manifest.backbone, len(_manifest.labels), _manifest.dropout)
_model.load_state_dict(torch.load(_folder / WEIGHTS, weights_only=True))
_model.eval()

app = FastAPI()


@app.get("/health")
def health() -> dict[str, str]:
    """It runs."""
    return {"status": "ready"}


@app.post("/predict")
def predict(file: UploadFile) -> dict[str, object]:
    """Classify one film, in the thread pool of FastAPI."""
    image = Image.open(io.BytesIO(file.file.read())).convert("L")
    frame = _manifest.preprocessing.frame(np.asarray(image))
    with torch.inference_mode():
        logits = _model(torch.from_numpy(_manifest.preprocessing.tensor(frame[None])))
        probabilities = torch.softmax(logits, 1)[0].tolist()
    best = int(np.argmax(probabilities))
    return {
        "prediction": _manifest.labels[best],
        "probabilities": dict(zip(_manifest.labels, probabilities, strict=True)),
    }
