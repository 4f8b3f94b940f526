"""Final Payment: a path for each arrow and each branch of Diagram 3."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from caas.billing_database.cases import CaseNeedsDecisionError
from caas.billing_database.connection import Database
from caas.billing_database.orders import Order
from caas.dual_control import (
    AlreadyApprovedError,
    DecisionPendingError,
    NothingProposedError,
    SamePersonError,
)
from caas.order_management.fulfilment import ReservationLostError, VehicleNotReadyError
from caas.order_management.held_deposits import (
    DepositDecision,
    DepositOnForfeiture,
)
from caas.order_management.reservation import NotDueError, NotTheSumDueError
from caas.rules.market import tax_in
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.rules.vehicle_states import VehicleState
from tests.people import employed
from tests.showroom import DEALERSHIP, DEPOSIT, PRICE, Showroom, opened, simulated_world

NET_DEPOSIT = DEPOSIT.amount - tax_in(DEPOSIT.amount, 2100)


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom with everything at hand."""
    async with simulated_world() as world, opened(database, world) as built:
        yield built


async def test_a_paid_rest_registers_the_vehicle_and_schedules_its_delivery(
    showroom: Showroom,
) -> None:
    order = await showroom.ready()

    payment = await showroom.pay_rest(order)

    paid = await showroom.orders.orders.get(order.id)
    partners = await showroom.world.partners("GET", "ledger")
    [registration], [delivery] = partners["registrations"], partners["deliveries"]
    assert payment.state is PaymentState.CAPTURING
    assert payment.amount == PRICE.amount - DEPOSIT.amount
    assert paid.state is OrderState.DELIVERY_SCHEDULED
    assert (paid.plate, paid.delivery_id) == (registration["plate"], delivery["delivery_id"])
    assert registration["customer_reference"] == str(order.customer)
    assert (
        await showroom.orders.vehicles.get(order.vin or "")
    ).state is VehicleState.DELIVERY_SCHEDULED
    assert (await showroom.reported(order.customer))[-3:] == [
        "vehicle_ready", "payment_confirmed", "delivery_scheduled",
    ]  # fmt: skip
    assert [
        transitioned.event for transitioned in await showroom.orders.orders.timeline(order.id)
    ] == [
        "Order created",
        "Mark Vehicle Reserved",
        "Order Confirmation",
        "Vehicle Ready",
        "Mark Fully Paid",
        "Registration Complete",
        "Schedule Delivery",
    ]


async def test_a_delivered_vehicle_ends_the_order(showroom: Showroom) -> None:
    order = await showroom.ready()
    await showroom.pay_rest(order)
    delivery_id = (await showroom.orders.orders.get(order.id)).delivery_id or ""

    delivered = await showroom.orders.partner_events.delivery_completed(delivery_id)
    again = await showroom.orders.partner_events.delivery_completed(delivery_id)

    assert delivered.state is again.state is OrderState.DELIVERED
    assert delivered.version == again.version
    assert (await showroom.reported(order.customer))[-1] == "vehicle_delivered"


async def test_a_declined_final_payment_loses_the_reservation_at_once(showroom: Showroom) -> None:
    order = await showroom.ready()
    vin = order.vin or ""

    payment = await showroom.pay_rest(order, "pm_declined")

    vehicle = await showroom.orders.vehicles.get(vin)
    assert (payment.state, payment.decline_code) == (PaymentState.FAILED, "card_declined")
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.RESERVATION_LOST
    assert vehicle.state is VehicleState.SIN_ASIGNAR
    assert vehicle.in_stock_since is not None
    assert await showroom.orders.vehicles.assignments(vin=vin) == []
    assert (await showroom.reported(order.customer))[-1] == "reservation_lost"
    assert (await showroom.reported(DEALERSHIP, "dealership"))[-1] == "reservation_lost"
    assert (await showroom.world.partners("GET", "ledger"))["registrations"] == []


async def test_the_lost_vehicle_is_sold_to_another_customer_at_once(showroom: Showroom) -> None:
    lost = await showroom.ready()
    vin = lost.vin or ""
    await showroom.pay_rest(lost, "pm_insufficient_funds")

    bought = await showroom.ordered(vin, customer=await showroom.customer("Bea"))
    await showroom.reserve(bought)
    ready = await showroom.orders.orders.get(bought.id)
    payment = await showroom.pay_rest(ready)

    [assignment] = await showroom.orders.vehicles.assignments(vin=vin)
    everybody = await showroom.orders.vehicles.assignments(vin=vin, active_only=False)
    factory_orders = (await showroom.world.partners("GET", "ledger"))["orders"]
    assert ready.state is OrderState.READY, "a finished vehicle is not built again"
    assert len(factory_orders) == 1
    assert payment.state is PaymentState.CAPTURING
    assert assignment.customer == bought.customer
    assert {(one.order_id, one.ended_because) for one in everybody} == {
        (lost.id, "Mark Vehicle Sin Asignar"), (bought.id, None),
    }  # fmt: skip


async def test_after_a_declined_final_payment_there_is_no_second_one(showroom: Showroom) -> None:
    order = await showroom.ready()
    await showroom.pay_rest(order, "pm_declined")

    with pytest.raises(ReservationLostError):
        await showroom.pay_rest(order)

    payments = await showroom.tables.payments.listed(subject=order.id)
    assert [p.type for p in payments] == [PaymentType.FINAL, PaymentType.RESERVATION]


async def test_nothing_is_due_before_the_vehicle_is_ready(showroom: Showroom) -> None:
    order = await showroom.reserved(await showroom.stock())

    with pytest.raises(VehicleNotReadyError):
        await showroom.pay_rest(order)

    assert len(await showroom.tables.payments.listed(subject=order.id)) == 1


async def test_nothing_is_due_before_the_reservation(showroom: Showroom) -> None:
    order = await showroom.ordered(await showroom.stock())

    with pytest.raises(NotDueError):
        await showroom.pay_rest(order)


async def test_only_the_whole_rest_can_be_paid(showroom: Showroom) -> None:
    order = await showroom.ready()
    too_little = Money(order.rest.amount - 1, "EUR")

    with pytest.raises(NotTheSumDueError):
        await showroom.initiate(order, PaymentType.FINAL, too_little, "pm_ok")


async def test_web_and_mobile_at_once_make_one_payment(showroom: Showroom) -> None:
    """Fault F-F3: the same customer pays on two devices."""
    order = await showroom.ready()

    web, mobile = await asyncio.gather(showroom.pay_rest(order), showroom.pay_rest(order))

    ledger = await showroom.world.gateway("GET", "ledger")
    captured = [t for t in ledger["transactions"] if t["reference"] == str(web.id)]
    assert web.id == mobile.id
    assert len(captured) == 1
    assert captured[0]["captured"] == order.rest.amount


async def test_web_and_mobile_at_once_with_a_declined_card_lose_once(showroom: Showroom) -> None:
    order = await showroom.ready()

    answers = await asyncio.gather(
        showroom.pay_rest(order, "pm_declined"),
        showroom.pay_rest(order, "pm_declined"),
        return_exceptions=True,
    )

    payments = await showroom.tables.payments.listed(subject=order.id)
    assert [p.type for p in payments].count(PaymentType.FINAL) == 1
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.RESERVATION_LOST
    assert all(getattr(answer, "id", payments[0].id) == payments[0].id for answer in answers)


async def test_a_page_that_was_left_takes_no_vehicle_away(showroom: Showroom) -> None:
    """Decision 19: only a decline loses the reservation; nobody declined anything here."""
    order = await showroom.ready()
    payment = await showroom.pay_rest(order, None)
    await showroom.world.gateway("POST", "advance", {"seconds": 30 * 24 * 3600})

    await showroom.pass_time(60)
    await showroom.jobs.run_due()

    left = await showroom.tables.payments.get(payment.id)
    assert payment.hosted_page_url is not None
    assert "final_payment_not_made" not in await showroom.reported(order.customer)
    assert left.state is PaymentState.FAILED
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.READY
    assert (await showroom.pay_rest(order)).state is PaymentState.CAPTURING


async def test_a_final_payment_that_the_gateway_does_not_charge_fails_and_keeps_its_vehicle(
    showroom: Showroom,
) -> None:
    order = await showroom.ready()
    refused = {"status": 422, "code": "amount_too_large"}
    await showroom.world.gateway(
        "POST", "faults", {"match": {"operation": "initiate", "times": 1}, "action": refused}
    )

    payment = await showroom.pay_rest(order)

    [case] = await showroom.tables.cases.listed(subject=payment.id)
    assert (payment.state, payment.decline_code) == (PaymentState.FAILED, "amount_too_large")
    assert case.kind == "amount_refused"
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.READY
    assert (await showroom.pay_rest(order)).state is PaymentState.CAPTURING


@pytest.mark.parametrize("method", ["pm_ok", None])
@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "unauthorized"), (422, "unsupported_currency"), (422, "currency_not_supported")],
)
async def test_a_final_payment_that_our_settings_prevent_has_two_ways_out(
    showroom: Showroom, method: str | None, status: int, code: str
) -> None:
    """It is no decline: the customer may pay again once it is mended, or withdraw."""
    order = await showroom.ready()
    refused = {"status": status, "code": code}
    await showroom.world.gateway(
        "POST", "faults", {"match": {"operation": "initiate", "times": 2}, "action": refused}
    )

    payment = await showroom.pay_rest(order, method)
    again = await showroom.pay_rest(order, method)

    assert (payment.state, again.state) == (PaymentState.FAILED, PaymentState.FAILED)
    assert again.id != payment.id
    assert await showroom.tables.cases.listed(subject=payment.id)
    for reader, audience in ((order.customer, "customer"), (DEALERSHIP, "dealership")):
        told = await showroom.reported(reader, audience)
        assert told.count("final_payment_not_made") == 2
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.READY
    withdrawn = await showroom.orders.withdrawal.withdraw(order.id)
    assert withdrawn.state is OrderState.WITHDRAWN


@pytest.mark.parametrize("policy", list(DepositOnForfeiture))
async def test_the_deposit_of_a_lost_reservation_follows_the_policy(
    database: Database, policy: DepositOnForfeiture
) -> None:
    """Decision 21: held until a person decides, given back, or kept."""
    async with (
        simulated_world() as world,
        opened(database, world, reservation_deposit_on_forfeiture=policy) as showroom,
    ):
        order = await showroom.ready()
        await showroom.pay_rest(order, "pm_declined")

        await showroom.jobs.run_due()
        balances = await balances_of(showroom, order.id)
        refunds = await database.fetch("select amount, reason from refunds")
        [deposit] = [p for p in await showroom.tables.payments.listed(subject=order.id)
                     if p.type is PaymentType.RESERVATION]  # fmt: skip
        cases = [case.kind for case in await showroom.tables.cases.listed(subject=deposit.id)]

    held = NET_DEPOSIT if policy is DepositOnForfeiture.HOLD else 0
    assert -balances.get("reservation_held", 0) == held
    assert -balances.get("customer_deposits", 0) == NET_DEPOSIT - held
    assert -balances["output_vat"] == DEPOSIT.amount - NET_DEPOSIT
    assert ("deposit_held" in cases) == (policy is DepositOnForfeiture.HOLD)
    assert [dict(row) for row in refunds] == (
        [{"amount": DEPOSIT.amount, "reason": "reservation_lost"}]
        if policy is DepositOnForfeiture.REFUND
        else []
    )


async def held_deposit_of(showroom: Showroom) -> tuple[Order, UUID]:
    """Let a reservation be lost; return its order and the payment whose deposit is held."""
    order = await showroom.ready()
    await showroom.pay_rest(order, "pm_declined")
    [case] = await showroom.tables.cases.listed(kind="deposit_held")
    return order, case.subject


async def test_two_people_give_a_held_deposit_back(showroom: Showroom) -> None:
    order, payment = await held_deposit_of(showroom)
    investigation = showroom.orders.held_deposits

    await investigation.decide(
        payment,
        DepositDecision.REFUND,
        note="She may have it.",
        by=await employed(showroom.database, "carla"),
    )
    with pytest.raises(DecisionPendingError):
        await investigation.decide(
            payment,
            DepositDecision.KEEP,
            note="She may not.",
            by=await employed(showroom.database, "luis"),
        )
    with pytest.raises(SamePersonError):
        await investigation.agree(payment, by=await employed(showroom.database, "carla"))
    await investigation.agree(payment, by=await employed(showroom.database, "luis"))
    await showroom.jobs.run_due()
    with pytest.raises(AlreadyApprovedError, match="by luis at"):
        await investigation.agree(payment, by=await employed(showroom.database, "luis"))

    refunds = await showroom.database.fetch("select amount from refunds")
    balances = await balances_of(showroom, order.id)
    assert [row["amount"] for row in refunds] == [DEPOSIT.amount]
    assert balances.get("reservation_held", 0) == 0
    assert await showroom.tables.cases.listed(status="open") == []


async def test_a_proposal_is_withdrawn_and_another_one_keeps_the_deposit(
    showroom: Showroom,
) -> None:
    order, payment = await held_deposit_of(showroom)
    investigation = showroom.orders.held_deposits

    await investigation.decide(
        payment,
        DepositDecision.REFUND,
        note="She may have it.",
        by=await employed(showroom.database, "carla"),
    )
    await investigation.withdraw(payment, by=await employed(showroom.database, "carla"))
    with pytest.raises(NothingProposedError):
        await investigation.agree(payment, by=await employed(showroom.database, "luis"))
    await investigation.decide(
        payment,
        DepositDecision.KEEP,
        note="The contract says so.",
        by=await employed(showroom.database, "carla"),
    )
    await investigation.agree(payment, by=await employed(showroom.database, "luis"))

    balances = await balances_of(showroom, order.id)
    assert await showroom.database.fetch("select id from refunds") == []
    assert balances.get("reservation_held", 0) == 0
    assert -balances["customer_deposits"] == NET_DEPOSIT


async def test_the_database_refuses_one_person_who_decides_about_much(showroom: Showroom) -> None:
    _, payment = await held_deposit_of(showroom)
    investigation = showroom.orders.held_deposits
    await investigation.decide(
        payment, DepositDecision.KEEP, note="Mine.", by=await employed(showroom.database, "carla")
    )

    with pytest.raises(asyncpg.CheckViolationError, match="two people decide"):
        await showroom.database.fetch(
            "update deposit_decisions set state = 'agreed', decided_by = 'somebody else',"
            " decided_account = proposed_account, decided_at = db_now()"
        )


async def test_no_words_close_the_case_of_a_held_deposit(showroom: Showroom) -> None:
    """The case was closed with words, and the money stayed on its account for ever."""
    await held_deposit_of(showroom)
    [case] = await showroom.tables.cases.listed(kind="deposit_held")

    with pytest.raises(CaseNeedsDecisionError):
        await showroom.tables.cases.resolve(case.id, resolution="Done.", owner="Carla")

    assert (await showroom.tables.cases.get(case.id)).status == "open"


async def balances_of(showroom: Showroom, order_id: object) -> dict[str, int]:
    """Return what stands on each account for the payments of an order."""
    rows = await showroom.database.fetch(
        "select l.account, sum(l.amount)::bigint as amount from ledger_lines l"
        " join payments p on p.id = l.payment_id where p.subject = $1 group by l.account",
        order_id,
    )
    return {row["account"]: row["amount"] for row in rows}
