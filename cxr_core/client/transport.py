"""One HTTP exchange with the service: retried where that helps, every failure a sentence."""

from __future__ import annotations

import ipaddress
import logging
import ssl
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from cxr_core.client.errors import ServiceProblem, ServiceUnreachable
from cxr_core.client.retries import Retries, parse_retry_after
from cxr_core.errors import CxrError, explain_os_errors

__all__ = ["Transport"]

_CONNECT_SECONDS = 10.0  # a host that is there answers in milliseconds

_logger = logging.getLogger("cxr.client")


class Transport:
    """Connections to one service, kept open; its methods may be called from several threads at once."""

    def __init__(self, url: str, key: str, timeout: float, ca: Path | None, retries: Retries) -> None:
        self.url = _checked_url(url)
        headers = {"User-Agent": "cxr-client", "Accept": "application/json"}
        if key:
            headers["X-API-Key"] = _checked_key(key)
        self._http = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
            verify=_trusting(ca) if ca else True,
            trust_env=not _is_loopback(httpx.URL(self.url).host),  # a proxy is not asked for this very machine
        )
        self._retries = retries
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._resume = 0.0  # on the monotonic clock: before it nobody sends, because the service asked for it

    def close(self) -> None:
        """End waits and connections; calls that are under way fail."""
        self._closed.set()
        self._http.close()

    def ask(self, method: str, path: str, also: Collection[int] = (), **arguments: Any) -> httpx.Response:
        """Send a request that may be repeated, and return its answer of status 200.

        Args:
            method, path: of the request, the path as the service names it.
            also: further statuses that are an answer.
            arguments: of ``httpx.Client.request``.

        Raises:
            ServiceProblem: the service refused, in the end.
            ServiceUnreachable: no answer came.
        """
        tried, spent = 0, 0.0
        while True:
            spent += self._hold()
            problem: ServiceProblem | ServiceUnreachable
            try:
                answer = self._http.request(method, self.url + path, **arguments)
            except httpx.TransportError as error:
                problem, again, retry_after = self._unreachable(error), not _untrusted(error), None
            except RuntimeError as error:  # httpx says so when it was closed in another thread
                if not self._closed.is_set():
                    raise
                raise ServiceUnreachable("The client was closed.") from error
            else:
                if answer.status_code == httpx.codes.OK or answer.status_code in also:
                    return answer
                problem = _problem(answer)
                again, retry_after = problem.transient, parse_retry_after(answer.headers.get("Retry-After"))
            tried += 1
            lost = isinstance(problem, ServiceUnreachable)
            wait = self._retries.wait(tried, retry_after, spent, lost) if again else None
            if wait is None:
                raise problem
            if retry_after:
                self._hold_all(retry_after)
            self.pause(wait)
            spent += wait

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until :meth:`close`.

        Raises:
            ServiceUnreachable: the client was closed.
        """
        if self._closed.wait(seconds):
            raise ServiceUnreachable("The client was closed.")

    def _hold_all(self, seconds: float) -> None:
        with self._lock:
            self._resume = max(self._resume, time.monotonic() + seconds)

    def _hold(self) -> float:
        """Wait until the service wants to hear again; the seconds that it took."""
        with self._lock:
            seconds = self._resume - time.monotonic()
        if seconds > 0:
            self.pause(seconds)
        return max(0.0, seconds)

    def _unreachable(self, error: httpx.TransportError) -> ServiceUnreachable:
        if _untrusted(error):
            return ServiceUnreachable(
                f"{self.url} shows a certificate that is not trusted: name the authority that signed it (--ca FILE)."
            )
        if isinstance(error, httpx.TimeoutException):
            return ServiceUnreachable(f"{self.url} did not answer in time: look at its /health, or raise the timeout.")
        return ServiceUnreachable(f"{self.url} does not answer: is the service running, and is this its address?")


def _untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _problem(answer: httpx.Response) -> ServiceProblem:
    try:
        body = answer.json()
    except ValueError:  # a proxy's page
        body = None
    if not isinstance(body, Mapping) or not isinstance(body.get("code"), str):
        detail = "This is no answer of the prediction service: check the URL, and the proxy before it."
        return ServiceProblem(answer.status_code, "no_problem_details", detail)
    items = body.get("items")
    return ServiceProblem(
        answer.status_code,
        body["code"],
        str(body.get("detail", "")),
        str(body.get("request_id", "")),
        [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else (),
    )


def _checked_url(url: str) -> str:
    try:
        parsed = urlsplit(url.strip())
        host = httpx.URL(parsed.geturl()).host if parsed.port != 0 else ""
    except (ValueError, httpx.InvalidURL) as error:
        raise CxrError("The URL of the service is not one: write https://HOST or http://127.0.0.1:3001.") from error
    if parsed.scheme not in ("http", "https") or not host or "@" in parsed.netloc or parsed.query or parsed.fragment:
        raise CxrError(
            "The URL of the service has a scheme (https or http), a host, perhaps a port and a path, and nothing else."
        )
    if parsed.scheme == "http" and not _is_loopback(host):
        _logger.warning("Key and films go to %s unencrypted: use https.", host)
    return parsed.geturl().rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _checked_key(key: str) -> str:
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise CxrError(
            "The API key holds characters that no key has: give the one line that `cxr keys create` printed."
        )
    return key


def _trusting(ca: Path) -> ssl.SSLContext:
    with explain_os_errors(ca, "reading the certificate authority"):
        try:
            return ssl.create_default_context(cafile=ca)
        except ssl.SSLError as error:
            raise CxrError(f"{ca} holds no certificate in PEM form: give that of the authority.") from error
