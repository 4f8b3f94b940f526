"""A refund that fails after it had succeeded gives the payment its money back, once.

Stripe documents a card whose refund "starts as succeeded, later failed"; Adyen sends REFUND_FAILED
days after REFUND. The payment stayed refunded, and the customer never had the money.
"""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund, Refunds
from caas.external_systems.payment_gateway import DisputeStatus, GatewayRefund, RefundStatus
from caas.payment_processing.disputes import Disputes
from caas.rules.payment_states import PaymentState
from tests.installation import Installation
from tests.payment_processing.test_refunds import ask_back, dispute, refund_order


def reported(payment: Payment, refund: Refund, status: RefundStatus) -> GatewayRefund:
    """What the gateway says of a refund."""
    return GatewayRefund(
        id=refund.gateway_refund_id or "",
        transaction_id=payment.gateway_transaction_id or "",
        amount=refund.amount,
        status=status,
    )


def at_gateway(installation: Installation, payment: Payment) -> None:
    """Let the gateway have returned every refund of a payment."""
    store = installation.gateway.store
    booking = store.bookings[payment.gateway_transaction_id or ""]
    booking.transaction.refunded_amount, booking.transaction.status = 0, "settled"
    for refund_id in booking.refund_ids:
        store.refunds[refund_id].refund.status = "failed"


async def returns(installation: Installation, payment: Payment, refund: Refund) -> Payment:
    """Let the gateway return a refund which succeeded, and report it as failed."""
    at_gateway(installation, payment)
    refunds = installation.platform.payment_processing.refunds
    await refunds.on_event("contract", reported(payment, refund, RefundStatus.FAILED))
    return await installation.platform.tables.payments.get(payment.id)


async def balances(installation: Installation) -> dict[str, int]:
    """What the ledger says of each account that is not at zero."""
    rows = await installation.database.fetch(
        "select account, sum(amount)::bigint as amount from ledger_lines group by account"
        " having sum(amount) <> 0"
    )
    return {row["account"]: row["amount"] for row in rows}


async def kinds_of_cases(installation: Installation, payment: Payment) -> set[str]:
    cases = await installation.platform.tables.cases.listed(subject=payment.id)
    return {case.kind for case in cases}


@pytest.mark.parametrize("amount", [500, 1299])
async def test_the_payment_has_its_money_again(installation: Installation, amount: int) -> None:
    payment = await installation.settled()
    before = await balances(installation)
    refund = await refund_order(installation, payment, amount)

    after = await returns(installation, payment, refund)

    [failed] = await Refunds(installation.database).of_payment(payment.id)
    assert (failed.state, after.state, after.refunded_amount) == ("failed", PaymentState.SETTLED, 0)
    assert await balances(installation) == before
    assert await kinds_of_cases(installation, payment) == {"refund_failed"}
    await installation.platform.issuing.issue_due()


async def test_it_is_refunded_again_in_full(installation: Installation) -> None:
    payment = await installation.settled()
    refund = await refund_order(installation, payment, 1299)
    after = await returns(installation, payment, refund)

    again = await refund_order(installation, after, 1299, "again")

    now = await installation.platform.tables.payments.get(payment.id)
    assert (again.state, now.state, now.refunded_amount) == (
        "succeeded", PaymentState.REFUNDED, 1299,
    )  # fmt: skip
    assert await kinds_of_cases(installation, payment) == set()
    await installation.platform.issuing.issue_due()


async def test_it_returns_once_however_often_and_late_it_is_reported(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    refund = await refund_order(installation, payment, 500)

    await asyncio.gather(*(returns(installation, payment, refund) for _ in range(5)))
    refunds = installation.platform.payment_processing.refunds
    await refunds.on_event("contract", reported(payment, refund, RefundStatus.SUCCEEDED))
    after = await returns(installation, payment, refund)

    assert (after.refunded_amount, after.state) == (0, PaymentState.SETTLED)
    assert await kinds_of_cases(installation, payment) == {"refund_failed"}


async def test_another_amount_is_a_contradiction(installation: Installation) -> None:
    payment = await installation.settled()
    refund = await refund_order(installation, payment, 500)

    after = await returns(installation, payment, replace(refund, amount=400))

    assert after.refunded_amount == 500
    assert await kinds_of_cases(installation, payment) == {"refund_contradiction"}


async def test_beside_another_refund_only_the_amount_changes(installation: Installation) -> None:
    payment = await installation.settled()
    first = await refund_order(installation, payment, 500, "first")
    between = await installation.platform.tables.payments.get(payment.id)
    await refund_order(installation, between, 799, "second")

    after = await returns(installation, payment, first)

    assert (after.state, after.refunded_amount) == (PaymentState.SETTLED, 799)
    await installation.platform.issuing.issue_due()


async def test_a_dispute_counts_what_came_back(installation: Installation) -> None:
    payment = await installation.settled()
    refund = await refund_order(installation, payment, 800)
    disputes = Disputes(installation.platform.tables)
    await disputes.on_event("contract", dispute(payment, DisputeStatus.OPENED))

    await returns(installation, payment, refund)

    [after] = await disputes.of(payment)
    assert (after.amount, after.excess) == (1299, 0)


async def test_the_customer_is_notified(installation: Installation) -> None:
    payment = await installation.settled()
    refund = await refund_order(installation, payment, 500)

    await returns(installation, payment, refund)

    rows: list[Any] = await installation.database.fetch(
        "select facts from notifications where template = 'refund_returned' and subject = $1",
        refund.id,
    )
    assert [json.loads(row["facts"])["amount"] if isinstance(row["facts"], str)
            else row["facts"]["amount"] for row in rows] == [500]  # fmt: skip


async def test_the_database_lets_no_refund_return_without_its_event(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    refund = await refund_order(installation, payment, 500)
    owner = await asyncpg.connect(installation.database.dsn)

    with pytest.raises(asyncpg.CheckViolationError, match="no event brings its money back"):
        await owner.execute(
            "update caas.refunds set state = 'failed', failed_because = 'x' where id = $1",
            refund.id,
        )
    await owner.close()


async def test_a_refund_meanwhile_waits_and_goes_on(installation: Installation) -> None:
    payment = await installation.settled()
    refund = await refund_order(installation, payment, 1000)

    await returns(installation, payment, refund)
    await ask_back(installation, payment, 1299, "again")

    after = await installation.until(payment.id, lambda p: p.refunded_amount == 1299)
    assert after.state is PaymentState.REFUNDED
