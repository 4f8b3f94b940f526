"""The flows of the seed as stories a process may die in (Diagrams 2, 3, 4, 6 and the refund).

Rules: each story ends in the same place whoever dies in it; what a customer or a partner sees of
it is counted at the gateway, at the partners and in the cars, not in our books.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from msgspec.structs import replace

from caas.billing_database.idempotency import hashed
from caas.payment_processing import CallerKey, PaymentRequest
from caas.platform import Platform
from caas.rules.mes_vencido import Month
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.service_catalog.subscriptions import AlreadySubscribedError
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.buyers import gives_details
from tests.robustness.deaths import Story, until_quiet
from tests.robustness.living_world import MADRID, LivingWorld, Process

VIN = "WVWZZZ1JZXW000001"
MODEL = "Uno"
PRICE = Money(3_000_000, "EUR")
DEPOSIT = Money(100_000, "EUR")
STATES = "select state from caas.payments where subject = $1 order by id"
ORDER = "select state, vin from caas.orders where id = $1"
OWNERS = "select count(*) from caas.vehicle_assignments where vin = $1 and active"

Ends = Callable[[LivingWorld, PaymentRequest], Awaitable[list[str]]]


def request_for(subject: UUID, customer: UUID, amount: Money, method: str | None) -> PaymentRequest:
    """Return a caller's request with its key."""
    return PaymentRequest(
        subject=subject,
        customer=customer,
        amount=amount.amount,
        currency=amount.currency,
        payment_method=method,
        caller_key=CallerKey("caller", hashed(f"key {subject}"), hashed("request")),
    )


async def customer_of(process: Process) -> UUID:
    """Make a customer."""
    orders = process.platform.order_management
    made = await process.call(
        lambda: orders.ordering.create_customer(name="Ana", email="ana@example.com", language="es")
    )
    await process.call(lambda: gives_details(process.platform.tables.database, made.id))
    return made.id


async def car_of(world: LivingWorld, process: Process, vin: str = VIN) -> None:
    """Put a car on the road and into the books."""
    key = world.public_key(vin)
    await process.call(
        lambda: process.platform.order_management.put_vehicle(
            vin=vin, model=MODEL, price=PRICE, public_key=key, finished=True
        )
    )


def in_state(*states: PaymentState) -> Ends:
    """The subject has exactly these payments."""

    async def ends(world: LivingWorld, request: PaymentRequest) -> list[str]:
        found = [row["state"] for row in await world.owner.fetch(STATES, request.subject)]
        return [] if found == [state.value for state in states] else [f"payments: {found}"]

    return ends


# -- Diagram 4: a one-time service ----------------------------------------------------------------


async def heated_seats(
    world: LivingWorld, process: Process, method: str | None = "pm_ok", *, vin: str = VIN
) -> PaymentRequest:
    """Order heated seats for a month."""
    catalog = process.platform.service_catalog
    customer = await customer_of(process)
    await car_of(world, process, vin)
    await process.call(
        lambda: catalog.put_service(
            code="heated-seats", name="Heated seats", kind="one_time", currency="EUR",
            prices=[{"duration_days": 30, "amount": 1299}],
        )
    )  # fmt: skip
    order = await process.call(
        lambda: catalog.create_service_order(
            customer=customer, vin=vin, service="heated-seats", duration_days=30, by_fleet=True
        )
    )
    return request_for(order.id, customer, Money(order.amount, order.currency), method)


async def buys_service(platform: Platform, request: PaymentRequest) -> object:
    """Pay for the service."""
    return await platform.payment_processing.initiate_service_payment(request)


def service(name: str, method: str, state: PaymentState, manner: Manner | None = None) -> Story:
    """A customer buys heated seats."""

    async def prepare(world: LivingWorld, process: Process) -> PaymentRequest:
        request = await heated_seats(world, process, method)
        world.fleet.add(VIN, manner)
        return request

    return Story(name=name, prepare=prepare, live=buys_service, ends=in_state(state))


# -- the same service again, in the same car (decisions 82 and 84) --------------------------------

SOLD = """
select sum(ends_at - starts_at) as length, max(ends_at) as until from caas.entitlement_terms
 where state = 'granted'
"""


@dataclass(frozen=True, slots=True)
class RetryIn:
    """What was bought before, and what is bought now."""

    before: PaymentRequest
    now: PaymentRequest


async def bought_again(world: LivingWorld, process: Process) -> RetryIn:
    """Buy heated seats and have them active, then order them for another month."""
    before = await heated_seats(world, process)
    await process.call(lambda: buys_service(process.platform, before))
    await until_quiet(world, process)
    order = await process.call(
        lambda: process.platform.service_catalog.create_service_order(
            customer=before.customer,
            vin=VIN,
            service="heated-seats",
            duration_days=30,
            by_fleet=True,
        )
    )
    due = Money(order.amount, order.currency)
    return RetryIn(before, request_for(order.id, order.customer, due, "pm_ok"))


def sold_and_on(
    days: int, *, before: PaymentState, now: PaymentState
) -> Callable[[LivingWorld, RetryIn], Awaitable[list[str]]]:
    """So many days are sold, the car has them on, and the two payments are there."""

    async def ends(world: LivingWorld, again: RetryIn) -> list[str]:
        wrong = await in_state(before)(world, again.before)
        wrong += await in_state(now)(world, again.now)
        sold = await world.owner.fetchrow(SOLD)
        assert sold is not None, "a sum is one row"
        if (sold["length"] or timedelta()) != timedelta(days=days):
            wrong.append(f"sold: {sold['length']}")
        seats = world.fleet.cars[VIN].services["heated-seats"]
        until = datetime.fromisoformat(seats.valid_until or "") if seats.active else None
        return wrong if until == sold["until"] else [*wrong, f"on until {until}, not {sold}"]

    return ends


def second_purchase(name: str, days: int, now: PaymentState, manner: Manner | None = None) -> Story:
    """A customer buys again what runs already; the car takes the second as it likes."""

    async def prepare(world: LivingWorld, process: Process) -> RetryIn:
        again = await bought_again(world, process)
        world.fleet.add(VIN, manner)
        return again

    async def live(platform: Platform, again: RetryIn) -> object:
        return await buys_service(platform, again.now)

    ends = sold_and_on(days, before=PaymentState.SETTLED, now=now)
    return Story(name=name, prepare=prepare, live=live, ends=ends)


def withdrawal_of_the_first(name: str) -> Story:
    """A customer withdraws from the term that runs; the next one begins at once."""

    async def prepare(world: LivingWorld, process: Process) -> RetryIn:
        again = await bought_again(world, process)
        await process.call(lambda: buys_service(process.platform, again.now))
        await until_quiet(world, process)
        return again

    async def live(platform: Platform, again: RetryIn) -> None:
        await platform.payment_processing.withdraw_from_service(
            again.before.subject, requested_by="customer"
        )

    ends = sold_and_on(30, before=PaymentState.REFUNDED, now=PaymentState.SETTLED)
    return Story(name=name, prepare=prepare, live=live, ends=ends)


# -- Diagrams 2 and 3: a vehicle ------------------------------------------------------------------


async def ordered(
    process: Process, method: str, *, vin: str = VIN, deposit: Money = DEPOSIT
) -> PaymentRequest:
    """Order a vehicle that has to be built."""
    orders = process.platform.order_management
    customer = await customer_of(process)
    await process.call(lambda: orders.put_vehicle(vin=vin, model=MODEL, price=PRICE))
    order = await process.call(
        lambda: orders.ordering.create_order(
            customer=customer, vin=vin, model=None, dealership="Autos Sol", deposit=deposit
        )
    )
    return request_for(order.id, customer, deposit, method)


async def reserves(platform: Platform, request: PaymentRequest) -> object:
    """Pay the reservation."""
    return await platform.payment_processing.initiate_reservation_payment(request)


async def pays_rest(platform: Platform, request: PaymentRequest) -> object:
    """Pay the rest."""
    return await platform.payment_processing.initiate_final_payment(request)


def order_ends(
    state: OrderState, *payments: PaymentState, owners: int, partners: dict[str, int]
) -> Ends:
    """The order is there, the vehicle has so many owners, partners were asked so often."""

    async def ends(world: LivingWorld, request: PaymentRequest) -> list[str]:
        wrong = await in_state(*payments)(world, request)
        order = await world.owner.fetchrow(ORDER, request.subject)
        if order is None or order["state"] != state:
            wrong.append(f"the order is {order}")
        if await world.owner.fetchval(OWNERS, VIN) != owners:
            wrong.append("the vehicle has another number of owners")
        ledger = await world.partners("GET", "ledger")
        asked = {name: len(ledger[name]) for name in partners}
        return wrong if asked == partners else [*wrong, f"partners were asked: {asked}"]

    return ends


def reservation(name: str, method: str, ends: Ends) -> Story:
    """A customer reserves a vehicle."""

    async def prepare(_: LivingWorld, process: Process) -> PaymentRequest:
        return await ordered(process, method)

    return Story(name=name, prepare=prepare, live=reserves, ends=ends)


def final(name: str, method: str, ends: Ends, cases: frozenset[str] = frozenset()) -> Story:
    """A customer pays the rest of a vehicle that is ready."""

    async def prepare(world: LivingWorld, process: Process) -> PaymentRequest:
        deposit = await ordered(process, "pm_ok")
        orders = process.platform.order_management
        await process.call(lambda: reserves(process.platform, deposit))
        await until_quiet(world, process)
        order = await process.call(lambda: orders.orders.get(deposit.subject))
        await process.call(
            lambda: orders.partner_events.vehicle_ready(
                vin=VIN,
                public_key=world.public_key(VIN),
                factory_order_id=order.factory_order_id,
            )
        )
        await until_quiet(world, process)
        rest = order.rest
        request = request_for(order.id, order.customer, rest, method)
        return replace(request, caller_key=CallerKey("caller", hashed("final"), hashed("request")))

    return Story(name=name, prepare=prepare, live=pays_rest, ends=ends, cases=cases)


# -- desistimiento --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A refund that is asked for."""

    payment_id: UUID
    subject: UUID
    amount: int


def refund(name: str, amount: int, state: PaymentState) -> Story:
    """A customer gets money back."""

    async def prepare(world: LivingWorld, process: Process) -> Withdrawal:
        request = await heated_seats(world, process)
        payment = await process.call(lambda: buys_service(process.platform, request))
        await until_quiet(world, process)
        return Withdrawal(payment.id, request.subject, amount)  # type: ignore[attr-defined]

    async def live(platform: Platform, withdrawal: Withdrawal) -> object:
        return await platform.payment_processing.refund_payment(
            withdrawal.payment_id,
            amount=withdrawal.amount,
            reason="desistimiento",
            key="one",
            requested_by="operations",
        )

    async def ends(world: LivingWorld, withdrawal: Withdrawal) -> list[str]:
        rows = await world.owner.fetch(STATES, withdrawal.subject)
        ledger = await world.gateway("GET", "ledger")
        seen = ([row["state"] for row in rows], ledger["refunds"],
                sum(one["refunded"] for one in ledger["transactions"]))  # fmt: skip
        due = ([state.value], 1, amount)
        return [] if seen == due else [f"refunded: {seen}, due: {due}"]

    return Story(name=name, prepare=prepare, live=live, ends=ends)


# -- Diagram 6: a subscription --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Who subscribes to what."""

    customer: UUID
    month: Month | None = None


SUBSCRIPTION = """
select s.state, array_agg(p.state order by p.id) as payments,
       (select count(*) from caas.invoices i where i.subscription = s.id) as invoices
  from caas.subscriptions s left join caas.payments p on p.customer = s.customer group by s.id
"""


async def subscriber(world: LivingWorld, process: Process, *, vin: str = VIN) -> Subscriber:
    """Put a subscription into the catalogue for a customer with a car."""
    customer = await customer_of(process)
    await car_of(world, process, vin)
    await process.call(
        lambda: process.platform.service_catalog.put_service(
            code="range-plus", name="Range plus", kind="subscription", currency="EUR",
            monthly_fee=2990, metered=[{"unit": "kWh", "unit_price": 12}],
        )
    )  # fmt: skip
    return Subscriber(customer)


async def subscribes(
    platform: Platform, subscriber: Subscriber, *, vin: str = VIN, method: str = "pm_ok"
) -> object:
    """Subscribe; asking again is told that it is done."""
    try:
        return await platform.payment_processing.subscribe(
            customer=subscriber.customer,
            vin=vin,
            service="range-plus",
            payment_method=method,
            by_fleet=True,
        )
    except AlreadySubscribedError:
        return None


def subscription_ends(state: str, invoices: int, *payments: PaymentState) -> Ends:
    """There is one subscription, and it and its payments are there."""

    async def ends(world: LivingWorld, _: object) -> list[str]:
        found = [dict(row) for row in await world.owner.fetch(SUBSCRIPTION)]
        due = {"state": state, "payments": [p.value for p in payments], "invoices": invoices}
        wrong = [] if found == [due] else [f"subscriptions: {found}"]
        switched_on = world.fleet.cars[VIN].services["range-plus"].active
        return wrong if switched_on == (state == "active") else [*wrong, "the car disagrees"]

    return ends


def month(name: str, ends: Ends, **fault: object) -> Story:
    """A month of a subscription is charged."""

    async def prepare(world: LivingWorld, process: Process) -> Subscriber:
        begun = await subscriber(world, process)
        await process.call(lambda: subscribes(process.platform, begun))
        await until_quiet(world, process)
        if fault:
            await world.gateway_fault({"operation": "initiate"}, **fault)
        ended = Month.containing(world.now(), MADRID)
        await world.pass_time((ended.interval(MADRID).end - world.now()).total_seconds() + 60.0)
        return Subscriber(begun.customer, ended)

    async def live(platform: Platform, subscriber: Subscriber) -> object:
        assert subscriber.month is not None
        return await platform.billing.run_month(subscriber.month)

    return Story(name=name, prepare=prepare, live=live, ends=ends)


_P = PaymentState
STORIES = {
    story.name: story
    for story in (
        service("service", "pm_ok", _P.SETTLED),
        service("service_declined", "pm_declined", _P.FAILED),
        service(
            "service_refused_by_car",
            "pm_ok",
            _P.VOIDED,
            Manner(Behaviour.REFUSES, only="activate"),
        ),
        service(
            "service_never_confirmed",
            "pm_ok",
            _P.VOIDED,
            Manner(Behaviour.SILENT, only="activate"),
        ),
        second_purchase("service_extended", 60, _P.SETTLED),
        second_purchase("service_extension_refused", 30, _P.VOIDED, Manner(Behaviour.REFUSES)),
        second_purchase(
            "service_extension_not_confirmed", 30, _P.VOIDED, Manner(Behaviour.SILENT, times=40)
        ),
        withdrawal_of_the_first("service_withdrawn_while_the_next_waits"),
        reservation(
            "reservation",
            "pm_ok",
            order_ends(
                OrderState.FACTORY_ORDER_PLACED, _P.SETTLED, owners=1, partners={"orders": 1}
            ),
        ),
        reservation(
            "reservation_declined",
            "pm_declined",
            order_ends(OrderState.RESERVATION_FAILED, _P.FAILED, owners=0, partners={"orders": 0}),
        ),
        final(
            "final",
            "pm_ok",
            order_ends(
                OrderState.DELIVERY_SCHEDULED,
                _P.SETTLED,
                _P.SETTLED,
                owners=1,
                partners={"orders": 1, "registrations": 1, "deliveries": 1},
            ),
        ),
        final(
            "final_declined",
            "pm_declined",
            order_ends(
                OrderState.RESERVATION_LOST,
                _P.SETTLED,
                _P.FAILED,
                owners=0,
                partners={"orders": 1, "registrations": 0, "deliveries": 0},
            ),
            frozenset({"deposit_held"}),
        ),
        refund("refund", 1299, _P.REFUNDED),
        refund("refund_of_a_part", 299, _P.SETTLED),
        Story(
            name="subscribing",
            prepare=subscriber,
            live=subscribes,
            ends=subscription_ends("active", 0, _P.VOIDED),
        ),
        month("month", subscription_ends("active", 1, _P.VOIDED, _P.SETTLED)),
        month(
            "month_declined",
            subscription_ends("cancelled", 1, _P.VOIDED, _P.FAILED),
            decline_code="card_declined",
        ),
    )
}
