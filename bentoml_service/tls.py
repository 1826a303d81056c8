"""TLS 1.3 only, for a service that speaks TLS itself: BentoML and uvicorn have no option for the lowest version.

Neither has OpenSSL's configuration file, since Python sets the lowest version itself (TRAPS 25).
"""

from __future__ import annotations

import functools
import ssl
from pathlib import Path
from typing import Any

import uvicorn.config

from cxr_core.errors import CxrError

__all__ = ["require_certificate", "require_tls_1_3"]


def require_tls_1_3() -> None:
    """Make every TLS context that uvicorn opens in this process, from now on, refuse what is older (RFC 8446).

    To be called when the service module is imported, before the server starts. Does nothing where no certificate is
    given, and nothing the second time.
    """
    made = uvicorn.config.create_ssl_context
    if getattr(made, "tls_1_3_only", False):
        return

    @functools.wraps(made)
    def create_ssl_context(*arguments: Any, **named: Any) -> ssl.SSLContext:
        context = made(*arguments, **named)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    create_ssl_context.tls_1_3_only = True  # type: ignore[attr-defined]
    uvicorn.config.create_ssl_context = create_ssl_context


def require_certificate(certificate: Path, key: Path) -> None:
    """Refuse to start with a certificate and key that cannot be used, before any process is started.

    Args:
        certificate: PEM file: the certificate, then those that vouch for it.
        key: PEM file of its private key, without a password.

    Raises:
        CxrError: a file is missing, is not PEM, or the key belongs to another certificate or has a password.
    """
    for path in (certificate, key):
        if not path.is_file():
            raise CxrError(f"{path} is not there, but TLS needs it: check the path.")

    def no_password() -> str:
        raise CxrError(f"{key} is locked by a password, which nobody can give at a start: store the key without one.")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise CxrError(
            f"{certificate} and {key} are no certificate and its private key, or cannot be read: give two PEM files "
            "that belong together."
        ) from error
