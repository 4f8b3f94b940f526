"""Desistimiento: a customer withdraws from an order, at every place of its way."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from caas.billing_database.connection import Database
from caas.billing_database.invariants_of_obligations import NOTHING_IS_FORGOTTEN
from caas.billing_database.orders import Order
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.order_management.withdrawal import (
    CannotWithdrawError,
    NotDeliveredError,
    NotWithdrawnError,
)
from caas.payment_processing.disputes import Disputes
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.rules.vehicle_states import VehicleState
from tests.databases import over_everything
from tests.showroom import DEALERSHIP, DEPOSIT, Showroom, opened, simulated_world

DAY = 24 * 3600
SCALED_WINDOW_SECONDS = 14 * DAY / 1000


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom with everything at hand."""
    async with (
        simulated_world() as world,
        opened(database, world, total_seconds=0.4) as built,
    ):
        yield built


async def test_whoever_withdraws_before_the_final_payment_has_the_deposit_back(
    showroom: Showroom,
) -> None:
    order = await showroom.ready()
    vin = order.vin or ""

    withdrawn = await showroom.orders.withdrawal.withdraw(order.id)
    await showroom.jobs.run_due()

    vehicle = await showroom.orders.vehicles.get(vin)
    assert withdrawn.state is OrderState.WITHDRAWN
    assert (vehicle.state, vehicle.finished) == (VehicleState.SIN_ASIGNAR, True)
    assert await showroom.orders.vehicles.assignments(vin=vin) == []
    assert await refunded(showroom) == [DEPOSIT.amount]
    assert (await showroom.reported(order.customer))[-1] == "order_withdrawn"
    assert (await showroom.reported(DEALERSHIP, "dealership"))[-1] == "order_withdrawn"


async def test_whoever_withdraws_after_the_final_payment_has_all_of_it_back(
    showroom: Showroom,
) -> None:
    order = await showroom.ready()
    await showroom.pay_rest(order)

    await showroom.orders.withdrawal.withdraw(order.id)
    await showroom.jobs.run_due()

    assert sorted(await refunded(showroom)) == sorted([DEPOSIT.amount, order.rest.amount])
    assert (await showroom.orders.vehicles.get(order.vin or "")).state is VehicleState.SIN_ASIGNAR
    assert await showroom.cases() == ["withdrawn_after_registration"]


async def test_withdrawing_twice_gives_back_once(showroom: Showroom) -> None:
    order = await showroom.reserved(await showroom.stock())

    first = await showroom.orders.withdrawal.withdraw(order.id)
    second = await showroom.orders.withdrawal.withdraw(order.id)
    await showroom.pass_time(1)
    await showroom.jobs.run_due()

    assert first.version == second.version
    assert await refunded(showroom) == [DEPOSIT.amount]


async def test_an_unpaid_order_is_withdrawn_without_any_money(showroom: Showroom) -> None:
    order = await showroom.ordered(await showroom.stock())

    await showroom.orders.withdrawal.withdraw(order.id)
    await showroom.jobs.run_due()

    assert await refunded(showroom) == []


async def test_a_payment_that_is_authorized_after_the_withdrawal_is_voided(
    showroom: Showroom,
) -> None:
    """Late outcome (decision 10): the page is paid before it is ended, and the order is gone."""
    order = await showroom.ordered(await showroom.stock())
    payment = await showroom.reserve(order, None)
    await showroom.world.gateway_fault({"operation": "void", "times": 1}, status=503)
    await showroom.orders.withdrawal.withdraw(order.id)

    await pay_on_the_page(showroom, payment.hosted_page_url or "")
    voided = await showroom.work_until_payment(payment.id, PaymentState.VOIDED)

    assert voided.captured_amount == 0
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.WITHDRAWN
    assert (await showroom.reported(order.customer))[-1] == "reservation_not_possible"


async def test_a_lost_reservation_cannot_be_withdrawn(showroom: Showroom) -> None:
    order = await showroom.ready()
    await showroom.pay_rest(order, "pm_declined")

    with pytest.raises(CannotWithdrawError):
        await showroom.orders.withdrawal.withdraw(order.id)


async def test_a_delivered_vehicle_is_stock_again_when_it_has_been_returned(
    showroom: Showroom,
) -> None:
    order = await delivered(showroom)
    vin = order.vin or ""

    await showroom.orders.withdrawal.withdraw(order.id)
    await showroom.jobs.run_due()
    before = await showroom.orders.vehicles.get(vin)
    after = await showroom.orders.withdrawal.vehicle_returned(vin)

    assert before.state is VehicleState.DELIVERED
    assert after.state is VehicleState.SIN_ASIGNAR
    assert sum(await refunded(showroom)) == order.price.amount
    with pytest.raises(NotDeliveredError):
        await showroom.orders.withdrawal.vehicle_returned(vin)
    assert await showroom.cases() == []
    assert (await showroom.reported(order.customer))[-1] == "vehicle_returned"
    assert (await showroom.reported(DEALERSHIP, "dealership"))[-1] == "vehicle_returned"


async def test_a_vehicle_that_nobody_withdrew_from_is_not_returned(showroom: Showroom) -> None:
    order = await delivered(showroom)

    with pytest.raises(NotWithdrawnError):
        await showroom.orders.withdrawal.vehicle_returned(order.vin or "")


async def test_after_the_legal_window_nobody_withdraws(showroom: Showroom) -> None:
    order = await delivered(showroom)

    await showroom.pass_time(SCALED_WINDOW_SECONDS + 1)

    with pytest.raises(CannotWithdrawError):
        await showroom.orders.withdrawal.withdraw(order.id)


async def test_a_vehicle_delivered_after_its_withdrawal_is_a_case(showroom: Showroom) -> None:
    order = await showroom.ready()
    await showroom.pay_rest(order)
    scheduled = await showroom.orders.orders.get(order.id)
    await showroom.orders.withdrawal.withdraw(order.id)

    news = await showroom.orders.partner_events.delivery_completed(scheduled.delivery_id or "")

    assert news.state is OrderState.WITHDRAWN
    assert "delivered_after_withdrawal" in await showroom.cases()


async def test_what_is_disputed_waits_and_is_not_paid_twice(showroom: Showroom) -> None:
    """Fault F-D1: the deposit goes back by itself when the bank has decided for us."""
    order = await showroom.ready()
    [deposit] = await showroom.tables.payments.listed(subject=order.id)
    reported = GatewayDispute(
        id="dp_1",
        transaction_id=deposit.gateway_transaction_id or "",
        amount=deposit.amount,
        currency=deposit.currency,
        status=DisputeStatus.OPENED,
    )
    investigation = Disputes(showroom.tables)
    await investigation.on_event("contract", reported)

    await showroom.orders.withdrawal.withdraw(order.id)
    meanwhile = await refunded(showroom)
    await investigation.on_event("contract", replace(reported, status=DisputeStatus.WON))
    await showroom.world.gateway("POST", "settle", {})
    await showroom.work_until_payment(deposit.id, PaymentState.REFUNDING)
    await showroom.world.gateway("POST", "settle", {})
    await showroom.work_until_payment(deposit.id, PaymentState.REFUNDED)

    assert (meanwhile, await refunded(showroom)) == ([], [DEPOSIT.amount])
    assert await showroom.cases() == []


@pytest.mark.parametrize("reported", [
    ("opened", "lost", "withdrawn", "won"), ("opened", "withdrawn", "lost", "won"),
    ("withdrawn", "opened", "lost", "won"), ("opened", "lost", "won", "withdrawn"),
])  # fmt: skip
async def test_the_price_of_a_withdrawn_order_goes_back_when_a_lost_dispute_is_reversed(
    showroom: Showroom, reported: tuple[str, ...]
) -> None:
    """While the vehicle is not yet returned: nothing of the money is forgotten meanwhile."""
    order = await delivered(showroom)
    [payment] = [
        one for one in await showroom.tables.payments.listed(subject=order.id)
        if one.type is PaymentType.FINAL
    ]  # fmt: skip
    investigation = Disputes(showroom.tables)
    word = GatewayDispute(
        id="dp_1", transaction_id=payment.gateway_transaction_id or "", amount=payment.amount,
        currency=payment.currency, status=DisputeStatus.OPENED,
    )  # fmt: skip
    for what in reported:
        if what == "withdrawn":
            await showroom.orders.withdrawal.withdraw(order.id)
            await gives_back_all_it_can(showroom, order)
        else:
            await investigation.on_event("contract", replace(word, status=DisputeStatus(what)))
            await showroom.jobs.run_due()
        assert not await showroom.database.fetch(over_everything(NOTHING_IS_FORGOTTEN[2])), what

    async def is_back() -> bool:
        await showroom.world.gateway("POST", "settle", {})
        return (await showroom.tables.payments.get(payment.id)).state is PaymentState.REFUNDED

    await showroom.work_until(is_back)
    after = await showroom.tables.payments.get(payment.id)
    assert (after.refunded_amount, after.disputed_amount) == (payment.amount, 0)


async def gives_back_all_it_can(showroom: Showroom, order: Order) -> None:
    """Let the job that gives back end: from then on nothing looks at the order's money."""

    async def has_ended() -> bool:
        await showroom.world.gateway("POST", "settle", {})
        return "refund_order" not in await showroom.work_of(order.id)

    await showroom.work_until(has_ended)


async def delivered(showroom: Showroom) -> Order:
    """Return an order whose vehicle is with its customer."""
    order = await showroom.ready()
    await showroom.pay_rest(order)
    scheduled = await showroom.orders.orders.get(order.id)
    return await showroom.orders.partner_events.delivery_completed(scheduled.delivery_id or "")


async def refunded(showroom: Showroom) -> list[int]:
    """Return what was asked to be given back."""
    return [row["amount"] for row in await showroom.database.fetch("select amount from refunds")]


async def pay_on_the_page(showroom: Showroom, url: str) -> None:
    """Type a good card into the gateway's own page."""
    form = {"action": "pay", "number": "4242 4242 4242 4242", "expiry": "12/39", "cvc": "123"}
    async with showroom.world.http.post(url, data=form, allow_redirects=False) as answer:
        assert answer.status < 400, await answer.text()
