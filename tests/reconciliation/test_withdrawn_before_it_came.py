"""The money of an undone sale that comes after its settlement had failed goes back by itself.

A withdrawal refunded only what had come by then. The line that came later was reinstated, and its
money stayed with us until somebody repeated the withdrawal; that of an order could not be repeated.
"""

from typing import Any

import pytest

from caas.billing_database.payments import Payment
from caas.payment_processing import PaymentRequest
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState
from tests.buyers import gives_details
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import broken
from tests.reconciliation.test_losses_taken_back import PART, REST
from tests.reconciliation.test_money_adds_up import RIGHT, decided, next_day
from tests.reconciliation.test_refunds_of_what_came_after_all import FAILURE, at_gateway

CAR = "WVWZZZ1JZXM000777"


async def reserved(office: Office) -> Payment:
    """Reserve a vehicle for 12.99."""
    platform, customer = office.installation.platform, await office.installation.customer()
    await gives_details(platform.tables.database, customer)
    orders, deposit = platform.order_management, Money(1299, "EUR")
    await orders.put_vehicle(vin=CAR, model="Uno", price=Money(3_000_000, "EUR"))
    order = await orders.ordering.create_order(
        customer=customer, vin=CAR, model=None, dealership="Autos Sol", deposit=deposit
    )
    payment = await platform.payment_processing.initiate_reservation_payment(
        PaymentRequest(
            subject=order.id, customer=customer, amount=deposit.amount, currency="EUR",
            payment_method="pm_ok",
        )
    )  # fmt: skip
    assert isinstance(payment, Payment)
    return await office.installation.until(
        payment.id, lambda p: p.state is PaymentState.CAPTURING and p.outcome == "known"
    )


async def failed(office: Office, *, of_order: bool) -> Payment:
    """Buy a service or reserve a vehicle; its settlement fails, and is given up."""
    payment = await (reserved(office) if of_order else office.bought())
    await next_day(office, payment, FAILURE)
    await decided(office, Kind.FAILED_SETTLEMENT, Resolution.ACCEPT_LOSS)
    at_gateway(office, payment)
    return payment


async def withdrawn(office: Office, payment: Payment, *, of_order: bool) -> None:
    """Withdraw, whatever the simulated days are."""
    platform = office.installation.platform
    if of_order:
        await platform.order_management.withdrawal.withdraw(payment.subject)
    else:
        assert await platform.payment_processing.service_withdrawal._undo(
            payment.subject, requested_by="Ana", by_customer=False
        )
    await office.installation.rest()
    assert (await office.payment(payment)).refunded_amount == 0


async def comes(office: Office, payment: Payment, line: dict[str, Any]) -> None:
    """Let a line come, and reinstate the payment with it."""
    await next_day(office, payment, line)
    [found] = await office.found(unresolved=True)
    await decided(office, found.kind, Resolution.REINSTATE_THE_PAYMENT)


async def goes_back(office: Office, payment: Payment, amount: int) -> Payment:
    """Let the gateway refund so much in all."""

    async def settle() -> None:
        await office.installation.rest()
        await office.installation.gateway_does("settle")

    await settle()
    await office.installation.until(
        payment.id, lambda p: p.refunded_amount == amount or p.state is PaymentState.REFUNDING
    )
    await settle()
    return await office.installation.until(payment.id, lambda p: p.refunded_amount == amount)


@pytest.mark.parametrize("of_order", [True, False])
async def test_what_comes_after_the_withdrawal_is_refunded(
    office: Office, *, of_order: bool
) -> None:
    payment = await failed(office, of_order=of_order)
    await withdrawn(office, payment, of_order=of_order)

    await comes(office, payment, RIGHT)

    after = await goes_back(office, payment, 1299)
    assert after.state is PaymentState.REFUNDED
    assert await broken(office.installation.database) == set()


@pytest.mark.parametrize("of_order", [True, False])
async def test_each_part_that_comes_after_the_withdrawal_is_refunded(
    office: Office, *, of_order: bool
) -> None:
    payment = await failed(office, of_order=of_order)
    await withdrawn(office, payment, of_order=of_order)

    await comes(office, payment, PART)
    await goes_back(office, payment, 900)
    assert await broken(office.installation.database) == set()
    await comes(office, payment, REST)

    after = await goes_back(office, payment, 1299)
    assert after.state is PaymentState.REFUNDED
    assert await broken(office.installation.database) == set()


async def test_an_order_that_is_withdrawn_afterwards_is_refunded(office: Office) -> None:
    payment = await failed(office, of_order=True)
    await comes(office, payment, RIGHT)

    await office.installation.platform.order_management.withdrawal.withdraw(payment.subject)

    after = await goes_back(office, payment, 1299)
    assert after.state is PaymentState.REFUNDED
    assert await broken(office.installation.database) == set()


async def test_what_is_reinstated_again_is_refunded_once(office: Office) -> None:
    payment = await failed(office, of_order=False)
    await withdrawn(office, payment, of_order=False)
    await next_day(office, payment, RIGHT)
    investigation = office.reconciliation.investigation
    for _ in range(2):
        found = await decided(office, Kind.STATE_CONFLICT, Resolution.REINSTATE_THE_PAYMENT)
        await investigation.reopen(found.id, note="A copy?", by="Luis")
    await office.installation.rest()
    assert (await office.payment(payment)).state is PaymentState.SETTLEMENT_FAILED

    await decided(office, Kind.STATE_CONFLICT, Resolution.REINSTATE_THE_PAYMENT)

    await goes_back(office, payment, 1299)
    assert len(await office.refunds_at_gateway(payment)) == 1
    assert await broken(office.installation.database) == set()


async def test_what_comes_of_a_sale_that_stands_is_not_refunded(office: Office) -> None:
    payment = await failed(office, of_order=False)

    await comes(office, payment, RIGHT)
    await office.installation.rest()

    assert (await office.payment(payment)).state is PaymentState.SETTLEMENT_FAILED
