"""Bodies are read as they should be, or refused; and the page of the input contract lists what the code can say."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from bentoml_service import uploads
from bentoml_service.problems import RequestError
from bentoml_service.uploads import Upload, Uploads, read_upload, read_uploads, status_of
from cxr_core.errors import ImageRejected
from cxr_core.imaging.advice import ADVICE
from cxr_core.imaging.quality import RULES
from cxr_core.release.parts import PARTS
from cxr_core.settings_service import ServiceSettings

ROOT = Path(__file__).parents[2]
MAX = 1000
CANARY = "DOE-JANE-19560412"


def part(name: str, content: bytes, filename: str | None = "x") -> bytes:
    shown = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


def request(body: Iterable[bytes] | bytes, headers: dict[str, str] | None = None) -> Request:
    """A request whose body comes in these chunks; ``None`` among them: the client is gone."""
    chunks = iter([body[i : i + 100] for i in range(0, len(body), 100)] if isinstance(body, bytes) else body)

    async def receive() -> dict[str, Any]:
        chunk = next(chunks, b"")
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    given = {"content-type": "multipart/form-data; boundary=b", **(headers or {})}
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def one(body: Any, **headers: str) -> Upload:
    return asyncio.run(read_upload(request(body, {k.replace("_", "-"): v for k, v in headers.items()}), MAX, 5))


def many(body: Any, max_files: int = 3, **headers: str) -> Uploads:
    given = {k.replace("_", "-"): v for k, v in headers.items()}
    return asyncio.run(read_uploads(request(body, given), MAX, max_files, 5))


def refusal(call: Any, *args: Any, **more: Any) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        call(*args, **more)
    assert CANARY not in caught.value.detail
    return caught.value.status, caught.value.code


def test_one_film_comes_by_form_or_as_the_bare_body():
    content = bytes(range(256)) * 3
    assert one(form(part("file", content))).data == content
    assert one(form(part("files", content))).data == content
    for media_type in ("image/jpeg", "image/png", "application/dicom", "IMAGE/PNG; x=y"):
        assert one(content, content_type=media_type).data == content


def test_a_batch_keeps_its_order_and_a_large_file_is_its_own_error():
    films = [part("file", b"one"), part("files", b"x" * MAX), part("file", b"three")]
    found = many(form(*films))
    assert [item.data if isinstance(item, Upload) else (item.status, item.code) for item in found.items] == [
        b"one",
        (413, "body_too_large"),
        b"three",
    ]


def test_a_file_is_too_large_from_the_limit_on():
    assert len(one(form(part("file", b"x" * (MAX - 1)))).data) == MAX - 1
    assert len(one(b"x" * (MAX - 1), content_type="image/png").data) == MAX - 1
    assert refusal(one, form(part("file", b"x" * MAX))) == (413, "body_too_large")
    assert refusal(one, b"x" * MAX, content_type="image/png") == (413, "body_too_large")


def endless(start: bytes = b"") -> Iterable[bytes]:
    yield start or b"x"
    while True:
        yield b"x" * 1000


def test_no_more_is_read_than_is_allowed_whatever_was_declared():
    for length in ("", "3", "999999999999", "9" * 5000):
        headers = {"content_length": length} if length else {}
        assert refusal(one, endless(), content_type="image/png", **headers) == (413, "body_too_large")
        assert refusal(many, endless(part("file", b"")[:-2]), **headers) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "missing_file")),
        (form(), (400, "missing_file")),
        (form(part("image", b"x")), (400, "missing_file")),
        (form(part("file", b"x", None)), (400, "missing_file")),
        (form(part("file", b"x"))[:60], (400, "missing_file")),
        (form(part("file", b"x"), part("file", b"y")), (400, "too_many_files")),
        (form(part("file", b"x"), part("other", b"y")), (400, "too_many_files")),
        (form(*[part(f"f{i}", b"", None) for i in range(10_000)], part("file", b"x")), (400, "malformed_body")),
        (form(b"--b\r\nX: " + b"y" * 9000 + b"\r\n\r\n"), (400, "malformed_body")),
        (form(b"--b\r\n" + b"X: y\r\n" * 50 + b"\r\n"), (400, "malformed_body")),
        (b"--other\r\n", (400, "malformed_body")),
        (form(b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n"), (400, "malformed_body")),
        ([b"--b\r\n", None], (400, "malformed_body")),
        (form(part("patient_id", b"x" * 2000, None), part("file", b"x")), (400, "malformed_body")),
    ],
)
def test_a_form_that_is_none_of_ours_is_refused(body: Any, expected: tuple[int, str]):
    assert refusal(one, body) == expected


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("multipart/form-data", (400, "malformed_body")),
        ("multipart/form-data; boundary=", (400, "malformed_body")),
        ("multipart/form-data; boundary=" + "b" * 500, (400, "malformed_body")),
        ("multipart/mixed; boundary=b", (415, "unsupported_media_type")),
        ("application/json", (415, "unsupported_media_type")),
        ("", (400, "missing_file")),
    ],
)
def test_a_media_type_that_is_none_of_ours_is_refused(media_type: str, expected: tuple[int, str]):
    for call in (one, many):
        assert refusal(call, form(part("file", b"x")), content_type=media_type) == expected


def test_a_batch_takes_no_bare_body_and_no_file_too_many():
    assert refusal(many, b"x", content_type="image/png") == (415, "unsupported_media_type")
    assert refusal(many, form(*[part("file", b"x")] * 4)) == (400, "too_many_files")
    assert len(many(form(*[part("file", b"x")] * 3)).items) == 3


def test_long_fields_that_nobody_asked_for_are_ignored():
    assert one(form(part("comment", b"x" * 5000, None), part("file", b"film"))).data == b"film"


@pytest.mark.parametrize("given", ["4711", "Müller 12", "x" * 128, "  4711 "])
def test_a_patient_id_comes_by_field_or_header(given: str):
    film = part("file", b"film")
    assert one(form(part("patient_id", given.encode(), None), film)).patient_id == given.strip()
    assert one(form(film), x_patient_id=given.encode().decode("latin-1")).patient_id == given.strip()
    assert one(b"film", content_type="image/png", x_patient_id=given.encode().decode("latin-1")).patient_id
    found = many(form(film, part("patient_id", given.encode(), None), film))
    assert found.patient_id == given.strip()
    assert [item.patient_id for item in found.items if isinstance(item, Upload)] == [given.strip()] * 2


def test_no_patient_id_is_none():
    assert one(form(part("file", b"x"))).patient_id is None
    assert one(form(part("patient_id", b" ", None), part("file", b"x")), x_patient_id="").patient_id is None


@pytest.mark.parametrize("given", [b"x" * 129, b"a\nb", b"\xff\xfe", "‮".encode(), b"a\0b"])
def test_a_patient_id_that_cannot_be_one_is_refused(given: bytes):
    assert refusal(one, form(part("patient_id", given, None), part("file", b"x"))) == (422, "patient_id")


def test_two_patients_are_refused():
    body = form(part("patient_id", b"one", None), part("file", b"x"))
    assert refusal(one, body, x_patient_id="two") == (422, "patient_id")
    assert one(body, x_patient_id="one").patient_id == "one"


def test_nothing_of_an_upload_shows_in_its_description():
    upload = one(form(part("patient_id", CANARY.encode(), None), part("file", CANARY.encode(), CANARY)))
    assert upload == Upload(CANARY.encode(), CANARY)
    batch = many(form(part("patient_id", CANARY.encode(), None), part("file", CANARY.encode(), CANARY)))
    assert CANARY not in f"{upload} {upload!r} {batch} {batch!r} {[upload]}"


def test_a_body_that_stops_coming_is_given_up_and_forgotten():
    async def slow() -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.01)
            return {"type": "http.request", "body": b"x", "more_body": True}

        stalled = Request(
            {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", b"image/png")]}, receive
        )
        await read_upload(stalled, MAX, 0.1)

    assert refusal(asyncio.run, slow()) == (408, "body_timeout")
    assert uploads._in_flight == 0


def test_only_so_much_is_read_at_once(monkeypatch: pytest.MonkeyPatch):
    """Two bodies that are being read hold more than is allowed: the second is sent away, and the first goes on."""
    monkeypatch.setattr(uploads, "_BYTES_IN_FLIGHT", 1500)

    async def both() -> tuple[bytes, str]:
        hold, proceed = asyncio.Event(), asyncio.Event()
        sent = iter([b"x" * 900, b""])

        async def receive() -> dict[str, Any]:
            chunk = next(sent)
            if not chunk:
                hold.set()
                await proceed.wait()
            return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

        scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", b"image/png")]}
        first = asyncio.create_task(read_upload(Request(scope, receive), MAX, 5))
        await hold.wait()
        with pytest.raises(RequestError) as caught:
            await read_upload(request(b"x" * 900, {"content-type": "image/png"}), MAX, 5)
        assert caught.value.status == 503
        proceed.set()
        return (await first).data, caught.value.code

    assert asyncio.run(both()) == (b"x" * 900, "overloaded")
    assert uploads._in_flight == 0


def raised_codes(path: Path) -> set[tuple[str, str]]:
    """(code, status) of every refusal that a module can raise."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        values = [argument.value if isinstance(argument, ast.Constant) else None for argument in node.args]
        if node.func.id in ("ImageRejected", "refuse_damage") and isinstance(values[0], str):
            found.add((values[0], str(status_of(ImageRejected(values[0], "")))))
        elif node.func.id == "RequestError":
            assert isinstance(values[1], str)
            found.add((values[1], str(values[0])))
    return found


def listed(heading: str) -> set[tuple[str, str]]:
    page = (ROOT / "docs/input-contract.md").read_text()
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (\d+) \|$", section, re.M)
    assert len(rows) == len(dict(rows)), "a code is listed twice"
    return set(rows)


def test_the_page_lists_exactly_the_refusals_that_the_code_has():
    modules = [*(ROOT / "cxr_core/imaging").glob("*.py"), *(ROOT / "bentoml_service").glob("[uf]*ms.py")]
    modules.append(ROOT / "bentoml_service/uploads.py")
    assert ROOT / "bentoml_service/forms.py" in modules
    assert listed("Refusals") == set().union(*map(raised_codes, modules))


def test_the_page_lists_exactly_the_advice_that_the_code_has():
    of_parts = {code for part in PARTS.values() for code in part.advice_codes}
    codes = {*ADVICE, *(rule.code for rule in RULES), "low_confidence", *of_parts}
    assert listed("Advice") == {(code, "200") for code in codes}


def test_the_page_says_the_limits_that_the_settings_have():
    page, settings = (ROOT / "docs/input-contract.md").read_text(), ServiceSettings()
    assert f"smaller than {settings.max_bytes:,} bytes" in page
    assert f"| {settings.min_side} to {settings.max_side} a side" in page
    assert f"within {settings.body_seconds:.0f} seconds" in page
