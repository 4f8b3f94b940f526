"""Refunds of the deposit of a lost reservation, before and while a person has to decide about it.

They were taken from the account of deposits that stand, and took no tax back from what was held:
the credit note had one tax, and the ledger another.
"""

from typing import Final

import pytest

from caas.billing_database.cases import DEPOSIT_HELD
from caas.billing_database.orders import Order
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refunds
from caas.order_management.held_deposits import DepositDecision
from caas.payment_processing.initiation import PaymentRequest
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState
from tests.buyers import gives_details
from tests.installation import Installation
from tests.payment_processing.test_money_that_contradicts import (
    LOST,
    WON,
    reports,
    until,
    until_ended,
)
from tests.payment_processing.test_overtaken_credit_notes import bank_confirms, broken, noted
from tests.payment_processing.test_refunds import ask_back, balances
from tests.people import employed

BUILT: Final = "WVWZZZ1JZXW000099"
DEPOSIT: Final = 50_000
PART: Final = 20_000


async def reserved(
    installation: Installation, method: str, *, settled: bool = True
) -> tuple[Order, Payment]:
    """Reserve a vehicle that is ready; its deposit is invoiced, and settled unless it waits."""
    orders, platform = installation.platform.order_management, installation.platform
    customer = await installation.customer()
    await gives_details(platform.tables.database, customer)
    await orders.put_vehicle(vin=BUILT, model="Uno", price=Money(3_000_000, "EUR"))
    order = await orders.ordering.create_order(
        customer=customer, vin=BUILT, model=None, dealership="Autos Sol",
        deposit=Money(DEPOSIT, "EUR"),
    )  # fmt: skip
    deposit = await platform.payment_processing.initiate_reservation_payment(
        PaymentRequest(
            subject=order.id, customer=customer, amount=DEPOSIT, currency="EUR",
            payment_method=method,
        )
    )  # fmt: skip
    assert isinstance(deposit, Payment)

    async def is_settled() -> bool:
        now = await platform.tables.payments.get(deposit.id)
        return now.state is PaymentState.SETTLED

    await platform.jobs.run_due()
    if settled:
        await until(installation, is_settled)
    order = await orders.orders.get(order.id)
    await orders.partner_events.vehicle_ready(
        vin=BUILT, public_key=bytes(32), factory_order_id=order.factory_order_id
    )
    await platform.issuing.issue_due()
    return order, await platform.tables.payments.get(deposit.id)


async def loses(installation: Installation, order: Order) -> None:
    """Let the final payment be declined."""
    rest = Money(3_000_000 - DEPOSIT, "EUR")
    await installation.platform.payment_processing.initiate_final_payment(
        PaymentRequest(
            subject=order.id, customer=order.customer, amount=rest.amount, currency="EUR",
            payment_method="pm_declined",
        )
    )  # fmt: skip
    assert await installation.platform.tables.cases.listed(kind=DEPOSIT_HELD)


async def is_refunded(installation: Installation, deposit: Payment, amount: int) -> None:
    """Ask for a refund and let it end, and its credit note be issued."""
    await ask_back(installation, deposit, amount, key=f"{amount}")
    await until_ended(installation, deposit)
    await installation.platform.issuing.issue_due()


async def decided(installation: Installation, deposit: Payment, decision: DepositDecision) -> None:
    """Decide about what is held, two people if need be, and let its refund end."""
    held = installation.platform.order_management.held_deposits
    carla, luis = [await employed(installation.database, name) for name in ("carla", "luis")]
    needs_second = (await held.of(deposit.id)).needs_second
    await held.decide(deposit.id, decision, note="So it is.", by=carla)
    if needs_second:
        await held.agree(deposit.id, by=luis)

    async def no_more() -> bool:
        return not await installation.database.fetch(
            "select from jobs where kind in ('refund', 'promised_refund', 'refund_order')"
        )

    await until(installation, no_more)
    await installation.platform.issuing.issue_due()


def held(booked: dict[str, int]) -> tuple[int, int, int]:
    """What of the deposit is held, what stands, and its tax."""
    accounts = ("reservation_held", "customer_deposits", "output_vat")
    held_, standing, tax = (-booked.get(account, 0) for account in accounts)
    return held_, standing, tax


@pytest.mark.parametrize("decision", list(DepositDecision))
@pytest.mark.parametrize("amount", [PART, DEPOSIT])
@pytest.mark.parametrize("is_held", [True, False])
async def test_a_refund_of_a_held_deposit_comes_from_what_is_held(
    installation: Installation, decision: DepositDecision, amount: int, *, is_held: bool
) -> None:
    order, deposit = await reserved(installation, "pm_ok")
    if is_held:
        await loses(installation, order)
    await is_refunded(installation, deposit, amount)
    if not is_held and amount < DEPOSIT:
        await loses(installation, order)

    left = DEPOSIT - amount
    tax = round(left * 21 / 121)
    if is_held or left:
        assert held(await balances(installation)) == (left - tax, 0, tax)
        assert await broken(installation) == []
        await decided(installation, deposit, decision)

    kept = left if decision is DepositDecision.KEEP else 0
    tax = round(kept * 21 / 121)
    assert held(await balances(installation)) == (0, kept - tax, tax)
    after = await installation.platform.tables.payments.get(deposit.id)
    assert after.refunded_amount == DEPOSIT - kept
    assert await broken(installation) == []


@pytest.mark.parametrize("decision", list(DepositDecision))
async def test_a_refund_of_a_held_deposit_that_fails_is_held_again(
    installation: Installation, decision: DepositDecision
) -> None:
    order, deposit = await reserved(installation, "pm_refund_fails")
    await loses(installation, order)
    await is_refunded(installation, deposit, PART)

    assert held(await balances(installation)) == (41_322, 0, 8_678)
    assert await broken(installation) == []
    await decided(installation, deposit, decision)

    assert held(await balances(installation)) == (0, 41_322, 8_678)
    assert await broken(installation) == []


async def test_a_credit_note_that_a_chargeback_covers_comes_from_what_is_held(
    installation: Installation,
) -> None:
    order, deposit = await reserved(installation, "pm_ok", settled=False)
    await loses(installation, order)
    await noted(installation, deposit, PART)
    await reports(installation, deposit, LOST, DEPOSIT, minute=1)

    await bank_confirms(installation, deposit)
    covered = await balances(installation)
    await reports(installation, deposit, WON, DEPOSIT, minute=2)
    await bank_confirms(installation, deposit)

    assert held(covered) == (24_793, 0, 5_207)
    assert covered["risk_loss:credited"] == -PART
    assert held(await balances(installation)) == (24_793, 0, 5_207)
    assert await broken(installation) == []


async def test_a_refund_of_a_held_deposit_that_returns_is_held_again(
    installation: Installation,
) -> None:
    order, deposit = await reserved(installation, "pm_ok")
    await loses(installation, order)
    await is_refunded(installation, deposit, PART)
    [refund] = await Refunds(installation.database).of_payment(deposit.id)

    await installation.platform.payment_processing.refunds.returned.take_back(refund)

    assert held(await balances(installation)) == (41_322, 0, 8_678)
    assert await broken(installation) == []
