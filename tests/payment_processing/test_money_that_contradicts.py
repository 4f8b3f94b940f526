"""Disputes and refunds of one payment that contradict each other: booked, and never paid out twice.

Fault F-D1. A dispute that exceeded what was left, or came beside a refund that then failed, was a
note that nobody read: the refund went out as well.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Dispute, Refund, Refunds
from caas.billing_database.webhook_inbox import UNREADABLE, Incoming, WebhookInbox
from caas.external_systems.payment_gateway import (
    DisputeStatus,
    GatewayRefund,
    RefundStatus,
)
from caas.payment_processing import SettlementNotice
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.refund_refusals import RefundMustWaitError, RefundTooLargeError
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.house import PATIENCE_SECONDS, VIN, House
from tests.payment_processing.test_refunds import ask_back, balances, dispute, give_back

OPENED, WON, LOST = DisputeStatus.OPENED, DisputeStatus.WON, DisputeStatus.LOST
START = datetime(2026, 11, 23, 10, tzinfo=UTC)


async def says(  # noqa: PLR0913  # what a dispute's word consists of
    house: House,
    payment: Payment,
    status: DisputeStatus,
    amount: int = 1299,
    *,
    name: str = "dp_1",
    minute: int | None = None,
    currency: str = "EUR",
) -> Dispute:
    """Let the gateway say something of a dispute, and return the dispute."""
    told = replace(dispute(payment, status, amount), id=name, currency=currency)
    at = None if minute is None else START + timedelta(minutes=minute)
    await Disputes(house.platform.books).gateway_says(told, at)
    return next(it for it in await Disputes(house.platform.books).of(payment) if it.id == name)


async def refunds_of(house: House, payment: Payment) -> list[Refund]:
    """A payment's refunds."""
    return await Refunds(house.database).of_payment(payment.id)


async def until(house: House, condition: Callable[[], object]) -> None:
    """Let work be done, and the gateway's bank answer, until the condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():  # type: ignore[misc]
            await house.gateway_does("settle")
            await house.platform.open_work.run_due()
            await asyncio.sleep(0.005)


async def until_ended(house: House, payment: Payment) -> list[Refund]:
    """Let every refund of a payment end."""

    async def ended() -> bool:
        return all(it.state in ("succeeded", "failed") for it in await refunds_of(house, payment))

    await until(house, ended)
    return await refunds_of(house, payment)


async def test_a_dispute_above_what_is_left_counts_as_far_as_it_fits(house: House) -> None:
    payment = await house.settled()
    await give_back(house, payment, 500)

    opened = await says(house, payment, OPENED)
    with pytest.raises(RefundMustWaitError):
        await ask_back(house, payment, 799, "another")
    lost = await says(house, payment, LOST)

    with pytest.raises(RefundTooLargeError):
        await ask_back(house, payment, 1, "another")
    assert (opened.amount, opened.claimed_amount, opened.excess) == (799, 1299, 500)
    assert (lost.state, lost.amount, lost.excess) == ("lost", 799, 500)
    assert await balances(house) == {
        "service_revenue": -661, "output_vat": -138, "settled_funds": -500,
        "risk_loss:chargeback": 799, "risk_loss:dispute_excess": 500,
    }  # fmt: skip


async def test_a_dispute_of_more_than_was_paid_is_booked_with_its_excess(house: House) -> None:
    """The exchange rate has changed between the purchase and the dispute."""
    payment = await house.settled()

    await says(house, payment, OPENED, 1350)
    with pytest.raises(RefundMustWaitError, match="a dispute is open"):
        await ask_back(house, payment, 1)
    won = await says(house, payment, WON, 1350)

    assert (won.state, won.claimed_amount) == ("won", 1350)
    assert await balances(house) == {
        "settled_funds": 1299,
        "service_revenue": -1074,
        "output_vat": -225,
    }
    assert (await give_back(house, payment, 1299)).state == "succeeded"


async def test_two_disputes_count_together_no_more_than_was_paid(house: House) -> None:
    payment = await house.settled()

    await says(house, payment, OPENED, 800)
    second = await says(house, payment, OPENED, 800, name="dp_2")
    with pytest.raises(RefundMustWaitError):
        await ask_back(house, payment, 499)
    await says(house, payment, WON, 800)

    [first, after] = await Disputes(house.platform.books).of(payment)
    assert (second.amount, second.excess) == (499, 301)
    assert (first.state, after.amount, after.excess) == ("won", 800, 0)


async def test_a_dispute_beside_a_refund_that_fails_takes_its_place(house: House) -> None:
    payment = await house.settled("pm_refund_fails")
    refund = await ask_back(house, payment, 800)

    beside = await says(house, payment, OPENED)
    [failed] = await until_ended(house, payment)

    [after] = await Disputes(house.platform.books).of(payment)
    assert (refund.state, failed.state) == ("sent", "failed")
    assert (beside.amount, beside.excess, after.amount, after.excess) == (499, 800, 1299, 0)
    cases = await house.platform.books.cases.listed(subject=payment.id)
    assert {case.kind for case in cases} == {"refund_failed"}


async def test_a_refund_that_waits_is_not_sent_while_a_dispute_is_open(house: House) -> None:
    payment = await house.buys()
    await house.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await ask_back(house, payment, 1299)
    await says(house, payment, OPENED)

    await house.gateway_does("settle")
    await house.until(payment.id, lambda p: p.state is PaymentState.SETTLED)
    await house.rest()
    [meanwhile] = await refunds_of(house, payment)
    await says(house, payment, WON)
    [after] = await until_ended(house, payment)

    assert (meanwhile.state, after.state) == ("waiting", "succeeded")


async def test_of_a_refund_that_a_dispute_overtook_the_rest_is_paid(house: House) -> None:
    payment = await house.buys()
    await house.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await ask_back(house, payment, 1299)
    await says(house, payment, OPENED, 800)
    await house.gateway_does("settle")
    await house.until(payment.id, lambda p: p.state is PaymentState.SETTLED)

    await says(house, payment, LOST, 800)
    await house.until(payment.id, lambda p: p.refunded_amount > 0)

    refunds = await refunds_of(house, payment)
    assert [(it.state, it.amount) for it in refunds] == [("failed", 1299), ("succeeded", 499)]


@pytest.mark.parametrize(("verdict", "paid"), [(WON, 1200), (LOST, 499)])
async def test_a_promised_refund_goes_on_when_the_dispute_ends(
    house: House, verdict: DisputeStatus, paid: int
) -> None:
    payment = await house.settled()
    await says(house, payment, OPENED, 800)

    promised = await house.platform.payment_processing.promise_refund(
        payment.id, amount=1200, reason="desistimiento", key="one", requested_by="order-management"
    )
    await house.rest()
    before = await refunds_of(house, payment)
    await says(house, payment, verdict, 800)
    done = await house.until(payment.id, lambda p: p.refunded_amount > 0)

    assert (promised, before, done.refunded_amount) == (None, [], paid)


async def test_a_withdrawn_service_ends_at_once_and_is_refunded_after_the_dispute(
    house: House,
) -> None:
    payment = await house.settled()
    await says(house, payment, OPENED)

    await house.platform.payment_processing.withdraw_from_service(
        payment.subject, requested_by="customer"
    )
    term = await house.platform.books.entitlements.of_order(payment.subject)
    before = await refunds_of(house, payment)
    await says(house, payment, WON)
    done = await house.until(payment.id, lambda p: p.refunded_amount > 0)

    assert term is not None
    assert (term.state, before, done.refunded_amount) == ("ended", [], 1299)


async def test_a_promise_is_nothing_more_once_a_dispute_took_it_all(house: House) -> None:
    payment = await house.settled()
    await says(house, payment, OPENED)
    await house.platform.payment_processing.promise_refund(
        payment.id, amount=1299, reason="desistimiento", key="one", requested_by="order-management"
    )

    await says(house, payment, LOST)

    async def kept() -> bool:
        kinds = "select 1 from open_work where kind = 'promised_refund'"
        return not await house.database.fetch(kinds)

    await until(house, kept)
    assert await refunds_of(house, payment) == []


async def test_what_was_never_sent_is_called_off_once_a_dispute_took_the_money(
    house: House,
) -> None:
    """The refund's request was lost on its way; sent again later, it would have been paid twice."""
    payment = await house.settled()
    await house.gateway_does(
        "faults", match={"operation": "refund"}, action={"drop_connection_before": True}
    )
    refund = await ask_back(house, payment, 1299)
    await says(house, payment, LOST)
    house.gateway.faults.delete()

    [after] = await until_ended(house, payment)

    [taken] = await Disputes(house.platform.books).of(payment)
    assert (refund.state, refund.outcome, after.state) == ("sent", "unknown", "failed")
    assert (taken.amount, taken.excess) == (1299, 0)
    booking = house.gateway.store.bookings[payment.gateway_transaction_id or ""]
    assert booking.refund_ids == []


TURNS = [
    ([(LOST, 2), (OPENED, 1)], "lost"),
    ([(WON, 2), (OPENED, 1)], "won"),
    ([(OPENED, 1), (LOST, 2), (WON, 3)], "reversed"),
    ([(OPENED, 1), (WON, 3), (LOST, 2)], "won"),
    ([(OPENED, 1), (WON, 2), (LOST, 3)], "lost"),
    ([(LOST, 3), (WON, 2), (OPENED, 1)], "lost"),
    ([(OPENED, 1), (LOST, 2), (WON, 3), (LOST, 4), (WON, 5)], "reversed"),
    ([(OPENED, 1), (WON, 2), (OPENED, 3)], "opened"),
]


@pytest.mark.parametrize(("words", "state"), TURNS)
async def test_the_last_word_that_was_said_decides_a_dispute(
    house: House, words: list[tuple[DisputeStatus, int]], state: str
) -> None:
    payment = await house.settled()

    for status, minute in words:
        for _ in range(2):
            await says(house, payment, status, minute=minute)

    [told] = await Disputes(house.platform.books).of(payment)
    now = await house.platform.books.payments.get(payment.id)
    loss = {"lost": {"risk_loss:chargeback": 1299}, "opened": {"disputed_funds": 1299}}
    kept = {"settled_funds": 1299} if state in ("won", "reversed") else {}
    assert told.state == state
    assert now.disputed_amount == (1299 if state == "lost" else 0)
    assert (
        await balances(house)
        == {"service_revenue": -1074, "output_vat": -225} | loss.get(state, {}) | kept
    )


async def test_what_was_won_and_refunded_and_lost_after_all_is_excess(house: House) -> None:
    payment = await house.settled()
    await says(house, payment, WON, minute=1)
    await give_back(house, payment, 1299)

    lost = await says(house, payment, LOST, minute=2)

    assert (lost.state, lost.amount, lost.excess) == ("lost", 0, 1299)


async def test_a_dispute_that_is_told_before_the_capture_counts_after_it(house: House) -> None:
    car = house.fleet.add(VIN, Manner(Behaviour.ASLEEP))
    payment = await house.buys()
    authorised = await house.until(payment.id, lambda p: p.state is PaymentState.AUTHORIZED)
    early = await says(house, authorised, OPENED)

    house.fleet.wake(car)
    await house.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)

    async def counts() -> bool:
        [told] = await Disputes(house.platform.books).of(payment)
        return told.amount == 1299 and told.excess == 0

    await until(house, counts)
    assert (early.amount, early.excess) == (0, 1299)


async def test_a_dispute_in_another_currency_holds_back_every_refund(house: House) -> None:
    payment = await house.settled()

    told = await says(house, payment, LOST, 1350, currency="USD")

    assert (told.amount, told.claimed_currency, told.excess) == (1299, "USD", 0)
    [case] = await house.platform.books.cases.listed(subject=payment.id)
    assert case.kind == "dispute_contradiction"


async def test_another_amount_of_a_known_dispute_is_a_case_that_holds_refunds(house: House) -> None:
    payment = await house.settled()
    await says(house, payment, WON, 500)

    await says(house, payment, LOST, 900)

    with pytest.raises(RefundMustWaitError, match="dispute_contradiction"):
        await ask_back(house, payment, 1)


async def test_a_webhook_that_was_set_aside_holds_back_the_payment_it_names(house: House) -> None:
    payment, other = await house.settled(), await house.settled()
    body = f'{{"data":{{"transaction_id":"{payment.gateway_transaction_id}","amount":1e19}}}}'
    incoming = Incoming(
        gateway="gateway", event_id="evt_1", body_hash=b"1" * 32, body=body, work_kind="none"
    )
    await WebhookInbox(house.database).quarantine(incoming, reason="its amount is no amount")

    with pytest.raises(RefundMustWaitError, match="webhook_unreadable"):
        await ask_back(house, payment, 100)
    await ask_back(house, other, 100)

    (case,) = [it for it in await house.platform.books.cases.listed() if it.kind == UNREADABLE]
    async with house.database.transaction() as connection:
        await house.platform.books.cases.close(
            UNREADABLE, case.subject, resolution="It was noise.", owner="Ana", within=connection
        )
    await give_back(house, payment, 100)


async def test_a_refund_that_nobody_here_asked_for_holds_back_others(house: House) -> None:
    payment = await house.settled()
    stranger = GatewayRefund(
        id="re_stranger",
        transaction_id=payment.gateway_transaction_id or "",
        amount=400,
        status=RefundStatus.SUCCEEDED,
    )

    await house.platform.payment_processing._refunds.gateway_says(stranger)

    with pytest.raises(RefundMustWaitError, match="refund_contradiction"):
        await ask_back(house, payment, 1299)


async def test_a_settlement_taken_back_after_a_refund_is_a_loss_of_the_refund(house: House) -> None:
    payment = await house.settled()
    await give_back(house, payment, 1299)
    taken_back = SettlementNotice(
        settlement_id="late", settled=False, settled_amount=0, currency="EUR"
    )

    for _ in range(2):
        await house.platform.payment_processing.record_settlement(payment.id, taken_back)

    assert await balances(house) == {
        "risk_loss:reversed_after_refund": 1299, "settled_funds": -1299,
    }  # fmt: skip


@pytest.fixture
async def owner(house: House) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the schema."""
    opened = await asyncpg.connect(house.database.dsn)
    yield opened
    await opened.close()


async def test_postgresql_itself_sends_no_refund_meanwhile(
    house: House, owner: asyncpg.Connection
) -> None:
    payment = await house.buys()
    await house.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    refund = await ask_back(house, payment, 100)
    await says(house, payment, OPENED, 1000)

    for session in ("origin", "replica"):
        await owner.execute(f"set session_replication_role = {session}")
        with pytest.raises(asyncpg.CheckViolationError, match="a dispute is open"):
            await owner.execute("update caas.refunds set state = 'sent' where id = $1", refund.id)
