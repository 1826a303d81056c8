"""``cxr serve``: the prediction service of the released model."""

from __future__ import annotations

import os
import sys

import click

from bentoml_service.security import KeyRing, key_file
from cxr_core.settings import load_settings
from cxr_core.store import ArtefactStore

__all__ = ["serve"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3001, show_default=True, help="Port to listen on.")
def serve(host: str, port: int) -> None:
    """Serve the bento that the pipeline built; its place in the process is taken by BentoML's own server."""
    settings = load_settings()
    store = ArtefactStore(settings.store)
    tag = store.read_json(store.get_ref("bento"))["tag"]
    keys = key_file()
    KeyRing(keys).require_some()
    environment = {
        **os.environ,
        "BENTOML_HOME": str(settings.bento_home),
        "BENTOML_DO_NOT_TRACK": "true",
        "CXR_API_KEYS": str(keys),  # inside a bento there is no checkout to find the default file by
    }
    click.echo(f"Serving {tag} on http://{host}:{port}", err=True)
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--host", host, "--port", str(port)]
    os.execve(sys.executable, command, environment)
