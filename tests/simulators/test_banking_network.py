"""What the bank says after a capture (lower half of Diagram 4), and time that passes."""

import pytest

from tests.simulators.gateway_client import Gateway, Receiver

DAY = 86_400


async def test_a_captured_transaction_settles_after_its_delay(
    gateway: Gateway, receiver: Receiver
) -> None:
    captured = await gateway.captured()

    await gateway.control("POST", "/advance", {"seconds": DAY - 60})
    before = (await gateway.find(captured))["status"]
    await gateway.control("POST", "/advance", {"seconds": 60})
    await gateway.webhooks_arrived()

    transaction = await gateway.find(captured)
    assert before == "capturing"
    assert (transaction["status"], transaction["settled_amount"]) == ("settled", 1000)
    assert sorted(receiver.types) == [
        "transaction.authorized",
        "transaction.capturing",
        "transaction.settled",
    ]


async def test_left_alone_the_clock_brings_the_settlement(
    gateway: Gateway, receiver: Receiver
) -> None:
    captured = await gateway.captured()

    # A day of the world is 86 seconds here: most of it is skipped, the last bit is waited for.
    await gateway.control("POST", "/advance", {"seconds": DAY - 100})
    settled = await receiver.until("transaction.settled")

    assert settled["data"]["id"] == captured


async def test_a_partial_settlement_pays_a_part_and_the_rest_may_follow(gateway: Gateway) -> None:
    settled = await gateway.settled("pm_partial_settlement")
    part = await gateway.find(settled)

    await gateway.control("POST", f"/transactions/{settled}/settle-rest")

    whole = await gateway.find(settled)
    assert (part["status"], part["settled_amount"]) == ("settled", 600)
    assert whole["settled_amount"] == 1000


async def test_a_rejected_settlement_brings_no_money(gateway: Gateway, receiver: Receiver) -> None:
    rejected = await gateway.settled("pm_settlement_fails")
    await gateway.webhooks_arrived()

    transaction = await gateway.find(rejected)
    assert (transaction["status"], transaction["settled_amount"]) == ("settlement_failed", 0)
    assert "transaction.settlement_failed" in receiver.types


async def test_a_late_settlement_comes_days_later(gateway: Gateway) -> None:
    late = await gateway.captured("pm_late_settlement")

    await gateway.control("POST", "/advance", {"seconds": 4 * DAY})
    after_four_days = (await gateway.find(late))["status"]
    await gateway.control("POST", "/advance", {"seconds": 2 * DAY})

    assert after_four_days == "capturing"
    assert (await gateway.find(late))["status"] == "settled"


async def test_a_chargeback_opens_a_dispute_that_is_lost(
    gateway: Gateway, receiver: Receiver
) -> None:
    await gateway.captured("pm_chargeback")

    await gateway.control("POST", "/advance", {"seconds": 60 * DAY})
    await gateway.webhooks_arrived()

    disputes = [one.body for one in receiver.received if one.body["type"].startswith("dispute")]
    by_type = {body["type"]: body["data"] for body in disputes}
    assert by_type["dispute.opened"]["status"] == "opened"
    assert by_type["dispute.lost"]["status"] == "lost"
    assert by_type["dispute.opened"]["amount"] == 1000
    assert by_type["dispute.opened"]["id"] == by_type["dispute.lost"]["id"]


async def test_a_dispute_can_be_won(gateway: Gateway, receiver: Receiver) -> None:
    settled = await gateway.settled()

    await gateway.control("POST", f"/transactions/{settled}/dispute", {"amount": 400})
    await gateway.control("POST", f"/transactions/{settled}/dispute", {"outcome": "won"})
    await gateway.webhooks_arrived()

    assert receiver.types[-2:] == ["dispute.opened", "dispute.won"]


@pytest.mark.parametrize(
    "order", [{"outcome": "won"}, {"amount": 1001}, {"amount": 0}, {"amout": 1}]
)
async def test_a_dispute_that_cannot_be_is_refused(
    gateway: Gateway, order: dict[str, object]
) -> None:
    settled = await gateway.settled()

    reply = await gateway.request("POST", f"/_control/transactions/{settled}/dispute", order)

    assert reply.status in (409, 422)


async def test_the_bank_may_take_back_what_it_paid(gateway: Gateway, receiver: Receiver) -> None:
    settled = await gateway.settled()

    await gateway.control("POST", f"/transactions/{settled}/settlement-failure")
    await gateway.webhooks_arrived()

    transaction = await gateway.find(settled)
    assert (transaction["status"], transaction["settled_amount"]) == ("settlement_failed", 0)
    assert receiver.types[-1] == "transaction.settlement_failed"


async def test_only_what_is_named_is_settled(gateway: Gateway) -> None:
    first = await gateway.captured(reference="pay-1")
    second = await gateway.captured(reference="pay-2")

    answered = await gateway.control("POST", "/settle", {"reference": "pay-2"})

    assert answered == {"settlements": 1, "refunds": 0}
    assert (await gateway.find(first))["status"] == "capturing"
    assert (await gateway.find(second))["status"] == "settled"


async def test_funds_that_nobody_captures_are_released(
    gateway: Gateway, receiver: Receiver
) -> None:
    held = (await gateway.initiate()).body["id"]

    await gateway.control("POST", "/advance", {"seconds": 7 * DAY + 1})
    await gateway.webhooks_arrived()
    capture = await gateway.post(f"/transactions/{held}/capture", {"amount": 1000})

    assert (capture.status, capture.body["code"]) == (409, "authorization_expired")
    assert (await gateway.find(held))["void_reason"] == "authorization_expired"
    assert receiver.types[-1] == "transaction.expired"


async def test_short_holds_expire_after_a_minute(gateway: Gateway) -> None:
    held = (await gateway.initiate("pm_expires")).body["id"]

    await gateway.control("POST", "/advance", {"seconds": 61})

    assert (await gateway.find(held))["status"] == "voided"


async def test_an_authorization_can_be_made_to_expire(gateway: Gateway) -> None:
    held = (await gateway.initiate()).body["id"]

    await gateway.control("POST", f"/transactions/{held}/expire")
    again = await gateway.request("POST", f"/_control/transactions/{held}/expire", {})

    assert (await gateway.find(held))["void_reason"] == "authorization_expired"
    assert again.status == 409


async def test_a_bank_debit_is_pending_until_the_bank_answers(
    gateway: Gateway, receiver: Receiver
) -> None:
    pending = await gateway.initiate("pm_bank_debit", capture="automatic")
    early = await gateway.post(f"/transactions/{pending.body['id']}/capture", {}, key="early")

    await gateway.control("POST", "/advance", {"seconds": 3601})
    await gateway.webhooks_arrived()

    assert (pending.status, pending.body["status"]) == (201, "pending")
    assert (early.status, early.body["code"]) == (409, "not_yet_authorized")
    assert (await gateway.find(pending.body["id"]))["status"] == "capturing"
    assert receiver.types == ["transaction.authorized", "transaction.capturing"]


async def test_a_pending_transaction_can_be_voided_and_stays_so(gateway: Gateway) -> None:
    pending = (await gateway.initiate("pm_bank_debit")).body["id"]

    await gateway.post(f"/transactions/{pending}/void", {"reason": "too slow"})
    await gateway.control("POST", "/advance", {"seconds": DAY})

    assert (await gateway.find(pending))["status"] == "voided"
