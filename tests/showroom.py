"""A showroom for one test: real database, simulated gateway and order partners over sockets.

Only what the purchase of a vehicle needs, put together by hand, so that a test may kill a part of
it and build it anew over the same database.
"""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import aiohttp

from caas.billing_database import tables as billing_tables
from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.orders import Order
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.admin_registration import AdminRegistration
from caas.external_systems.factory import Factory
from caas.external_systems.http import HttpClient, HttpLimits, Secret
from caas.external_systems.notification_channel import OutgoingMessage
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.transport_system import TransportSystem
from caas.jobs import Answer, Done, JobQueue
from caas.notifications import Notifications
from caas.order_management import DepositOnForfeiture, OrderManagement, OrderPartners, OrderTerms
from caas.payment_processing.charges import Charges, charges_through
from caas.payment_processing.final_payment import FinalPayment
from caas.payment_processing.flow import Flows
from caas.payment_processing.gateway_calls import SYNCHRONOUS_PATIENCE_SECONDS
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.initiation import Accepted, Check, PaymentRequest, accept
from caas.payment_processing.page_ending import PageEnding
from caas.payment_processing.promised_refunds import OrderRefunds, PromisedRefunds
from caas.payment_processing.refunds import Refunds
from caas.payment_processing.reservation_payment import ReservationPayment
from caas.payment_processing.settlement import Settlement
from caas.payment_processing.unknown_outcomes import UnknownOutcomes
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.rules.time_scale import TimeScale
from caas_simulators import order_partners, payment_gateway
from caas_simulators.partner_world import PartnerSettings
from tests.buyers import gives_details
from tests.installation import quick_gateway
from tests.mortal import Fuse, Mortal, MortalDatabase
from tests.not_played import NotPlayed

TIME_SCALE = 1000.0
ROUNDS_MAX = 200
VIN = "WVWZZZ1JZXW000001"
KEY = bytes(range(32))
MODEL = "Uno"
PRICE = Money(3_000_000, "EUR")
DEPOSIT = Money(100_000, "EUR")
DEALERSHIP = "Autos Sol"
PACE = TimeScale(TIME_SCALE)
_vins = (f"WVWZZZ1JZXX{number:06d}" for number in itertools.count(1))


@dataclass(slots=True)
class Letterbox:
    """A channel that keeps what it is given."""

    letters: list[OutgoingMessage] = field(default_factory=list)

    async def send(self, message: OutgoingMessage) -> None:
        self.letters.append(message)

    async def forget(self, message_ids: frozenset[str]) -> None:
        """Keep it no longer."""
        self.letters = [one for one in self.letters if one.id not in message_ids]

    async def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True, slots=True)
class World:
    """The simulated gateway and partners, by their addresses."""

    gateway_url: str
    partners_url: str
    http: aiohttp.ClientSession

    async def gateway(self, method: str, what: str, body: object = None) -> Any:
        return await self._control(self.gateway_url, method, what, body)

    async def partners(self, method: str, what: str, body: object = None) -> Any:
        return await self._control(self.partners_url, method, what, body)

    async def gateway_fault(self, match: Mapping[str, object], **action: object) -> None:
        await self.gateway("POST", "faults", {"match": match, "action": action})

    async def partner_fault(self, match: Mapping[str, object], **action: object) -> None:
        await self.partners("POST", "faults", {"match": match, "action": action})

    async def _control(self, url: str, method: str, what: str, body: object) -> Any:
        async with self.http.request(method, f"{url}/_control/{what}", json=body) as answer:
            assert answer.ok, await answer.text()
            return await answer.json()


@dataclass(frozen=True, slots=True, kw_only=True)
class Showroom:
    """Order Management and the two flows of a vehicle purchase, over one database."""

    database: Database
    tables: BillingDatabase
    world: World
    gateway: PaymentGateway
    partners: OrderPartners
    jobs: JobQueue
    notifications: Notifications
    letterbox: Letterbox
    orders: OrderManagement
    charges: Charges
    reservation: ReservationPayment
    final: FinalPayment
    access_tokens: list[str]

    async def customer(self, name: str = "Ana") -> UUID:
        customer = await self.orders.ordering.create_customer(
            name=name, email=f"{name.lower()}@example.com", language="es"
        )
        await gives_details(self.database, customer.id)
        return customer.id

    async def stock(self, vin: str | None = None, *, finished: bool = False) -> str:
        vehicle = await self.orders.put_vehicle(
            vin=vin or next(_vins), model=MODEL, price=PRICE, public_key=None, finished=finished
        )
        return vehicle.vin

    async def ordered(self, vin: str | None = None, *, customer: UUID | None = None) -> Order:
        """Make an order of a vehicle, or of the model when no VIN is given."""
        return await self.orders.ordering.create_order(
            customer=customer or await self.customer(),
            vin=vin,
            model=None if vin else MODEL,
            dealership=DEALERSHIP,
            deposit=DEPOSIT,
        )

    async def reserve(self, order: Order, method: str | None = "pm_ok") -> Payment:
        """Pay the reservation as the facade does."""
        return await self.initiate(order, PaymentType.RESERVATION, order.deposit, method)

    async def pay_rest(self, order: Order, method: str | None = "pm_ok") -> Payment:
        """Pay the rest as the facade does."""
        return await self.initiate(order, PaymentType.FINAL, order.rest, method)

    async def initiate(
        self, order: Order, payment_type: PaymentType, amount: Money, method: str | None
    ) -> Payment:
        flow = self.reservation if payment_type is PaymentType.RESERVATION else self.final
        request = PaymentRequest(
            subject=order.id,
            customer=order.customer,
            amount=amount.amount,
            currency=amount.currency,
            payment_method=method,
        )
        check: Check = await flow.check_due(request)
        accepted = await accept(
            self.tables, request, payment_type, gateway="contract", time_scale=PACE, check=check
        )
        assert isinstance(accepted, Accepted)
        if not accepted.fresh:
            return accepted.payment
        return await self.charges.authorization.process_payment(
            accepted.payment,
            flow,
            patience_seconds=SYNCHRONOUS_PATIENCE_SECONDS,
        )

    async def reserved(self, vin: str | None = None) -> Order:
        """Return an order whose reservation is paid and whose factory order is placed."""
        order = await self.ordered(vin)
        await self.reserve(order)
        return await self.orders.orders.get(order.id)

    async def ready(self, vin: str | None = None) -> Order:
        """Return an order whose vehicle is ready."""
        order = await self.reserved(vin or await self.stock())
        assert order.vin is not None
        return await self.orders.partner_events.vehicle_ready(
            vin=order.vin, public_key=KEY, factory_order_id=order.factory_order_id
        )

    async def reported(self, recipient: str | UUID, audience: str = "customer") -> list[str]:
        """Return the templates a recipient was told, oldest first."""
        rows = await self.database.fetch(
            "select template from notifications where recipient = $1 and audience = $2 order by id",
            str(recipient), audience,
        )  # fmt: skip
        return [row["template"] for row in rows]

    async def work_of(self, subject: UUID) -> set[str]:
        rows = await self.database.fetch(
            "select kind from jobs where subject = $1 and paused_at is null", subject
        )
        return {row["kind"] for row in rows}

    async def pass_time(self, seconds: float) -> None:
        """Move the database's clock, as only tests do."""
        await self.as_owner(f"update caas.clock set moved = moved + interval '{seconds} seconds'")

    async def as_owner(self, statement: str) -> None:
        """Run a statement as the one who owns the schema, not as the application."""
        async with self.database.connection() as connection:
            await connection.execute("set role none")
            try:
                await connection.execute(statement)
            finally:
                await connection.execute("set role caas_app")

    async def work_until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Let workers work, and the database's time pass, until the condition holds."""
        for _ in range(ROUNDS_MAX):
            if await condition():
                return
            if not await self.jobs.run_due():
                await self.pass_time(1)
        raise AssertionError("it never came about")

    async def work_until_order(self, order_id: UUID, state: OrderState) -> Order:
        """Let workers work until an order is in a state."""

        async def there() -> bool:
            return (await self.orders.orders.get(order_id)).state is state

        await self.work_until(there)
        return await self.orders.orders.get(order_id)

    async def work_until_payment(self, payment_id: UUID, state: PaymentState) -> Payment:
        """Let workers work until a payment is in a state."""

        async def there() -> bool:
            return (await self.tables.payments.get(payment_id)).state is state

        await self.work_until(there)
        return await self.tables.payments.get(payment_id)

    async def cases(self) -> list[str]:
        """Return the kinds of all open cases."""
        return sorted(case.kind for case in await self.tables.cases.listed())


@asynccontextmanager
async def simulated_world(
    partner_settings: PartnerSettings | None = None,
) -> AsyncIterator[World]:
    """Run the gateway and the order partners."""
    async with AsyncExitStack() as stack:
        gateway_server, _ = await stack.enter_async_context(
            payment_gateway.running(quick_gateway(TIME_SCALE))
        )
        partner_server, _ = await stack.enter_async_context(
            order_partners.running(
                partner_settings or PartnerSettings(seed=1, time_scale=TIME_SCALE)
            )
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield World(gateway_server.url, partner_server.url, session)


@asynccontextmanager
async def opened(
    database: Database,
    world: World,
    *,
    reservation_deposit_on_forfeiture: DepositOnForfeiture = DepositOnForfeiture.HOLD,
    total_seconds: float = 2.0,
    fuse: Fuse | None = None,
) -> AsyncIterator[Showroom]:
    """Build a showroom over a database that another one may have used; a fuse makes it mortal."""
    limits = HttpLimits(total_seconds=total_seconds, connect_seconds=total_seconds / 2)
    clients = [
        HttpClient(url, partner=name, api_key=Secret("sk_simulated"), limits=limits)
        for name, url in (
            ("The payment gateway", world.gateway_url),
            ("The factory", world.partners_url),
            ("Admin Registration", world.partners_url),
            ("The transport", world.partners_url),
        )
    ]
    outside = _outside(clients)
    if fuse is not None:
        outside = Outside(*(cast("Any", Mortal(client, fuse)) for client in outside))
        database = MortalDatabase(database, fuse)
    try:
        yield _built(database, world, outside, reservation_deposit_on_forfeiture)
    finally:
        for client in clients:
            await client.close()


class Outside(NamedTuple):
    """The clients of everything outside."""

    gateway: PaymentGateway
    factory: Factory
    admin_registration: AdminRegistration
    transport_system: TransportSystem


def _outside(clients: list[HttpClient]) -> Outside:
    return Outside(
        SeedContractGateway(clients[0]),
        Factory(clients[1]),
        AdminRegistration(clients[2]),
        TransportSystem(clients[3]),
    )


def _built(
    database: Database, world: World, outside: Outside, deposit_on_forfeiture: DepositOnForfeiture
) -> Showroom:
    tables = billing_tables.opened(database)
    jobs = JobQueue(tables.jobs, tables.cases, PACE)
    letterbox = Letterbox()
    tokens: list[str] = []

    async def nobody(*_: object) -> Answer:
        """Refund letters and chargebacks are not the matter of these tests."""
        return Done()

    def access_url(token: str) -> str:
        tokens.append(token)
        return f"https://caas.example/access/{token}"

    notifications = Notifications(
        tables=tables,
        channel=letterbox,
        zone=ZoneInfo("Europe/Madrid"),
    )
    gateways = Gateways([outside.gateway], GatewayCalls(tables.database))
    charges = charges_through(gateways, tables, time_scale=PACE, alert=notifications.alert)
    refunds = Refunds(
        tables=tables, gateways=gateways, time_scale=PACE, notifications=notifications
    )
    promised = PromisedRefunds(tables, refunds, time_scale=PACE)
    partners = OrderPartners(
        factory=outside.factory,
        admin_registration=outside.admin_registration,
        transport_system=outside.transport_system,
    )
    orders = OrderManagement(
        tables=tables,
        partners=partners,
        notifications=notifications,
        jobs=jobs,
        terms=OrderTerms(
            time_scale=PACE,
            access_url=access_url,
            reservation_deposit_on_forfeiture=deposit_on_forfeiture,
        ),
    )
    order_refunds = OrderRefunds(
        tables=tables, promised_refunds=promised, notifications=notifications
    )
    reservation = ReservationPayment(
        tables=tables, charges=charges, order_management=orders, notifications=notifications
    )
    final = FinalPayment(
        tables=tables, charges=charges, order_management=orders, notifications=notifications
    )
    flows = Flows(
        reservation=reservation, final=final, service=NotPlayed(), subscription=NotPlayed()
    )
    unknown = UnknownOutcomes(
        tables=tables, gateways=gateways, charges=charges, flows=flows, time_scale=PACE
    )
    settlement = Settlement(
        tables=tables,
        gateways=gateways,
        charges=charges,
        flows=flows,
        alert=notifications.alert,
        time_scale=PACE,
        on_refund=refunds.on_event,
        on_dispute=nobody,
        on_notice=nobody,
    )
    ending = PageEnding(tables=tables, charges=charges, flows=flows)
    for part in (unknown, ending, settlement, refunds, promised, order_refunds, orders):
        part.register(jobs)
    return Showroom(
        database=database,
        tables=tables,
        world=world,
        gateway=outside.gateway,
        partners=partners,
        jobs=jobs,
        notifications=notifications,
        letterbox=letterbox,
        orders=orders,
        charges=charges,
        reservation=reservation,
        final=final,
        access_tokens=tokens,
    )
