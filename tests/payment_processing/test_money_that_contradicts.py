"""Disputes and refunds of one payment that contradict each other: booked, and never paid out twice.

Fault F-D1. A dispute that exceeded what was left, or came beside a refund that then failed, was a
note that nobody read: the refund went out as well.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from msgspec.structs import replace

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
from caas.payment_processing.refund_requests import RefundMustWaitError, RefundTooLargeError
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.installation import PATIENCE_SECONDS, VIN, Installation
from tests.payment_processing.test_refunds import ask_back, balances, dispute, refund_order

OPENED, WON, LOST = DisputeStatus.OPENED, DisputeStatus.WON, DisputeStatus.LOST
START = datetime(2026, 11, 23, 10, tzinfo=UTC)


async def reports(  # noqa: PLR0913  # what a dispute's word consists of
    installation: Installation,
    payment: Payment,
    status: DisputeStatus,
    amount: int = 1299,
    *,
    name: str = "dp_1",
    minute: int | None = None,
    currency: str = "EUR",
) -> Dispute:
    """Let the gateway say something of a dispute, and return the dispute."""
    reported = replace(dispute(payment, status, amount), id=name, currency=currency)
    at = None if minute is None else START + timedelta(minutes=minute)
    await Disputes(installation.platform.tables).on_event("contract", reported, at)
    return next(
        it for it in await Disputes(installation.platform.tables).of(payment) if it.id == name
    )


async def refunds_of(installation: Installation, payment: Payment) -> list[Refund]:
    """A payment's refunds."""
    return await Refunds(installation.database).of_payment(payment.id)


async def until(installation: Installation, condition: Callable[[], object]) -> None:
    """Let work be done, and the gateway's bank answer, until the condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():  # type: ignore[misc]
            await installation.gateway_does("settle")
            await installation.platform.jobs.run_due()
            await asyncio.sleep(0.005)


async def until_ended(installation: Installation, payment: Payment) -> list[Refund]:
    """Let every refund of a payment end."""

    async def ended() -> bool:
        return all(
            it.state in ("succeeded", "failed") for it in await refunds_of(installation, payment)
        )

    await until(installation, ended)
    return await refunds_of(installation, payment)


async def test_a_dispute_above_what_is_left_counts_as_far_as_it_fits(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    await refund_order(installation, payment, 500)

    opened = await reports(installation, payment, OPENED)
    with pytest.raises(RefundMustWaitError):
        await ask_back(installation, payment, 799, "another")
    lost = await reports(installation, payment, LOST)

    with pytest.raises(RefundTooLargeError):
        await ask_back(installation, payment, 1, "another")
    assert (opened.amount, opened.claimed_amount, opened.excess) == (799, 1299, 500)
    assert (lost.state, lost.amount, lost.excess) == ("lost", 799, 500)
    assert await balances(installation) == {
        "service_revenue": -661, "output_vat": -138, "settled_funds": -500,
        "risk_loss:chargeback": 799, "risk_loss:dispute_excess": 500,
    }  # fmt: skip


async def test_a_dispute_of_more_than_was_paid_is_booked_with_its_excess(
    installation: Installation,
) -> None:
    """The exchange rate has changed between the purchase and the dispute."""
    payment = await installation.settled()

    await reports(installation, payment, OPENED, 1350)
    with pytest.raises(RefundMustWaitError, match="a dispute is open"):
        await ask_back(installation, payment, 1)
    won = await reports(installation, payment, WON, 1350)

    assert (won.state, won.claimed_amount) == ("won", 1350)
    assert await balances(installation) == {
        "settled_funds": 1299,
        "service_revenue": -1074,
        "output_vat": -225,
    }
    assert (await refund_order(installation, payment, 1299)).state == "succeeded"


async def test_two_disputes_count_together_no_more_than_was_paid(
    installation: Installation,
) -> None:
    payment = await installation.settled()

    await reports(installation, payment, OPENED, 800)
    second = await reports(installation, payment, OPENED, 800, name="dp_2")
    with pytest.raises(RefundMustWaitError):
        await ask_back(installation, payment, 499)
    await reports(installation, payment, WON, 800)

    [first, after] = await Disputes(installation.platform.tables).of(payment)
    assert (second.amount, second.excess) == (499, 301)
    assert (first.state, after.amount, after.excess) == ("won", 800, 0)


async def test_a_dispute_beside_a_refund_that_fails_takes_its_place(
    installation: Installation,
) -> None:
    payment = await installation.settled("pm_refund_fails")
    refund = await ask_back(installation, payment, 800)

    beside = await reports(installation, payment, OPENED)
    [failed] = await until_ended(installation, payment)

    [after] = await Disputes(installation.platform.tables).of(payment)
    assert (refund.state, failed.state) == ("sent", "failed")
    assert (beside.amount, beside.excess, after.amount, after.excess) == (499, 800, 1299, 0)
    cases = await installation.platform.tables.cases.listed(subject=payment.id)
    assert {case.kind for case in cases} == {"refund_failed"}


async def test_a_refund_that_waits_is_not_sent_while_a_dispute_is_open(
    installation: Installation,
) -> None:
    payment = await installation.buys()
    await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await ask_back(installation, payment, 1299)
    await reports(installation, payment, OPENED)

    await installation.until_settled(payment.id)
    await installation.rest()
    [meanwhile] = await refunds_of(installation, payment)
    await reports(installation, payment, WON)
    [after] = await until_ended(installation, payment)

    assert (meanwhile.state, after.state) == ("waiting", "succeeded")


async def test_of_a_refund_that_a_dispute_overtook_the_rest_is_paid(
    installation: Installation,
) -> None:
    payment = await installation.buys()
    await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await ask_back(installation, payment, 1299)
    await reports(installation, payment, OPENED, 800)
    await installation.until_settled(payment.id)

    await reports(installation, payment, LOST, 800)
    await installation.until(payment.id, lambda p: p.refunded_amount > 0)

    refunds = await refunds_of(installation, payment)
    assert [(it.state, it.amount) for it in refunds] == [("failed", 1299), ("succeeded", 499)]


@pytest.mark.parametrize(("verdict", "paid"), [(WON, 1200), (LOST, 499)])
async def test_a_promised_refund_goes_on_when_the_dispute_ends(
    installation: Installation, verdict: DisputeStatus, paid: int
) -> None:
    payment = await installation.settled()
    await reports(installation, payment, OPENED, 800)

    promised = await installation.platform.payment_processing.promise_refund(
        payment.id, amount=1200, reason="desistimiento", key="one", requested_by="order-management"
    )
    await installation.rest()
    before = await refunds_of(installation, payment)
    await reports(installation, payment, verdict, 800)
    done = await installation.until(payment.id, lambda p: p.refunded_amount > 0)

    assert (promised, before, done.refunded_amount) == (None, [], paid)


async def test_a_withdrawn_service_ends_at_once_and_is_refunded_after_the_dispute(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    await reports(installation, payment, OPENED)

    await installation.platform.payment_processing.withdraw_from_service(
        payment.subject, requested_by="customer"
    )
    term = await installation.platform.tables.entitlements.of_order(payment.subject)
    before = await refunds_of(installation, payment)
    await reports(installation, payment, WON)
    done = await installation.until(payment.id, lambda p: p.refunded_amount > 0)

    assert term is not None
    assert (term.state, before, done.refunded_amount) == ("ended", [], 1299)


async def test_a_promise_is_nothing_more_once_a_dispute_took_it_all(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    await reports(installation, payment, OPENED)
    await installation.platform.payment_processing.promise_refund(
        payment.id, amount=1299, reason="desistimiento", key="one", requested_by="order-management"
    )

    await reports(installation, payment, LOST)

    async def kept() -> bool:
        kinds = "select 1 from jobs where kind = 'promised_refund'"
        return not await installation.database.fetch(kinds)

    await until(installation, kept)
    assert await refunds_of(installation, payment) == []


async def test_what_was_never_sent_is_called_off_once_a_dispute_took_the_money(
    installation: Installation,
) -> None:
    """The refund's request was lost on its way; sent again later, it would have been paid twice."""
    payment = await installation.settled()
    await installation.gateway_does(
        "faults", match={"operation": "refund"}, action={"drop_connection_before": True}
    )
    refund = await ask_back(installation, payment, 1299)
    await reports(installation, payment, LOST)
    installation.gateway.faults.delete()

    [after] = await until_ended(installation, payment)

    [taken] = await Disputes(installation.platform.tables).of(payment)
    assert (refund.state, refund.outcome, after.state) == ("sent", "unknown", "failed")
    assert (taken.amount, taken.excess) == (1299, 0)
    booking = installation.gateway.store.bookings[payment.gateway_transaction_id or ""]
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
    installation: Installation, words: list[tuple[DisputeStatus, int]], state: str
) -> None:
    payment = await installation.settled()

    for status, minute in words:
        for _ in range(2):
            await reports(installation, payment, status, minute=minute)

    [reported] = await Disputes(installation.platform.tables).of(payment)
    now = await installation.platform.tables.payments.get(payment.id)
    loss = {"lost": {"risk_loss:chargeback": 1299}, "opened": {"disputed_funds": 1299}}
    kept = {"settled_funds": 1299} if state in ("won", "reversed") else {}
    assert reported.state == state
    assert now.disputed_amount == (1299 if state == "lost" else 0)
    assert (
        await balances(installation)
        == {"service_revenue": -1074, "output_vat": -225} | loss.get(state, {}) | kept
    )


async def test_what_was_won_and_refunded_and_lost_after_all_is_excess(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    await reports(installation, payment, WON, minute=1)
    await refund_order(installation, payment, 1299)

    lost = await reports(installation, payment, LOST, minute=2)

    assert (lost.state, lost.amount, lost.excess) == ("lost", 0, 1299)


async def test_a_dispute_that_is_reported_before_the_capture_counts_after_it(
    installation: Installation,
) -> None:
    car = installation.fleet.add(VIN, Manner(Behaviour.ASLEEP))
    payment = await installation.buys()
    authorized = await installation.until(payment.id, lambda p: p.state is PaymentState.AUTHORIZED)
    early = await reports(installation, authorized, OPENED)

    installation.fleet.wake(car)
    await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)

    async def counts() -> bool:
        [reported] = await Disputes(installation.platform.tables).of(payment)
        return reported.amount == 1299 and reported.excess == 0

    await until(installation, counts)
    assert (early.amount, early.excess) == (0, 1299)


async def test_a_dispute_in_another_currency_holds_back_every_refund(
    installation: Installation,
) -> None:
    payment = await installation.settled()

    reported = await reports(installation, payment, LOST, 1350, currency="USD")

    assert (reported.amount, reported.claimed_currency, reported.excess) == (1299, "USD", 0)
    [case] = await installation.platform.tables.cases.listed(subject=payment.id)
    assert case.kind == "dispute_contradiction"


async def test_another_amount_of_a_known_dispute_is_a_case_that_holds_refunds(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    await reports(installation, payment, WON, 500)

    await reports(installation, payment, LOST, 900)

    with pytest.raises(RefundMustWaitError, match="dispute_contradiction"):
        await ask_back(installation, payment, 1)


async def test_a_webhook_that_was_set_aside_holds_back_the_payment_it_names(
    installation: Installation,
) -> None:
    payment, other = await installation.settled(), await installation.settled()
    body = f'{{"data":{{"transaction_id":"{payment.gateway_transaction_id}","amount":1e19}}}}'
    incoming = Incoming(
        gateway="contract", event_id="evt_1", body_hash=b"1" * 32, body=body, job_kind="none"
    )
    await WebhookInbox(installation.database).quarantine(incoming, reason="its amount is no amount")

    with pytest.raises(RefundMustWaitError, match="webhook_unreadable"):
        await ask_back(installation, payment, 100)
    await ask_back(installation, other, 100)

    (case,) = [
        it for it in await installation.platform.tables.cases.listed() if it.kind == UNREADABLE
    ]
    async with installation.database.transaction() as connection:
        await installation.platform.tables.cases.close(
            UNREADABLE, case.subject, resolution="It was noise.", owner="Ana", within=connection
        )
    await refund_order(installation, payment, 100)


async def test_a_refund_that_nobody_here_asked_for_holds_back_others(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    stranger = GatewayRefund(
        id="re_stranger",
        transaction_id=payment.gateway_transaction_id or "",
        amount=400,
        status=RefundStatus.SUCCEEDED,
    )

    await installation.platform.payment_processing.refunds.on_event("contract", stranger)

    with pytest.raises(RefundMustWaitError, match="refund_contradiction"):
        await ask_back(installation, payment, 1299)


async def test_a_settlement_taken_back_after_a_refund_is_a_loss_of_the_refund(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    await refund_order(installation, payment, 1299)
    reversed_ = SettlementNotice(
        settlement_id="late", settled=False, settled_amount=0, currency="EUR"
    )

    for _ in range(2):
        await installation.platform.payment_processing.record_settlement(payment.id, reversed_)

    assert await balances(installation) == {
        "risk_loss:reversed_after_refund": 1299, "settled_funds": -1299,
    }  # fmt: skip


@pytest.fixture
async def owner(installation: Installation) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the schema."""
    opened = await asyncpg.connect(installation.database.dsn)
    yield opened
    await opened.close()


async def test_postgresql_itself_sends_no_refund_meanwhile(
    installation: Installation, owner: asyncpg.Connection
) -> None:
    payment = await installation.buys()
    await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    refund = await ask_back(installation, payment, 100)
    await reports(installation, payment, OPENED, 1000)

    for session in ("origin", "replica"):
        await owner.execute(f"set session_replication_role = {session}")
        with pytest.raises(asyncpg.CheckViolationError, match="a dispute is open"):
            await owner.execute("update caas.refunds set state = 'sent' where id = $1", refund.id)
