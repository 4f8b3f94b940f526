"""The calls of the seed's external payment gateway API, as the simulator answers them."""

from typing import Any

import pytest

from tests.simulators.gateway_client import Gateway


async def test_initiating_holds_the_funds_and_charges_nothing(gateway: Gateway) -> None:
    reply = await gateway.initiate()

    assert reply.status == 201
    assert reply.body["status"] == "authorized"
    assert reply.body["captured_amount"] == 0
    assert reply.body["capture_before"] > reply.body["created_at"]


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("pm_declined", "card_declined"),
        ("pm_insufficient_funds", "insufficient_funds"),
        ("pm_invalid", "invalid_card_data"),
        ("pm_unheard_of", "invalid_card_data"),
        ("pm_unrecognised", "code_4711"),
        ("pm_not_processed", "issuer_unavailable"),
    ],
)
async def test_a_decline_is_402_with_its_code(gateway: Gateway, token: str, code: str) -> None:
    reply = await gateway.initiate(token)

    assert reply.status == 402
    assert (reply.body["status"], reply.body["decline_code"]) == ("failed", code)


async def test_automatic_capture_charges_at_once(gateway: Gateway) -> None:
    reply = await gateway.initiate(capture="automatic")

    assert (reply.body["status"], reply.body["captured_amount"]) == ("capturing", 1000)


async def test_a_capture_charges_what_was_held_once(gateway: Gateway) -> None:
    held = (await gateway.initiate()).body["id"]

    first = await gateway.post(f"/transactions/{held}/capture", {"amount": 900})
    second = await gateway.post(f"/transactions/{held}/capture", {"amount": 900})

    assert (first.status, first.body["captured_amount"]) == (200, 900)
    assert (second.status, second.body["code"]) == (409, "already_captured")


async def test_no_more_is_captured_than_is_held(gateway: Gateway) -> None:
    held = (await gateway.initiate()).body["id"]

    reply = await gateway.post(f"/transactions/{held}/capture", {"amount": 1001})

    assert (reply.status, reply.body["code"]) == (422, "invalid_amount")
    assert (await gateway.find(held))["status"] == "authorized"


async def test_voiding_twice_releases_once_and_stays_voided(gateway: Gateway) -> None:
    held = (await gateway.initiate()).body["id"]

    first = await gateway.post(f"/transactions/{held}/void", {"reason": "activation failed"})
    second = await gateway.post(f"/transactions/{held}/void", {"reason": "again"})

    assert (first.status, first.body["status"]) == (200, "voided")
    assert (second.status, second.body["void_reason"]) == (200, "activation failed")


async def test_what_is_captured_cannot_be_voided_nor_the_reverse(gateway: Gateway) -> None:
    captured = await gateway.captured()
    voided = (await gateway.initiate()).body["id"]
    await gateway.post(f"/transactions/{voided}/void", {"reason": "left"})

    void = await gateway.post(f"/transactions/{captured}/void", {"reason": "late"})
    capture = await gateway.post(f"/transactions/{voided}/capture", {})

    assert (void.status, void.body["code"]) == (409, "already_captured")
    assert (capture.status, capture.body["code"]) == (409, "already_voided")


async def test_the_same_key_is_answered_word_for_word(gateway: Gateway) -> None:
    first = await gateway.initiate(key="k")
    again = await gateway.initiate(key="k")

    assert (again.status, again.text) == (first.status, first.text)
    assert again.headers["idempotent-replayed"] == "true"
    assert len((await gateway.ledger())["transactions"]) == 1


async def test_a_decline_is_replayed_as_a_decline(gateway: Gateway) -> None:
    first = await gateway.initiate("pm_declined", key="k")
    again = await gateway.initiate("pm_declined", key="k")

    assert (again.status, again.text) == (402, first.text)


@pytest.mark.parametrize(
    "reported", [{"amount": 1001}, {"currency": "USD"}, {"reference": "other"}]
)
async def test_the_same_key_for_another_request_is_refused(
    gateway: Gateway, reported: dict[str, Any]
) -> None:
    await gateway.initiate(key="k")

    reply = await gateway.initiate(key="k", **reported)

    assert (reply.status, reply.body["code"]) == (422, "idempotency_key_reused")


async def test_a_post_without_a_key_is_refused(gateway: Gateway) -> None:
    reply = await gateway.request("POST", "/transactions", {})

    assert (reply.status, reply.body["code"]) == (400, "idempotency_key_missing")


async def test_a_stranger_is_refused(gateway: Gateway) -> None:
    reply = await gateway.request("GET", "/settlements", authorization="Bearer sk_other")

    assert reply.status == 401


async def test_a_transaction_is_found_by_id_and_by_reference(gateway: Gateway) -> None:
    transaction = (await gateway.initiate(reference="pay-7")).body

    by_reference = await gateway.get("/transactions?reference=pay-7")

    assert by_reference.body == {"data": [transaction]}
    assert await gateway.find(transaction["id"]) == transaction


async def test_an_unknown_transaction_is_404_and_an_unknown_reference_an_empty_list(
    gateway: Gateway,
) -> None:
    by_id = await gateway.get("/transactions/txn_none")
    by_reference = await gateway.get("/transactions?reference=none")

    assert (by_id.status, by_id.body["code"]) == (404, "unknown_transaction")
    assert (by_reference.status, by_reference.body) == (200, {"data": []})


@pytest.mark.parametrize(
    "reported",
    [
        {"amount": 0},
        {"amount": -5},
        {"amount": 10.5},
        {"currency": "euro"},
        {"reference": ""},
        {"capture": "sometimes"},
        {"return_url": "javascript:alert(1)"},
        {"return_url": "https://good.example@evil.example/"},
    ],
)
async def test_a_request_nobody_can_do_is_422(gateway: Gateway, reported: dict[str, Any]) -> None:
    reply = await gateway.initiate(**reported)

    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"


async def test_a_body_that_is_not_json_is_400(gateway: Gateway) -> None:
    async with gateway.session.post(
        f"{gateway.url}/transactions", data=b"{", headers={"idempotency-key": "k"}
    ) as answer:
        assert answer.status == 400
