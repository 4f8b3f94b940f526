"""Refunds at the simulated gateway: never more than came in."""

import pytest

from caas_simulators.gateway_store import Terms
from caas_simulators.gateway_world import GatewaySettings
from tests.simulators.gateway_client import Gateway, Receiver, gateway_running


async def refund(
    gateway: Gateway, transaction_id: str, amount: int, **reported: str
) -> tuple[int, str]:
    """Ask for a refund; return the status and what became of it, or the refusal's code."""
    reply = await gateway.post(
        f"/transactions/{transaction_id}/refund",
        {"amount": amount, "reason": "desistimiento"},
        reported.get("key"),
    )
    return reply.status, str(reply.body.get("code", reply.body.get("status")))


async def test_a_refund_is_pending_until_it_succeeds(gateway: Gateway, receiver: Receiver) -> None:
    settled = await gateway.settled()

    accepted = await refund(gateway, settled, 1000)
    await gateway.control("POST", "/advance", {"seconds": 3600})
    await gateway.webhooks_arrived()

    transaction = await gateway.find(settled)
    assert accepted == (201, "pending")
    assert (transaction["status"], transaction["refunded_amount"]) == ("refunded", 1000)
    assert receiver.types[-1] == "refund.succeeded"
    assert receiver.received[-1].body["data"]["reason"] == "desistimiento"


async def test_the_bank_can_be_made_to_answer_for_a_refund(gateway: Gateway) -> None:
    settled = await gateway.settled()
    await refund(gateway, settled, 1000)

    answered = await gateway.control("POST", "/settle", {})

    assert answered == {"settlements": 0, "refunds": 1}
    assert (await gateway.find(settled))["status"] == "refunded"


async def test_a_gateway_may_refund_at_once() -> None:
    async with gateway_running(GatewaySettings(terms=Terms(refund_seconds=0))) as gateway:
        settled = await gateway.settled()

        assert await refund(gateway, settled, 400) == (201, "succeeded")
        transaction = await gateway.find(settled)

    assert (transaction["status"], transaction["refunded_amount"]) == ("settled", 400)


async def test_refunds_never_exceed_what_came_in(gateway: Gateway) -> None:
    settled = await gateway.settled()

    first = await refund(gateway, settled, 600)
    too_much = await refund(gateway, settled, 401)
    rest = await refund(gateway, settled, 400)
    nothing_left = await refund(gateway, settled, 1)

    assert (first[0], rest[0]) == (201, 201)
    assert too_much == (422, "invalid_amount")
    assert nothing_left == (409, "nothing_to_refund")


async def test_of_a_partial_settlement_only_the_part_can_be_refunded(gateway: Gateway) -> None:
    settled = await gateway.settled("pm_partial_settlement")

    assert await refund(gateway, settled, 601) == (422, "invalid_amount")
    assert (await refund(gateway, settled, 600))[0] == 201


async def test_what_a_dispute_has_taken_cannot_be_refunded_too(gateway: Gateway) -> None:
    settled = await gateway.settled()
    await gateway.control("POST", f"/transactions/{settled}/dispute", {"amount": 700})

    disputed = await refund(gateway, settled, 301)
    await gateway.control("POST", f"/transactions/{settled}/dispute", {"outcome": "won"})
    undisputed = await refund(gateway, settled, 1000)

    assert disputed == (422, "invalid_amount")
    assert undisputed[0] == 201


@pytest.mark.parametrize("method", ["pm_declined", "pm_ok", "pm_settlement_fails"])
async def test_money_that_never_came_is_not_given_back(gateway: Gateway, method: str) -> None:
    reply = await gateway.initiate(method)
    transaction_id = reply.body["id"]
    if method == "pm_settlement_fails":
        await gateway.post(f"/transactions/{transaction_id}/capture", {})
        await gateway.control("POST", "/settle", {})

    assert await refund(gateway, transaction_id, 1) == (409, "nothing_to_refund")


async def test_a_refund_before_the_settlement_waits_for_the_bank(
    gateway: Gateway, receiver: Receiver
) -> None:
    captured = await gateway.captured()

    accepted = await refund(gateway, captured, 1000)
    await gateway.control("POST", "/advance", {"seconds": 3600})
    waiting = (await gateway.get(f"/transactions/{captured}/refunds")).body["data"]
    await gateway.control("POST", "/settle", {})
    await receiver.until("refund.succeeded")

    assert accepted == (201, "pending")
    assert [one["status"] for one in waiting] == ["pending"]
    assert (await gateway.find(captured))["status"] == "refunded"


async def test_a_refund_before_a_settlement_that_fails_fails_with_it(
    gateway: Gateway, receiver: Receiver
) -> None:
    captured = await gateway.captured("pm_settlement_fails")

    await refund(gateway, captured, 1000)
    await gateway.control("POST", "/advance", {"seconds": 3600})
    await gateway.control("POST", "/settle", {})
    await receiver.until("refund.failed")

    assert (await gateway.find(captured))["refunded_amount"] == 0


async def test_a_refund_can_fail_and_be_asked_for_again(
    gateway: Gateway, receiver: Receiver
) -> None:
    settled = await gateway.settled("pm_refund_fails")

    await refund(gateway, settled, 1000)
    await gateway.control("POST", "/advance", {"seconds": 3600})
    await receiver.until("refund.failed")

    assert (await gateway.find(settled))["status"] == "settled"
    assert (await refund(gateway, settled, 1000))[0] == 201


async def test_the_same_key_refunds_once(gateway: Gateway) -> None:
    settled = await gateway.settled()

    first = await refund(gateway, settled, 300, key="k")
    second = await refund(gateway, settled, 300, key="k")

    found = (await gateway.get(f"/transactions/{settled}/refunds")).body["data"]
    assert first == second
    assert len(found) == 1


async def test_a_refund_is_found_by_its_id(gateway: Gateway) -> None:
    settled = await gateway.settled()
    reply = await gateway.post(f"/transactions/{settled}/refund", {"amount": 5})

    found = await gateway.get(f"/refunds/{reply.body['id']}")
    unknown = await gateway.get("/refunds/ref_none")

    assert found.body == reply.body
    assert found.body.keys() >= {"id", "transaction_id", "amount", "status"}
    assert unknown.status == 404
