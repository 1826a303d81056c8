"""A small HTTP server that speaks as the prediction service does, counts what it hears, and misbehaves when told to."""

from __future__ import annotations

import email.parser
import email.policy
import hashlib
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

KEY = "a-key-of-the-tests"
LABELS = ("Normal", "Pneumonia", "Tuberculosis")
PNG = "data:image/png;base64,iVBORw0KGgo="


def film(number: int, bad: bool = False) -> bytes:
    """Bytes that start as a JPEG file does; the pretended service refuses those that say so."""
    return b"\xff\xd8\xff" + (b"BAD" if bad else b"film") + str(number).encode()


@dataclass
class Heard:
    """One request: route, headers, and name and content of each film."""

    method: str
    path: str
    headers: dict[str, str]
    names: list[str]
    films: list[bytes]
    fields: dict[str, str]


Reply = tuple[int, dict[str, str], bytes]
Rule = Callable[[Heard], Reply | None]


@dataclass
class PretendService:
    """What the server is told and what it heard. ``rules`` answer first, in order, where they give a reply."""

    model: str = "a" * 64
    url: str = ""
    seconds: float = 0.0
    heard: list[Heard] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)  # of every answer

    @property
    def sent(self) -> list[bytes]:
        """Every film that came, in the order of arrival."""
        return [data for request in self.heard for data in request.films]

    def identity(self) -> dict[str, str]:
        return {"name": "cxr", "version": "1.0.0", "digest": self.model, "preprocessing_digest": "p" * 64}

    def reply(self, heard: Heard) -> Reply:
        for rule in self.rules:
            if (reply := rule(heard)) is not None:
                return reply
        if heard.path == "/health":
            return said({"status": "ready", "live": True, "ready": True, "checks": {"model": True},
                         "model": {"name": "cxr", "version": "1.0.0"}, "notice": "n"})  # fmt: skip
        if heard.headers.get("x-api-key") != KEY:
            return problem(401, "unauthorized")
        if heard.path == "/model":
            return said({**self.identity(), "labels": LABELS, "parts": {}, "notice": "n", "engine": "new"})
        if heard.path in ("/metrics", "/drift_report"):
            return said({"window": 3})
        items = [self.answer(index, data) for index, data in enumerate(heard.films)]
        shared = {"model": self.identity(), "request_id": "r", "notice": "n"}
        if heard.path == "/batch_predict":
            if not any("answer" in item for item in items):
                return problem(422, "no_usable_file", items=items)
            return said({"items": items, **shared})
        if "problem" in items[0]:
            return problem(items[0]["problem"]["status"], items[0]["problem"]["code"])
        explanation = {"method": "gradcam", "label": "Normal", "frame": PNG, "overlay": PNG}
        more = {"explanation": explanation} if heard.path == "/predict/explain" else {}
        return said({**items[0]["answer"], **shared, **more})

    def answer(self, index: int, data: bytes) -> dict[str, Any]:
        if b"BAD" in data:
            return {"index": index, "problem": {"status": 422, "code": "truncated", "detail": "Damaged."}}
        first = hashlib.sha256(data).digest()[0] / 255
        p = {LABELS[0]: first, LABELS[1]: (1 - first) / 2, LABELS[2]: (1 - first) / 2}
        best = max(p, key=lambda label: p[label])
        answer = {
            "prediction": best, "confidence": p[best], "probabilities": p,
            "uncertainty": {"entropy": 0.5, "margin": 0.25},
            "warnings": [{"code": "low_confidence", "message": "m"}], "parts": self.parts, "review": {"case": None},
        }  # fmt: skip
        return {"index": index, "answer": answer}


def said(body: Any, status: int = 200, **headers: str) -> Reply:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(body).encode()


def problem(status: int, code: str, items: list[dict[str, Any]] | None = None, **headers: str) -> Reply:
    body = {"type": f"urn:cxr:problem:{code}", "title": "t", "status": status, "code": code, "detail": "Why.",
            "request_id": "r-1", **({"items": items} if items else {})}  # fmt: skip
    return said(body, status, **{name.replace("_", "-"): value for name, value in headers.items()})


def times(count: int, reply: Reply, path: str = "") -> Rule:
    """A rule for the first ``count`` requests, of one path or of any."""
    left = count
    lock = threading.Lock()

    def rule(heard: Heard) -> Reply | None:
        nonlocal left
        with lock:
            if left and path in ("", heard.path):
                left -= 1
                return reply
        return None

    return rule


HANG_UP: Reply = (0, {}, b"")  # the connection ends without an answer


def serve(service: PretendService, tls: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    """A server on a free port, started in a thread; the caller shuts it down."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.answer(b"")

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, body: bytes) -> None:
            heard = parse(self.command, urlsplit(self.path).path, dict(self.headers), body)
            service.heard.append(heard)
            if heard.films:
                time.sleep(service.seconds)
            status, headers, content = service.reply(heard)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:  # a client that was killed is part of the tests
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    service.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def parse(method: str, path: str, headers: dict[str, str], body: bytes) -> Heard:
    lower = {name.lower(): value for name, value in headers.items()}
    heard = Heard(method, path, lower, [], [], {})
    if lower.get("content-type", "").startswith("multipart/form-data"):
        head = f"Content-Type: {lower['content-type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        for part in message.iter_parts():
            content = part.get_payload(decode=True)
            if (name := part.get_filename()) is not None:
                heard.names.append(name)
                heard.films.append(content)
            else:
                heard.fields[part.get_param("name", header="content-disposition")] = content.decode()
    return heard
