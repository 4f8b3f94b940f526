"""Scripted faults of the simulated gateway: each happens exactly as it is described."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from caas_simulators.faults import ACTION_FIELDS, MATCH_FIELDS, Action, Match
from caas_simulators.gateway_world import GatewaySettings
from tests.simulators.gateway_client import Gateway, gateway_running

INITIATE = {"operation": "initiate"}


async def number_of_transactions(gateway: Gateway) -> int:
    """Return how many transactions the gateway's books have."""
    return len((await gateway.ledger())["transactions"])


def test_every_field_of_a_fault_has_its_sentence() -> None:
    assert set(MATCH_FIELDS) == set(Match.__struct_fields__)
    assert set(ACTION_FIELDS) == set(Action.__struct_fields__)


async def test_the_control_plane_lists_what_it_can_do(gateway: Gateway) -> None:
    listing = await gateway.control("GET", "/")

    assert listing["fault"] == {"match": MATCH_FIELDS, "action": ACTION_FIELDS}
    assert "POST /_control/settle" in listing["paths"]
    assert "POST /_control/faults" in listing["paths"]


@pytest.mark.parametrize(
    "fault",
    [
        {"match": INITIATE, "action": {"latency": 5}},
        {"match": {"operation": "initate"}, "action": {"status": 500}},
        {"match": {"times": "often"}, "action": {"status": 500}},
        {"action": {"status": 500}, "for": "ever"},
    ],
)
async def test_a_misspelt_fault_is_refused(gateway: Gateway, fault: dict[str, Any]) -> None:
    reply = await gateway.request("POST", "/_control/faults", fault)

    assert reply.status == 422
    assert (await gateway.control("GET", "/faults"))["data"] == []


async def test_a_fault_acts_as_often_as_it_was_told(gateway: Gateway) -> None:
    await gateway.script(INITIATE | {"times": 2}, status=500)

    statuses = [(await gateway.initiate()).status for _ in range(3)]

    assert statuses == [500, 500, 201]
    (fault,) = (await gateway.control("GET", "/faults"))["data"]
    assert fault["acted"] == 2


async def test_deleted_faults_act_no_more(gateway: Gateway) -> None:
    await gateway.script(INITIATE, status=500)

    deleted = await gateway.control("DELETE", "/faults")

    assert deleted == {"deleted": 1}
    assert (await gateway.initiate()).status == 201


async def test_a_fault_is_only_for_what_it_matches(gateway: Gateway) -> None:
    await gateway.script({"operation": "capture", "reference": "pay-1"}, status=500)
    await gateway.script({"payment_method": "pm_3ds"}, status=502)

    first = await gateway.initiate(reference="pay-1")
    other = await gateway.initiate(reference="pay-2")
    third = await gateway.initiate("pm_3ds", reference="pay-3")
    capture_first = await gateway.post(f"/transactions/{first.body['id']}/capture", {})
    capture_other = await gateway.post(f"/transactions/{other.body['id']}/capture", {})

    assert (first.status, other.status, third.status) == (201, 201, 502)
    assert (capture_first.status, capture_other.status) == (500, 200)


async def test_any_is_every_call(gateway: Gateway) -> None:
    await gateway.script({"operation": "any"}, status=503)

    replies = [
        await gateway.initiate(),
        await gateway.get("/transactions/txn_1"),
        await gateway.get("/transactions?reference=r"),
        await gateway.get("/settlements"),
        await gateway.post("/transactions/txn_1/refund", {"amount": 1}),
    ]

    assert {reply.status for reply in replies} == {503}


async def test_the_same_seed_draws_the_same_faults() -> None:
    async def statuses() -> list[int]:
        async with gateway_running(GatewaySettings(seed=7)) as gateway:
            await gateway.script(INITIATE | {"probability": 0.5}, status=500)
            return [(await gateway.initiate()).status for _ in range(40)]

    first, second = await statuses(), await statuses()

    assert first == second
    assert set(first) == {500, 201}


async def test_latency_delays_the_effect(gateway: Gateway) -> None:
    await gateway.script(INITIATE, latency_ms=400)
    started = time.monotonic()

    call = asyncio.create_task(gateway.initiate())
    before = await gateway.called("initiate")
    reply = await call

    assert (before["transactions"], reply.status) == ([], 201)
    assert time.monotonic() - started >= 0.4


async def test_latency_after_delays_the_answer_only(gateway: Gateway) -> None:
    await gateway.script(INITIATE, latency_after_ms=400)
    started = time.monotonic()

    call = asyncio.create_task(gateway.initiate())
    await gateway.called("initiate")
    before = await number_of_transactions(gateway)

    assert before == 1
    assert (await call).status == 201
    assert time.monotonic() - started >= 0.4


@pytest.mark.parametrize(("fault", "applied"), [("hang_after_apply", 1), ("hang_before_apply", 0)])
async def test_hanging_never_answers(gateway: Gateway, fault: str, applied: int) -> None:
    await gateway.script(INITIATE | {"times": 1}, **{fault: 60})

    call = asyncio.create_task(gateway.initiate(key="k"))
    await gateway.called("initiate")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, 0.1)

    assert await number_of_transactions(gateway) == applied
    assert (await gateway.initiate(key="k")).status == 201
    assert await number_of_transactions(gateway) == 1


@pytest.mark.parametrize("fault", ["hang_after_apply", "hang_before_apply"])
async def test_hanging_ends_by_hanging_up(gateway: Gateway, fault: str) -> None:
    await gateway.script(INITIATE, **{fault: 0.05})

    with pytest.raises(aiohttp.ClientError):
        await gateway.initiate()


@pytest.mark.parametrize(
    ("fault", "applied"), [("drop_connection_after", 1), ("drop_connection_before", 0)]
)
async def test_hanging_up_before_or_after_the_effect(
    gateway: Gateway, fault: str, applied: int
) -> None:
    await gateway.script(INITIATE | {"times": 1}, **{fault: True})

    with pytest.raises(aiohttp.ClientError):
        await gateway.initiate(key="k")

    assert await number_of_transactions(gateway) == applied
    replay = await gateway.initiate(key="k")
    assert ("idempotent-replayed" in replay.headers) == bool(applied)


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
@pytest.mark.parametrize("applied", [True, False])
async def test_an_error_before_or_after_the_effect(
    gateway: Gateway, status: int, *, applied: bool
) -> None:
    await gateway.script(INITIATE, status=status, apply_first=applied, retry_after=7)

    reply = await gateway.initiate()

    assert reply.status == status
    assert reply.headers["retry-after"] == "7"
    assert ("html" in reply.headers["content-type"]) == (status == 502)
    assert await number_of_transactions(gateway) == int(applied)


async def test_any_body_can_be_answered(gateway: Gateway) -> None:
    await gateway.script(INITIATE, status=200, body='{"error": "not really')

    reply_text = None
    async with gateway.session.post(
        f"{gateway.url}/transactions", json={}, headers={"idempotency-key": "k"}
    ) as answer:
        reply_text = await answer.text()

    assert reply_text == '{"error": "not really'


async def test_a_key_can_be_poisoned(gateway: Gateway) -> None:
    await gateway.script(INITIATE | {"times": 1}, store_500_for_key=True)

    first = await gateway.initiate(key="k")
    again = await gateway.initiate(key="k")
    other = await gateway.initiate(key="k2")

    assert (first.status, again.status, other.status) == (500, 500, 201)
    assert await number_of_transactions(gateway) == 1


async def test_an_answer_can_be_cut_in_half(gateway: Gateway) -> None:
    await gateway.script(INITIATE, truncated_body=True)

    with pytest.raises(aiohttp.ClientPayloadError):
        await gateway.initiate()

    assert await number_of_transactions(gateway) == 1


@pytest.mark.parametrize(
    ("fault", "field", "value"),
    [
        ("wrong_transaction", "id", "txn_of_somebody_else"),
        ("wrong_amount", "amount", 1001),
        ("wrong_currency", "currency", "XXX"),
    ],
)
async def test_an_answer_can_tell_something_wrong(
    gateway: Gateway, fault: str, field: str, value: object
) -> None:
    await gateway.script(INITIATE | {"times": 1}, **{fault: True})

    wrong = await gateway.initiate(key="k")
    right = await gateway.initiate(key="k")

    assert wrong.body[field] == value
    assert right.body[field] != value


async def test_success_can_be_a_page_of_html(gateway: Gateway) -> None:
    await gateway.script(INITIATE, html_200=True)

    reply = await gateway.initiate()

    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert await number_of_transactions(gateway) == 1


@pytest.mark.parametrize("status", [404, 501])
async def test_a_gateway_may_have_no_lookup_by_reference(gateway: Gateway, status: int) -> None:
    transaction_id = (await gateway.initiate()).body["id"]
    await gateway.script({"operation": "find"}, no_lookup=status)

    by_reference = await gateway.get("/transactions?reference=pay-1")

    assert (by_reference.status, by_reference.body["code"]) == (status, "no_lookup")
    assert (await gateway.find(transaction_id))["status"] == "authorized"


async def test_a_key_can_be_forgotten_early(gateway: Gateway) -> None:
    await gateway.script(INITIATE, forget_keys_after_seconds=30)

    await gateway.initiate(key="k")
    remembered = await gateway.initiate(key="k")
    await gateway.control("POST", "/advance", {"seconds": 31})
    forgotten = await gateway.initiate(key="k")

    assert "idempotent-replayed" in remembered.headers
    assert "idempotent-replayed" not in forgotten.headers
    assert await number_of_transactions(gateway) == 2


async def test_keys_are_forgotten_after_their_lifetime_or_on_demand(gateway: Gateway) -> None:
    await gateway.initiate(key="k")
    await gateway.control("POST", "/advance", {"seconds": 86_401})
    await gateway.initiate(key="k")

    forgotten = await gateway.control("POST", "/forget-keys")
    await gateway.initiate(key="k")

    assert forgotten == {"forgotten": 1}
    assert await number_of_transactions(gateway) == 3


async def test_any_decline_code_can_be_given(gateway: Gateway) -> None:
    await gateway.script(INITIATE, decline_code="do_not_honour")

    reply = await gateway.initiate()

    assert (reply.status, reply.body["decline_code"]) == (402, "do_not_honour")


async def test_a_refund_can_be_made_to_fail(gateway: Gateway) -> None:
    settled = await gateway.settled()
    await gateway.script({"operation": "refund"}, refund_fails=True)

    accepted = await gateway.post(f"/transactions/{settled}/refund", {"amount": 10})
    await gateway.control("POST", "/settle", {})

    refund = (await gateway.get(f"/refunds/{accepted.body['id']}")).body
    assert (accepted.body["status"], refund["status"]) == ("pending", "failed")


async def test_the_ledger_counts_what_was_done_and_what_was_asked(gateway: Gateway) -> None:
    await gateway.script({"operation": "capture", "times": 1}, status=500, apply_first=True)
    held = (await gateway.initiate(key="i")).body["id"]
    for _ in range(3):
        await gateway.post(f"/transactions/{held}/capture", {"amount": 700}, key="c")

    ledger = await gateway.ledger()

    (row,) = ledger["transactions"]
    assert (row["authorized"], row["captured"], row["settled"], row["refunded"]) == (
        1000,
        700,
        0,
        0,
    )
    assert row["charges_executed"] == ledger["charges_executed"] == 1
    calls = {(call["operation"], call["key"]): call["count"] for call in ledger["calls"]}
    assert calls == {("initiate", "i"): 1, ("capture", "c"): 3}


async def test_two_charges_for_one_reference_show_in_the_ledger(gateway: Gateway) -> None:
    await gateway.captured(reference="pay-1")
    await gateway.captured(reference="pay-1")
    await gateway.captured(reference="pay-2")

    ledger = await gateway.control("GET", "/ledger?reference=pay-1")

    assert ledger["charges_executed"] == 2


async def test_without_control_there_is_no_control_plane() -> None:
    async with gateway_running(GatewaySettings(control=False)) as gateway:
        replies = [
            await gateway.get("/_control/"),
            await gateway.get("/_control/ledger"),
            await gateway.request("POST", "/_control/faults", {"action": {"status": 500}}),
        ]
        initiated = await gateway.initiate()

    assert {reply.status for reply in replies} == {404}
    assert initiated.status == 201


async def test_the_control_plane_knows_no_other_path(gateway: Gateway) -> None:
    for method, path in (
        ("GET", "/nonsense"),
        ("POST", "/transactions/txn_1/nonsense"),
        ("POST", "/transactions/txn_1/expire"),
        ("DELETE", "/ledger"),
    ):
        assert (await gateway.request(method, f"/_control{path}", {})).status == 404
