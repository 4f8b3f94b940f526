"""What a vehicle has on follows from what was sold for it, whatever happens to one purchase."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.entitlements import AlreadyRunningError, PurchasePendingError, Term
from caas.billing_database.invariant_scopes import touched_since
from caas.billing_database.invariants import INVARIANTS
from caas.billing_database.payments import Payment
from caas.billing_database.self_check import Checker, CheckLimits, InvariantCheck
from caas.external_systems.vehicle_messages import encode_command, request_topic
from caas.ota_activation_engine.commands import wire
from caas.payment_processing import PaymentRequest
from caas.payment_processing.service_withdrawal import (
    ServiceKeptError,
    TermDecisionRequiredError,
    WithdrawalPeriodOverError,
)
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.cars import COMMAND_KEYS
from tests.installation import VIN, Installation
from tests.subscription_installation import set_clock

SEATS = "heated-seats"
DAY = timedelta(days=1)


class Owner:
    """One customer of one car, who buys the same service again and again."""

    def __init__(self, installation: Installation, customer: UUID) -> None:
        self.installation = installation
        self.customer = customer

    async def orders(self, days: int) -> UUID:
        order = await self.installation.platform.service_catalog.create_service_order(
            customer=self.customer, vin=VIN, service=SEATS, duration_days=days, by_fleet=True
        )
        return order.id

    async def pays(self, order_id: UUID, method: str | None = "pm_ok") -> Payment:
        order = await self.installation.platform.service_catalog.service_order(order_id)
        payment = await self.installation.platform.payment_processing.initiate_service_payment(
            PaymentRequest(
                subject=order.id, customer=self.customer, amount=order.amount,
                currency=order.currency, payment_method=method,
            )
        )  # fmt: skip
        assert isinstance(payment, Payment)
        return payment

    async def buys(self, days: int) -> Payment:
        """Buy and have it active in the car."""
        payment = await self.pays(await self.orders(days))
        return await self.installation.until(payment.id, lambda p: p.captured_amount > 0)

    async def settled(self, days: int) -> Payment:
        payment = await self.buys(days)
        return await self.installation.until_settled(payment.id)

    async def fails_to_buy(self, days: int) -> Payment:
        payment = await self.pays(await self.orders(days))
        return await self.installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)

    async def withdraws(self, payment: Payment) -> None:
        await self.installation.platform.payment_processing.withdraw_from_service(
            payment.subject, requested_by="customer"
        )

    async def terms(self) -> list[Term]:
        return await self.installation.platform.tables.entitlements.terms(VIN, SEATS)

    def car_is_on_until(self) -> datetime | None:
        """Until when the car really has the service on; None when it is off."""
        service = self.installation.fleet.cars[VIN].services.get(SEATS)
        if service is None or not service.active:
            return None
        assert service.valid_until is not None
        return datetime.fromisoformat(service.valid_until)

    def car_does(self, behaviour: Behaviour, **how: object) -> None:
        manner = Manner(behaviour, **how)  # type: ignore[arg-type]
        self.installation.fleet.add(VIN, manner)

    def wakes(self) -> None:
        self.installation.fleet.wake(self.installation.fleet.cars[VIN])

    async def agree(self) -> datetime | None:
        """Wait until the car has on what the terms say, and say until when that is."""
        async with asyncio.timeout(120):
            while True:
                await self.installation.rest()
                state = await self.installation.platform.tables.entitlements.sync_state(VIN, SEATS)
                desired = state.desired_until if state and state.desired_on else None
                if self.car_is_on_until() == desired and state is not None and state.in_sync:
                    return desired
                await asyncio.sleep(0.01)


@pytest.fixture
async def owner(installation: Installation) -> Owner:
    await installation.platform.service_catalog.put_service(
        code=SEATS, name="Heated seats", kind="one_time", currency="EUR",
        prices=[{"duration_days": d, "amount": a} for d, a in ((30, 1299), (365, 9900))],
    )  # fmt: skip
    return Owner(installation, await installation.customer())


def days_left(until: datetime | None) -> int:
    assert until is not None, "the service is off"
    return round((until - datetime.now(UTC)) / DAY)


async def test_a_purchase_made_while_the_one_before_it_is_checked_is_no_violation(
    installation: Installation, owner: Owner
) -> None:
    await owner.buys(30)
    newest = next(it for it in INVARIANTS if it.name == "reported_states_are_the_newest")
    check = InvariantCheck(newest)

    async with installation.database.connection() as connection:
        all_of_it = [it async for it in touched_since(connection, datetime(2000, 1, 1, tzinfo=UTC))]
    await owner.buys(30)
    async with installation.database.connection() as connection:
        for touched in all_of_it:
            await Checker(connection, CheckLimits()).look(check, touched)

    assert check.finding().broken == 0


async def test_a_second_purchase_that_times_out_leaves_the_first_on(owner: Owner) -> None:
    first = await owner.buys(365)
    owner.car_does(Behaviour.ASLEEP)
    await owner.fails_to_buy(30)

    owner.wakes()

    assert days_left(await owner.agree()) == 365
    order = await owner.installation.platform.service_catalog.service_order(first.subject)
    assert order.state == "active"


async def test_a_second_purchase_that_is_refused_leaves_the_first_on_and_opens_no_case(
    owner: Owner,
) -> None:
    await owner.buys(365)
    owner.car_does(Behaviour.REFUSES)
    await owner.fails_to_buy(30)
    await owner.installation.rest()

    assert days_left(owner.car_is_on_until()) == 365
    assert not await owner.installation.platform.tables.cases.listed()


async def test_a_second_purchase_that_is_voided_by_call_leaves_the_first_on(owner: Owner) -> None:
    await owner.buys(365)
    owner.car_does(Behaviour.ASLEEP)
    payment = await owner.pays(await owner.orders(30))
    await owner.installation.platform.payment_processing.void_payment(payment.id, "changed my mind")

    owner.wakes()

    assert days_left(await owner.agree()) == 365


@pytest.mark.parametrize(("first", "second"), [(365, 30), (30, 30), (30, 365)])
async def test_buying_again_extends_whatever_was_bought_first(
    owner: Owner, first: int, second: int
) -> None:
    await owner.buys(first)
    await owner.buys(second)

    assert days_left(await owner.agree()) == first + second
    one, other = await owner.terms()
    assert one.ends_at == other.starts_at


async def test_of_two_purchases_at_once_one_is_refused_and_names_the_other(owner: Owner) -> None:
    async def buys() -> UUID:
        payment = await owner.pays(await owner.orders(30))
        return payment.subject

    outcomes = await asyncio.gather(*(buys() for _ in range(10)), return_exceptions=True)
    bought = [one for one in outcomes if isinstance(one, UUID)]
    refused = [one for one in outcomes if isinstance(one, PurchasePendingError)]

    assert len(bought) + len(refused) == len(outcomes)
    assert bought
    assert {str(one) for one in bought} >= {one.facts["service_order"] for one in refused}
    left = await owner.agree()
    assert days_left(left) == 30 * len(bought)


async def test_a_service_that_refuses_to_be_bought_twice_is_not_extended(owner: Owner) -> None:
    await owner.installation.platform.service_catalog.put_service(
        code=SEATS, name="Heated seats", kind="one_time", currency="EUR", repeat_purchase="refuse",
        prices=[{"duration_days": 30, "amount": 1299}],
    )  # fmt: skip
    await owner.buys(30)

    with pytest.raises(AlreadyRunningError):
        await owner.orders(30)


async def test_a_declined_purchase_frees_the_way_for_the_next(owner: Owner) -> None:
    order = await owner.orders(30)
    declined = await owner.pays(order, "pm_declined")
    assert declined.state is PaymentState.FAILED

    again = await owner.pays(order)
    await owner.installation.until(again.id, lambda p: p.captured_amount > 0)

    assert days_left(await owner.agree()) == 30


async def test_an_order_without_a_payment_does_not_stand_in_the_way_for_ever(
    owner: Owner, database: Database
) -> None:
    await owner.orders(30)
    with pytest.raises(PurchasePendingError):
        await owner.orders(30)
    await set_clock(database, datetime.now(UTC) + timedelta(minutes=2))

    await owner.buys(30)

    assert len([term for term in await owner.terms() if term.state == "granted"]) == 1


async def test_a_car_that_applies_a_voided_purchase_late_is_brought_back(owner: Owner) -> None:
    await owner.buys(365)
    owner.car_does(Behaviour.SILENT)
    voided = await owner.fails_to_buy(30)

    owner.car_does(Behaviour.OBEYS)

    assert days_left(await owner.agree()) == 365
    assert (await owner.installation.platform.tables.payments.get(voided.id)).captured_amount == 0


async def test_withdrawing_the_first_term_begins_the_second_at_once_at_full_length(
    owner: Owner,
) -> None:
    first = await owner.settled(365)
    await owner.settled(30)

    await owner.withdraws(first)

    assert days_left(await owner.agree()) == 30
    await owner.installation.until(first.id, lambda p: p.state is PaymentState.REFUNDED)


async def test_withdrawing_the_second_term_leaves_the_first(owner: Owner) -> None:
    await owner.settled(30)
    second = await owner.settled(365)

    await owner.withdraws(second)

    assert days_left(await owner.agree()) == 30


async def test_withdrawing_both_terms_switches_the_service_off(owner: Owner) -> None:
    first, second = await owner.settled(30), await owner.settled(30)

    await owner.withdraws(first)
    await owner.withdraws(second)

    assert await owner.agree() is None
    assert owner.car_is_on_until() is None
    for payment in (first, second):
        await owner.installation.until(payment.id, lambda p: p.state is PaymentState.REFUNDED)
        order = await owner.installation.platform.service_catalog.service_order(payment.subject)
        assert order.state == "withdrawn"


async def test_withdrawing_ends_the_term_before_the_car_has_heard_of_it(owner: Owner) -> None:
    payment = await owner.settled(30)
    owner.car_does(Behaviour.ASLEEP)

    await owner.withdraws(payment)
    await owner.installation.until(payment.id, lambda p: p.state is PaymentState.REFUNDED)

    (term,) = await owner.terms()
    assert term.state == "ended"
    owner.wakes()
    assert await owner.agree() is None


async def test_withdrawing_twice_refunds_once(owner: Owner) -> None:
    payment = await owner.settled(30)

    await owner.withdraws(payment)
    await owner.withdraws(payment)
    after = await owner.installation.until(payment.id, lambda p: p.state is PaymentState.REFUNDED)

    assert after.refunded_amount == after.captured_amount
    assert len((await owner.installation.platform.payment_processing.query_payment_status(
        payment.id)).refunds) == 1  # fmt: skip


async def test_withdrawing_after_the_period_is_refused(owner: Owner, database: Database) -> None:
    payment = await owner.settled(30)
    await set_clock(database, datetime.now(UTC) + 15 * DAY)

    with pytest.raises(WithdrawalPeriodOverError):
        await owner.withdraws(payment)
    assert (await owner.installation.platform.tables.payments.get(payment.id)).refunded_amount == 0


@pytest.mark.parametrize(("term", "left"), [("end", None), ("keep", 30)])
async def test_a_refund_in_full_asks_what_becomes_of_the_term(
    owner: Owner, term: str, left: int | None
) -> None:
    payment = await owner.settled(30)
    refund = owner.installation.platform.payment_processing.refund_payment

    with pytest.raises(TermDecisionRequiredError):
        await refund(payment.id, amount=payment.amount, reason="goodwill", key="a",
                     requested_by="operations")  # fmt: skip
    await refund(payment.id, amount=payment.amount, reason="goodwill", key="a",
                 requested_by="operations", term=term)  # fmt: skip

    until = await owner.agree()
    assert (None if until is None else days_left(until)) == left


async def test_a_refund_in_part_leaves_the_term(owner: Owner) -> None:
    payment = await owner.settled(30)

    await owner.installation.platform.payment_processing.refund_payment(
        payment.id, amount=300, reason="apology", key="a", requested_by="operations"
    )

    assert days_left(await owner.agree()) == 30


async def test_a_car_that_forgot_what_it_had_is_told_again(owner: Owner) -> None:
    await owner.buys(30)
    car = owner.installation.fleet.cars[VIN]
    car.services.clear()
    car.applied.clear()

    await owner.installation.platform.ota_activation_engine.synchronize(VIN)

    assert days_left(await owner.agree()) == 30


async def test_a_car_that_goes_back_to_an_old_command_is_told_again(owner: Owner) -> None:
    await owner.buys(30)
    first = next(iter(owner.installation.fleet.cars[VIN].applied))
    payment = await owner.settled(365)
    await owner.withdraws(payment)
    await owner.agree()
    old = await owner.installation.platform.tables.commands.command(UUID(first))
    assert old is not None

    car = owner.installation.fleet.cars[VIN]
    car.services.clear()
    car.applied.clear()
    owner.installation.fleet.receive(
        request_topic(VIN, first), encode_command(wire(old), COMMAND_KEYS), None
    )
    await owner.installation.rest()

    assert days_left(await owner.agree()) == 30
    newest = await owner.installation.platform.tables.entitlements.sync_state(VIN, SEATS)
    assert newest is not None
    assert newest.last_command != UUID(first)


async def test_a_request_whose_order_was_placed_before_gets_that_order_again(owner: Owner) -> None:
    """Its answer was lost between the order and the payment; it was told to wait for itself."""
    catalog = owner.installation.platform.service_catalog
    wanted = {
        "customer": owner.customer, "vin": VIN, "service": SEATS, "duration_days": 30,
        "request_key": b"the same request", "by_fleet": True,
    }  # fmt: skip
    first = await catalog.create_service_order(**wanted)  # type: ignore[arg-type]

    again = await catalog.create_service_order(**wanted)  # type: ignore[arg-type]

    assert again.id == first.id
    payment = await owner.pays(again.id)
    await owner.installation.until(payment.id, lambda p: p.captured_amount > 0)
    assert days_left(await owner.agree()) == 30


async def test_withdrawing_many_times_at_once_refunds_once_and_comes_to_an_end(
    owner: Owner,
) -> None:
    """Two processes began one refund; the second took its own money for a dispute's."""
    payment = await owner.settled(30)

    await asyncio.gather(*(owner.withdraws(payment) for _ in range(6)))
    after = await owner.installation.until(payment.id, lambda p: p.state is PaymentState.REFUNDED)

    status = await owner.installation.platform.payment_processing.query_payment_status(payment.id)
    assert [refund.state for refund in status.refunds] == ["succeeded"]
    assert after.refunded_amount == after.captured_amount


async def test_two_parts_at_once_that_leave_nothing_ask_what_becomes_of_the_term(
    owner: Owner,
) -> None:
    payment = await owner.settled(30)
    refund = owner.installation.platform.payment_processing.refund_payment

    outcomes = await asyncio.gather(
        *(
            refund(payment.id, amount=part, reason="apology", key=str(part), requested_by="ops")
            for part in (650, 649)
        ),
        return_exceptions=True,
    )

    refused = [one for one in outcomes if isinstance(one, BaseException)]
    assert [type(one) for one in refused] == [TermDecisionRequiredError]
    assert days_left(await owner.agree()) == 30


async def test_withdrawing_from_what_was_refunded_and_kept_undoes_nothing(owner: Owner) -> None:
    payment = await owner.settled(30)
    await owner.installation.platform.payment_processing.refund_payment(
        payment.id, amount=payment.amount, reason="apology", key="a", requested_by="ops",
        term="keep",
    )  # fmt: skip

    with pytest.raises(ServiceKeptError):
        await owner.withdraws(payment)
    after = await owner.installation.until(payment.id, lambda p: p.state is PaymentState.REFUNDED)
    with pytest.raises(ServiceKeptError):
        await owner.withdraws(payment)

    assert after.refunded_amount == payment.amount
    assert await owner.agree() is not None


async def test_withdrawing_from_what_the_bank_never_paid_ends_it_without_a_refund(
    owner: Owner,
) -> None:
    payment = await owner.pays(await owner.orders(30), "pm_settlement_fails")
    await owner.installation.until(
        payment.id, lambda p: p.captured_amount > 0 and p.outcome == "known"
    )
    await owner.installation.gateway_does("settle")
    failed = await owner.installation.until(
        payment.id, lambda p: p.state is PaymentState.SETTLEMENT_FAILED
    )

    await owner.withdraws(failed)

    assert await owner.agree() is None
