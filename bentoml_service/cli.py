"""``cxr serve``: the prediction service of the released model."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

import click

from bentoml_service.secret_keys import require_secrets, secrets_file
from bentoml_service.security import KeyRing, key_file
from bentoml_service.tls import require_certificate
from cxr_core.settings import load_settings
from cxr_core.store import ArtefactStore

__all__ = ["serve"]

_PEM = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3001, show_default=True, help="Port to listen on.")
@click.option("--workers", type=click.IntRange(min=1), help="Service processes; default: the setting service.workers.")
@click.option("--tls-certificate", type=_PEM, help="PEM file of the certificate: speak TLS 1.3, and nothing else.")
@click.option("--tls-key", type=_PEM, help="PEM file of its private key, without a password.")
def serve(host: str, port: int, workers: int | None, tls_certificate: Path | None, tls_key: Path | None) -> None:
    """Serve the bento that the pipeline built; its place in the process is taken by BentoML's own server."""
    settings = load_settings()
    store = ArtefactStore(settings.store)
    tag = store.read_json(store.get_ref("bento"))["tag"]
    keys = key_file()
    KeyRing(keys).require_some()
    require_secrets()
    tls = _tls_options(tls_certificate, tls_key)
    if not tls and not _is_this_machine(host):
        click.echo(
            "Keys and films will travel unencrypted: give --tls-certificate and --tls-key, or let nothing but a proxy "
            "that speaks TLS reach this port (docs/deployment-proxy.md).",
            err=True,
        )
    environment = {
        **os.environ,
        "BENTOML_HOME": str(settings.bento_home),
        "BENTOML_DO_NOT_TRACK": "true",
        # Absolute, because inside a bento there is no checkout to find the default places by.
        "CXR_API_KEYS": str(keys),
        "CXR_SECRETS": str(secrets_file()),
        "CXR_SERVICE__STATE_DIR": str(settings.service.state_dir),
        "CXR_SERVICE__WORKERS": str(workers or settings.service.workers),
        **({"CXR_SERVICE__OPERATING_POINTS": str(points)} if (points := settings.service.operating_points) else {}),
    }
    click.echo(f"Serving {tag} on {'https' if tls else 'http'}://{host}:{port}", err=True)
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--host", host, "--port", str(port), *tls]
    os.execve(sys.executable, command, environment)


def _tls_options(certificate: Path | None, key: Path | None) -> list[str]:
    if certificate is None and key is None:
        return []
    if certificate is None or key is None:
        raise click.UsageError("--tls-certificate and --tls-key belong together: give both or neither.")
    require_certificate(certificate, key)
    return ["--ssl-certfile", str(certificate.resolve()), "--ssl-keyfile", str(key.resolve())]


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
