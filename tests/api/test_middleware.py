"""What every answer has: a shape, headers, a request id, a log line, nothing of the inside."""

import asyncio
import re
from uuid import uuid4

import msgspec
import pytest
import structlog

from caas.api import payments as listing
from caas.api.application import OPERATIONS
from caas.api.documentation import known_errors
from caas.billing_database import migrations, schema_catalog
from caas.billing_database.api_keys import ApiKeys
from caas.billing_database.connection import DatabaseUnavailableError
from tests.api.addresses import address
from tests.api.conftest import SOMEBODYS_PAYMENT, Doors, Reply
from tests.api.raw_http import line

PATIENCE_SECONDS = 120.0
SECRET = "the password of the database is swordfish"


async def some_refusals(doors: Doors) -> list[Reply]:
    """Answers of every kind of refusal."""
    return [
        await doors.get("/v1/payments", caller=None),
        await doors.get("/v1/self-check", caller="services"),
        await doors.get("/v1/nothing"),
        await doors.get(f"/v1/payments/{uuid4()}"),
        await doors.get("/v1/payments/not-an-id"),
        await doors.call("PATCH", "/v1/payments"),
        await doors.call("DELETE", "/health"),
        await doors.get("/v1/payments?limit=x"),
        await doors.call("POST", "/v1/payments/service", json=SOMEBODYS_PAYMENT),
        await doors.post("/v1/payments/service", {"amount": "1"}),
        await doors.call("POST", "/webhooks/gateway", caller=None, json={}),
        await doors.call("POST", "/v1/payments/service", data=b"x" * 70_000),
        await doors.call("POST", "/v1/payments/service", data=b"x"),
        await doors.get("/problems/no-such-problem", caller=None),
    ]


async def test_every_refusal_is_a_problem_with_a_page_behind_its_type(quiet_doors: Doors) -> None:
    for answer in await some_refusals(quiet_doors):
        problem = answer.json
        assert answer.headers["content-type"] == "application/problem+json", answer.body
        assert (problem["status"], problem["type"]) == (
            answer.status, f"/problems/{problem['code']}",
        )  # fmt: skip
        assert re.fullmatch(r"[A-Z].*[.:)].*", problem["detail"]), problem
        assert problem["instance"] == f"urn:caas:request:{answer.headers['x-request-id']}"
        page = await quiet_doors.get(problem["type"], caller=None)
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert problem["code"] in page.body.decode()


async def test_every_answer_has_its_security_headers_and_does_not_say_who_serves(
    quiet_doors: Doors,
) -> None:
    answers = [
        *await some_refusals(quiet_doors),
        await quiet_doors.get("/health", caller=None),
        await quiet_doors.get("/docs", caller=None),
        await quiet_doors.get("/openapi.json", caller=None),
        await quiet_doors.get("/v1/payments"),
    ]

    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers
        assert len(answer.headers["content-security-policy"].split(",")) == 1


async def test_a_wrong_method_is_told_which_are_right(quiet_doors: Doors) -> None:
    answer = await quiet_doors.call("PATCH", "/v1/payments/service")

    assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


async def test_a_harmless_request_id_is_kept_and_a_harmful_one_replaced(
    quiet_doors: Doors,
) -> None:
    for given, kept in (
        ("order-2026-11-23.0001", True), (str(uuid4()), True), ("short", False), ("x" * 65, False),
        ("id with blanks", False), ("id;drop", False),
    ):  # fmt: skip
        answer = await quiet_doors.get("/health", caller=None, headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) is kept, given


async def test_a_bug_is_a_500_that_says_nothing_and_is_logged(
    quiet_doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET)

    payments = quiet_doors.installation.platform.payment_processing
    monkeypatch.setattr(type(payments), "initiate_service_payment", broken)
    monkeypatch.setattr(listing, "listed", broken)

    with structlog.testing.capture_logs() as lines:
        direct = await quiet_doors.post("/v1/payments/service", SOMEBODYS_PAYMENT)
        behind = await quiet_doors.get("/v1/payments")

    for answer in (direct, behind):
        assert (answer.status, answer.json["code"]) == (500, "internal_error")
        assert SECRET not in answer.body.decode()
        assert "Traceback" not in answer.body.decode()
    failed = [stated for stated in lines if stated["event"] == "api.failed"]
    assert [str(stated["exc_info"]) for stated in failed] == [SECRET, SECRET]
    assert failed[0]["request_id"] == direct.headers["x-request-id"]


async def test_a_database_that_is_away_is_503_with_a_time_to_wait(
    quiet_doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError(reason=SECRET)

    monkeypatch.setattr(listing, "listed", away)

    answer = await quiet_doors.get("/v1/payments")

    assert (answer.status, answer.json["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert SECRET not in answer.body.decode()


async def test_metrics_are_told_to_a_key_known_before_while_the_database_is_away_or_frozen(
    quiet_doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    thawed = asyncio.Event()

    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError(reason=SECRET)

    async def frozen(*_: object, **__: object) -> None:
        await thawed.wait()
        raise DatabaseUnavailableError(reason=SECRET)

    monkeypatch.setattr(ApiKeys, "find", away)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await quiet_doors.get("/v1/payments", caller="operators")).status != 503:
            await asyncio.sleep(0.05)  # until the key is forgotten
    while_away = await quiet_doors.get("/metrics", caller="operators")
    stranger = await quiet_doors.get("/metrics", caller="nobody")
    monkeypatch.setattr(ApiKeys, "find", frozen)
    while_frozen = await quiet_doors.get("/metrics", caller="operators")
    thawed.set()

    assert (while_away.status, while_frozen.status, stranger.status) == (200, 200, 503)


async def test_a_log_line_has_ids_and_neither_names_nor_bodies(doors: Doors) -> None:
    with structlog.testing.capture_logs() as lines:
        made = await doors.post(
            "/v1/customers", {"name": "Ana Ruiz", "email": "ana@example.com"}, caller="orders"
        )
        await doors.get("/v1/customers/Ana%20Ruiz?name=Ana")
        await doors.get(f"/v1/customers/{made.json['id']}")

    answered = [stated for stated in lines if stated["event"] == "api.answered"]
    assert [stated["route"] for stated in answered] == [
        "/v1/customers", "unmatched", "/v1/customers/{customer_id}",
    ]  # fmt: skip
    assert answered[0]["caller"] == "orders"
    assert answered[0]["request_id"] == made.headers["x-request-id"]
    assert "Ana" not in str(lines)
    assert "example.com" not in str(lines)


@pytest.mark.parametrize(
    "path", ["/v1/payments%0d%0aset-cookie:%20a=b", "/%0a", "/v1/%00", "/..%2f..%2fetc%2fpasswd"]
)
async def test_line_breaks_in_an_address_reach_neither_headers_nor_log(
    quiet_doors: Doors, path: str
) -> None:
    with structlog.testing.capture_logs() as lines:
        async with line(quiet_doors.port) as client:
            await client.say(
                b"GET " + path.encode() + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            )
            answer = await client.rest()

    assert answer.startswith(b"HTTP/1.1 40")
    assert b"set-cookie" not in answer.split(b"\r\n\r\n")[0].lower()
    assert "set-cookie" not in str(lines)


async def test_liveness_readiness_metrics_and_invariants(quiet_doors: Doors) -> None:
    health = await quiet_doors.get("/health", caller=None)
    ready = await quiet_doors.get("/ready", caller=None)
    invariants = await quiet_doors.get("/v1/self-check", caller="operators")
    metrics = await quiet_doors.get("/metrics", caller="operators")

    assert health.json == {"status": "alive"}
    assert ready.json == {"status": "ready", "degraded": []}
    assert invariants.json["holds"] is False, "nothing has been checked yet"
    assert {invariant["state"] for invariant in invariants.json["invariants"]} == {"not checked"}
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 'caas_api_request_seconds_count{method="GET",route="/health",status="200"}' in (
        metrics.body.decode()
    )


async def test_a_database_of_another_version_is_not_ready(
    quiet_doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations.files()
    monkeypatch.setattr(schema_catalog, "files", lambda: {**known, "0999_future.sql": "select 1"})

    answer = await quiet_doors.get("/ready", caller=None)

    assert (answer.status, answer.json["code"]) == (503, "not_ready")
    assert "0999_future.sql" in answer.json["detail"]


def test_every_operation_has_its_own_id_and_a_sentence() -> None:
    ids = [operation.id for operation in OPERATIONS]

    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[A-Z].*\.|[A-Z].*[a-z`)]\.?", op.summary) for op in OPERATIONS)
    assert all(address(operation).startswith("/") for operation in OPERATIONS)


def test_every_code_a_caller_may_read_has_one_meaning() -> None:
    errors = known_errors()

    assert len(errors) > 60
    for code, error in errors.items():
        assert re.fullmatch(r"[a-z0-9_]+", code), code
        assert (error.__doc__ or "").strip(), code


def test_the_sevens_and_the_twos_are_spelt_as_in_the_seed() -> None:
    seeds = {
        "initiateReservationPayment", "initiateFinalPayment", "initiateServicePayment",
        "initiateSubscriptionPayment", "voidPayment", "queryPaymentStatus", "recordSettlement",
    }  # fmt: skip

    wanted = seeds | {"confirmDelivery", "refundPayment"}
    assert {operation.id for operation in OPERATIONS} >= wanted


async def test_the_docs_show_every_call_and_load_nothing_from_elsewhere(
    quiet_doors: Doors,
) -> None:
    page = (await quiet_doors.get("/docs", caller=None)).body.decode()
    style = await quiet_doors.get("/docs/style.css", caller=None)

    assert all(operation.id in page for operation in OPERATIONS)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert "<script" not in page
    assert style.headers["content-type"].startswith("text/css")


async def test_the_openapi_document_is_whole(quiet_doors: Doors) -> None:
    document = (await quiet_doors.get("/openapi.json", caller=None)).json

    described = {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    }
    text = msgspec.json.encode(document).decode()
    references = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert described >= {operation.id for operation in OPERATIONS}
    assert references <= set(document["components"]["schemas"])
    assert r"\\Z" not in msgspec.json.encode(document).decode()
