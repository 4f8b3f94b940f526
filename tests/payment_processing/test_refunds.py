"""Refunds and disputes: money given back, never more than was received."""

import asyncio

import pytest
from msgspec.structs import replace

from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund, Refunds
from caas.errors import RefusedError
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing import SettlementNotice
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.refund_requests import (
    NothingToRefundError,
    RefundMustWaitError,
    RefundTooLargeError,
)
from caas.rules.payment_states import PaymentState
from tests.installation import PATIENCE_SECONDS, Installation

UNDER_WAY = "select 1 from refunds where state in ('waiting', 'sent')"


async def ask_back(
    installation: Installation, payment: Payment, amount: int, key: str = "one"
) -> Refund:
    """Ask for a refund, as desistimiento."""
    return await installation.platform.payment_processing.refund_payment(
        payment.id, amount=amount, reason="desistimiento", key=key, requested_by="operations"
    )


async def refund_order(
    installation: Installation, payment: Payment, amount: int, key: str = "one"
) -> Refund:
    """Refund some of a payment and wait until the gateway has done it."""
    refund = await ask_back(installation, payment, amount, key)
    before = payment.refunded_amount
    await installation.until(payment.id, lambda p: p.refunded_amount > before)
    return next(
        r for r in await Refunds(installation.database).of_payment(payment.id) if r.id == refund.id
    )


def dispute(payment: Payment, status: DisputeStatus, amount: int | None = None) -> GatewayDispute:
    """What the gateway says of a dispute."""
    assert payment.gateway_transaction_id is not None
    return GatewayDispute(
        id="dp_1",
        transaction_id=payment.gateway_transaction_id,
        amount=amount or payment.amount,
        currency=payment.currency,
        status=status,
    )


async def test_a_whole_refund_ends_in_refunded(installation: Installation) -> None:
    payment = await installation.settled()

    refund = await refund_order(installation, payment, payment.amount)

    now = await installation.platform.tables.payments.get(payment.id)
    assert (refund.state, now.state) == ("succeeded", PaymentState.REFUNDED)
    assert now.refunded_amount == payment.amount


async def test_partial_refunds_leave_a_remainder_until_nothing_is_left(
    installation: Installation,
) -> None:
    payment = await installation.settled()

    await refund_order(installation, payment, 299, "first")
    between = await installation.platform.tables.payments.get(payment.id)
    await refund_order(installation, between, 1000, "second")

    after = await installation.platform.tables.payments.get(payment.id)
    assert (between.state, between.refunded_amount) == (PaymentState.SETTLED, 299)
    assert (after.state, after.refunded_amount) == (PaymentState.REFUNDED, 1299)


async def test_the_same_key_refunds_once(installation: Installation) -> None:
    payment = await installation.settled()

    refunds = await asyncio.gather(*(refund_order(installation, payment, 500) for _ in range(16)))

    assert len({refund.id for refund in refunds}) == 1
    now = await installation.platform.tables.payments.get(payment.id)
    assert now.refunded_amount == 500


async def test_many_refunds_at_once_never_exceed_what_was_received(
    installation: Installation,
) -> None:
    payment = await installation.settled()

    answers = await asyncio.gather(
        *(ask_back(installation, payment, 500, f"key-{n}") for n in range(8)),
        return_exceptions=True,
    )
    done = await installation.until(payment.id, lambda p: p.refunded_amount == 1000)

    assert sum(isinstance(answer, RefundTooLargeError) for answer in answers) == 6
    assert done.state is PaymentState.SETTLED


async def test_a_refund_before_settlement_waits_for_the_bank(installation: Installation) -> None:
    payment = await installation.buys()
    await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)

    refund = await ask_back(installation, payment, payment.amount)
    await installation.gateway_does("settle")

    assert refund.state == "waiting"
    await installation.until(payment.id, lambda p: p.state is PaymentState.REFUNDED)


async def test_a_declined_payment_has_nothing_to_refund(installation: Installation) -> None:
    payment = await installation.buys("pm_declined")

    with pytest.raises(NothingToRefundError):
        await ask_back(installation, payment, 100)


async def test_a_lost_dispute_is_booked_once_whatever_the_order_of_words(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    investigation = Disputes(installation.platform.tables)

    for status in (DisputeStatus.LOST, DisputeStatus.OPENED, DisputeStatus.LOST):
        await investigation.on_event("contract", dispute(payment, status))

    now = await installation.platform.tables.payments.get(payment.id)
    assert now.disputed_amount == payment.amount
    with pytest.raises(RefusedError):
        await ask_back(installation, now, 1)


async def test_a_won_dispute_leaves_the_payment_refundable(installation: Installation) -> None:
    payment = await installation.settled()
    investigation = Disputes(installation.platform.tables)

    await investigation.on_event("contract", dispute(payment, DisputeStatus.OPENED))
    with pytest.raises(RefundMustWaitError):
        await ask_back(installation, payment, payment.amount)
    await investigation.on_event("contract", dispute(payment, DisputeStatus.WON))

    assert (await refund_order(installation, payment, payment.amount, "again")).state == "succeeded"


async def test_a_dispute_that_was_lost_and_won_after_all_gives_the_loss_back(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    investigation = Disputes(installation.platform.tables)

    for status in (DisputeStatus.OPENED, DisputeStatus.LOST, DisputeStatus.WON, DisputeStatus.WON):
        await investigation.on_event("contract", dispute(payment, status))

    now = await installation.platform.tables.payments.get(payment.id)
    [reported] = await investigation.of(payment)
    assert (reported.state, now.disputed_amount, now.state) == ("reversed", 0, PaymentState.SETTLED)
    assert await balances(installation) == {
        "settled_funds": 1299,
        "service_revenue": -1074,
        "output_vat": -225,
    }


async def test_refunds_and_disputes_at_once_never_exceed_what_was_received(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    investigation = Disputes(installation.platform.tables)

    answers = await asyncio.gather(
        *(ask_back(installation, payment, 400, f"key-{n}") for n in range(4)),
        *(
            investigation.on_event(
                "contract", replace(dispute(payment, DisputeStatus.LOST, 400), id=f"dp_{n}")
            )
            for n in range(4)
        ),
        return_exceptions=True,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await installation.database.fetch(UNDER_WAY):
            await installation.gateway_does("settle")
            await installation.platform.jobs.run_due()
    done = await installation.platform.tables.payments.get(payment.id)

    assert done.refunded_amount + done.disputed_amount <= payment.amount
    assert sum(it.claimed_amount for it in await investigation.of(payment)) == 1600
    assert all(isinstance(it, RefusedError) for it in answers if isinstance(it, Exception))


async def test_a_settlement_taken_back_while_it_is_disputed_is_lost_once(
    installation: Installation,
) -> None:
    """Both were booked in full: a payment of 1299 was a loss of 2598."""
    payment = await installation.settled()
    investigation = Disputes(installation.platform.tables)
    await investigation.on_event("contract", dispute(payment, DisputeStatus.OPENED, 500))

    await installation.platform.payment_processing.record_settlement(
        payment.id,
        SettlementNotice(settlement_id="late", settled=False, settled_amount=0, currency="EUR"),
    )
    await investigation.on_event("contract", dispute(payment, DisputeStatus.LOST, 500))

    assert await balances(installation) == {
        "service_revenue": -1074,
        "output_vat": -225,
        "risk_loss:settlement_reversed": 799,
        "risk_loss:chargeback": 500,
    }


async def balances(installation: Installation) -> dict[str, int]:
    """What each account comes to, those that come to nothing left out."""
    rows = await installation.database.fetch(
        "select account, sum(amount)::bigint as sum from ledger_lines group by account"
        " having sum(amount) <> 0"
    )
    return {row["account"]: row["sum"] for row in rows}
