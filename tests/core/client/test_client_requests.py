"""What the client sends, and what it makes of every kind of answer."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pretend_service import HANG_UP, KEY, LABELS, PretendService, film, problem, said, serve, times

from cxr_core.client import Answer, Client, Retries, ServiceProblem, ServiceUnreachable
from cxr_core.client.retries import parse_retry_after
from cxr_core.client.transport import Transport
from cxr_core.errors import CxrError


def refused(found: object) -> ServiceProblem:
    assert isinstance(found, ServiceProblem)
    return found


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the client meant to wait, instead of waiting."""
    meant: list[float] = []
    monkeypatch.setattr(Transport, "pause", lambda self, seconds: meant.append(seconds))
    monkeypatch.setattr(Transport, "_hold", lambda self: 0.0)
    return meant


def test_an_answer_is_typed_and_fields_of_a_later_service_do_no_harm(client: Client, service: PretendService) -> None:
    service.rules.append(lambda heard: said({**service_answer(service), "colour": "new"}))
    answer = client.predict(film(1))
    assert isinstance(answer, Answer)
    assert tuple(answer.probabilities) == LABELS
    assert answer.confidence == answer.probabilities[answer.prediction]
    assert answer.uncertainty is not None
    assert answer.uncertainty.margin == 0.25
    assert [warning.code for warning in answer.warnings] == ["low_confidence"]
    assert answer.model.digest == service.model
    assert client.model().labels == LABELS


def service_answer(service: PretendService) -> dict[str, object]:
    return {**service.answer(0, film(1))["answer"], "model": service.identity(), "request_id": "r", "notice": "n",
            "labels": LABELS, **service.identity()}  # fmt: skip


def test_the_routes_about_the_service_are_read(client: Client, service: PretendService) -> None:
    assert client.health().ready
    assert client.health().checks == {"model": True}
    assert client.model().identity.model_dump() == service.identity()
    assert client.model().model_extra == {"engine": "new"}
    assert client.metrics() == client.drift_report() == {"window": 3}
    assert client.explain(film(1), label="Normal").explanation.frame.startswith(b"\x89PNG")


def test_a_service_that_is_not_ready_says_so_at_once(client: Client, service: PretendService) -> None:
    body = {"status": "not_ready", "live": True, "ready": False, "checks": {"audit": False}, "model": None}
    service.rules.append(lambda heard: said(body, 503))
    assert client.health().checks == {"audit": False}
    assert not client.health().ready
    service.rules[0] = lambda heard: problem(503, "not_ready")
    assert client.health().status == "not_ready"
    assert len(service.heard) == 3


def test_file_names_are_never_sent(client: Client, service: PretendService, tmp_path: Path) -> None:
    path = tmp_path / "Doe_John_1970.jpg"
    path.write_bytes(film(1))
    client.predict(path)
    client.explain(str(path))
    list(client.predict_many([path, path]))
    assert {name for heard in service.heard for name in heard.names} == {"film"}
    assert "Doe" not in repr([heard.headers for heard in service.heard])


def test_the_key_goes_into_one_header_and_is_shown_nowhere(client: Client, service: PretendService) -> None:
    client.predict(film(1))
    assert service.heard[0].headers["x-api-key"] == KEY
    assert KEY not in repr(client)
    assert KEY not in repr([{**heard.headers, "x-api-key": ""} for heard in service.heard])
    for key in ("two words", "line\nbreak", "schlüssel"):
        with pytest.raises(CxrError, match="characters that no key has") as caught:
            Client(service.url, key)
        assert key not in str(caught.value)


def test_a_patient_id_is_a_form_field(client: Client, service: PretendService) -> None:
    client.predict(film(1), patient_id="Dœ 7")
    client.predict(film(1))
    assert [heard.fields for heard in service.heard] == [{"patient_id": "Dœ 7"}, {}]


def test_a_problem_carries_what_the_service_said(client: Client, service: PretendService) -> None:
    with pytest.raises(ServiceProblem, match="422 truncated") as caught:
        client.predict(film(1, bad=True))
    assert (caught.value.status, caught.value.code, caught.value.detail) == (422, "truncated", "Why.")
    assert caught.value.request_id == "r-1"
    assert len(service.heard) == 1  # what would be refused again is not sent again
    with Client(service.url, "wrong") as stranger, pytest.raises(ServiceProblem, match="401 unauthorized"):
        list(stranger.predict_many([film(1), film(2)]))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_time_mends_is_tried_again(client: Client, service: PretendService, status: int) -> None:
    service.rules.append(times(3, problem(status, "later")))
    assert client.predict(film(1)).model.digest == service.model
    assert len(service.heard) == 4


def test_a_client_gives_up_in_the_end(client: Client, service: PretendService) -> None:
    service.rules.append(times(100, problem(503, "overloaded")))
    with pytest.raises(ServiceProblem, match="503 overloaded"):
        client.predict(film(1))
    assert len(service.heard) == 4


def test_retry_after_is_waited_for(client: Client, service: PretendService, waits: list[float]) -> None:
    service.rules.append(times(2, problem(429, "too_many_requests", Retry_After="7")))
    client.predict(film(1))
    assert len(waits) == 2
    assert all(7 <= wait < 7.01 for wait in waits)  # and a little jitter
    service.rules.append(times(9, problem(429, "too_many_requests", Retry_After="500")))
    with pytest.raises(ServiceProblem, match="429"):  # longer than this client is patient for
        client.predict(film(1))
    assert len(waits) == 2


def test_a_limit_holds_back_the_other_threads_too(client: Client, service: PretendService) -> None:
    service.rules.append(times(1, problem(429, "too_many_requests", Retry_After="1")))
    client.predict(film(1))
    assert client._transport._resume > 0


def test_waits_grow_are_drawn_from_the_whole_step_and_end() -> None:
    policy = Retries(attempts=20, first=1, longest=8, patience=1000)
    for tried, largest in ((1, 1), (2, 2), (3, 4), (4, 8), (10, 8)):
        drawn = [policy.wait(tried, None, 0) for _ in range(200)]
        assert max(drawn) <= largest
        assert max(drawn) > 0.8 * largest
        assert min(drawn) < 0.2 * largest
    assert policy.wait(20, None, 0) is None
    assert policy.wait(1, None, 1000) is None
    assert policy.wait(1, 2000, 0) is None


@pytest.mark.parametrize(("value", "seconds"), [("12", 12), ("0", 0), ("soon", None), (None, None), ("-3", None)])
def test_retry_after_is_read_as_seconds(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value) == seconds


def test_retry_after_may_be_a_date() -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    assert parse_retry_after(soon.strftime("%a, %d %b %Y %H:%M:%S GMT")) == pytest.approx(100, abs=5)
    assert parse_retry_after("Mon, 01 Jan 2001 00:00:00 GMT") == 0


def test_a_broken_connection_is_tried_again(client: Client, service: PretendService) -> None:
    service.rules.append(times(2, HANG_UP))
    client.predict(film(1))
    assert len(service.heard) == 3
    service.rules.append(times(100, HANG_UP))
    with pytest.raises(ServiceUnreachable):
        client.predict(film(1))
    assert len(service.heard) == 6


def test_a_proxy_is_not_asked_for_this_very_machine(service: PretendService, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(service.url, KEY, retries=Retries(attempts=1)) as client:
        assert client.health().ready


def test_nobody_at_the_address_is_one_sentence(service: PretendService) -> None:
    with (
        Client("http://127.0.0.1:9", KEY, retries=Retries(attempts=1)) as client,
        pytest.raises(ServiceUnreachable, match=r"127\.0\.0\.1:9 does not answer: is the service running"),
    ):
        client.health()


@pytest.mark.parametrize(
    "url", ["ftp://host", "host:3001", "https://user:secret@host", "https://", "https://host/?key=1", "https://[x"]
)
def test_an_address_that_is_none_is_refused_unseen(url: str) -> None:
    with pytest.raises(CxrError, match="The URL of the service") as caught:
        Client(url, KEY)
    assert "secret" not in str(caught.value)


def test_an_unencrypted_way_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "cxr.client"):
        Client("http://127.0.0.1:3001", KEY).close()
        Client("http://localhost:3001", KEY).close()
        assert caplog.messages == []
        Client("http://cxr.example.org", KEY).close()
    assert caplog.messages == ["Key and films go to cxr.example.org unencrypted: use https."]


def test_a_proxys_page_is_no_answer(client: Client, service: PretendService) -> None:
    page = (413, {"Content-Type": "text/html"}, b"<html>nginx</html>")
    service.rules.append(times(1, page))
    with pytest.raises(ServiceProblem, match="413 no_problem_details: This is no answer of the prediction service"):
        client.predict(film(1))
    service.rules.append(times(1, (200, {}, b"<html>Welcome</html>")))
    with pytest.raises(ServiceProblem, match="unexpected_answer"):
        client.predict(film(1))


def test_the_key_does_not_follow_a_redirect(client: Client, service: PretendService) -> None:
    service.rules.append(times(1, (307, {"Location": f"{service.url}/elsewhere"}, b"")))
    with pytest.raises(ServiceProblem, match="307"):
        client.predict(film(1))
    assert [heard.path for heard in service.heard] == ["/predict"]


def test_a_service_may_live_below_a_path(service: PretendService) -> None:
    with Client(f"{service.url}/hospital/cxr/", KEY, retries=Retries(attempts=1)) as client:
        service.rules.append(lambda heard: said({**service.identity(), "labels": LABELS}))
        client.model()
    assert service.heard[0].path == "/hospital/cxr/model"


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that no public authority signed, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "ca.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


def test_certificates_are_verified_and_an_own_authority_can_be_named(tmp_path: Path) -> None:
    authority, context = certificate(tmp_path)
    service = PretendService()
    server = serve(service, context)
    try:
        with Client(service.url, KEY) as client, pytest.raises(ServiceUnreachable, match="not trusted: name the autho"):
            client.predict(film(1))
        assert service.heard == []
        with Client(service.url, KEY, ca=authority) as client:
            assert client.predict(film(1)).model.digest == service.model
    finally:
        server.shutdown()
        server.server_close()
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(CxrError, match=r"no\.pem holds no certificate in PEM form"):
        Client(service.url, KEY, ca=tmp_path / "no.pem")
    with pytest.raises(CxrError, match="is not there while reading the certificate authority"):
        Client(service.url, KEY, ca=tmp_path / "missing.pem")


def test_many_films_go_in_batches_and_come_back_in_order(client: Client, service: PretendService) -> None:
    films = [film(number) for number in range(23)]
    found = list(client.predict_many(films))
    assert [heard.path for heard in service.heard] == ["/batch_predict"] * 3
    assert [len(heard.films) for heard in service.heard] == [10, 10, 3]
    assert service.sent == films
    alone = [client.predict(data) for data in films]
    assert [answer.probabilities for answer in found] == [answer.probabilities for answer in alone]
    assert {answer.request_id for answer in found} == {"r"}
    assert list(client.predict_many([])) == []


def test_a_batch_stays_below_its_size(service: PretendService) -> None:
    with Client(service.url, KEY, max_body=25) as client:
        films = [film(number) for number in range(10, 15)]  # 9 bytes each
        assert len(list(client.predict_many(films))) == 5
    assert [len(heard.films) for heard in service.heard] == [2, 2, 1]


def test_a_refused_film_keeps_its_place(client: Client, service: PretendService) -> None:
    films = [film(number, bad=number in (1, 4)) for number in range(6)]
    found = list(client.predict_many(films))
    assert [isinstance(answer, Answer) for answer in found] == [True, False, True, True, False, True]
    assert refused(found[1]).code == "truncated"
    nothing = list(client.predict_many([film(1, bad=True), film(2, bad=True)]))
    assert [refused(answer).code for answer in nothing] == ["truncated"] * 2


def test_films_that_there_was_no_room_for_are_sent_again_alone(client: Client, service: PretendService) -> None:
    busy = {"index": 1, "problem": {"status": 503, "code": "overloaded", "detail": "d"}}

    def rule(heard: object) -> object:
        service.rules.clear()
        items = [service.answer(0, film(0)), busy, service.answer(2, film(2)), {**busy, "index": 3}]
        return said({"items": items, "model": service.identity(), "request_id": "r", "notice": "n"})

    service.rules.append(rule)
    found = list(client.predict_many([film(number) for number in range(4)]))
    assert all(isinstance(answer, Answer) for answer in found)
    assert service.heard[1].films == [film(1), film(3)]
    service.rules.append(times(100, said({"items": [busy, {**busy, "index": 0}], "model": service.identity()})))
    found = list(client.predict_many([film(0), film(1)]))
    assert [refused(answer).code for answer in found] == ["overloaded"] * 2


@pytest.mark.parametrize("status", [400, 413, 500])
def test_a_batch_that_is_refused_as_a_whole_goes_film_by_film(
    client: Client, service: PretendService, status: int
) -> None:
    service.rules.append(times(1, problem(status, "strange"), "/batch_predict"))
    found = list(client.predict_many([film(0), film(1, bad=True), film(2)]))
    assert [isinstance(answer, Answer) for answer in found] == [True, False, True]
    assert [heard.path for heard in service.heard] == ["/batch_predict", "/predict", "/predict", "/predict"]


@pytest.mark.parametrize(
    "body",
    [
        {"items": []},
        {"items": [{"index": 0, "answer": {}}, {"index": 1, "answer": {}}]},
        {"items": [{"index": 5, "problem": {"status": 422, "code": "c"}}, {"index": 6}]},
    ],
)
def test_a_batch_that_does_not_fit_its_films_is_no_answer(
    client: Client, service: PretendService, body: dict[str, object]
) -> None:
    service.rules.append(lambda heard: said({**body, "model": service.identity()}))
    with pytest.raises(ServiceProblem, match="unexpected_answer"):
        list(client.predict_many([film(0), film(1)]))
