"""What the Factory, Admin Registration and the Transport System do, simulated in one world.

Diagrams 2 and 3: the factory takes an order and tells later that the vehicle is ready; the
administration registers it; the transport brings it, and tells so.

Rules: a partner does what it accepted, later and by itself, unless a fault says never; each tells
of it by a signed webhook of its own; what is done twice shows as two records.
"""

import asyncio
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
import msgspec

from caas_simulators.faults import Action, Faults
from caas_simulators.gateway_records import Event
from caas_simulators.idempotency_keys import StoredAnswers
from caas_simulators.journal import Journal
from caas_simulators.partner_records import (
    VIN_SIGNS,
    DeliveryRequest,
    FactoryOrder,
    FactoryOrderRequest,
    PartnerRecord,
    Registration,
    RegistrationRequest,
    ScheduledDelivery,
    plate,
)
from caas_simulators.simulated_time import Agenda, Clock, rfc3339
from caas_simulators.webhook_sender import Target, WebhookSender

OPERATIONS = frozenset({"orders", "registrations", "deliveries", "find"})
DAY = 86_400.0
FLEET_SECONDS_MAX = 5.0
_ENCODER = msgspec.json.Encoder()


@dataclass(slots=True, kw_only=True)
class PartnerSettings:
    """How the partners are started; spans are in seconds of the world."""

    seed: int | None = None
    time_scale: float = 1.0
    build_seconds: float = 30 * DAY
    delivery_seconds: float = 3 * DAY
    key_lifetime_seconds: float = DAY
    factory_webhooks: Target = field(default_factory=Target)
    transport_webhooks: Target = field(default_factory=Target)
    fleet_url: str | None = None
    control: bool = True


class NewCar(msgspec.Struct):
    """What the fleet tells of a car it took in."""

    public_key: str


class PartnerWorld:
    """The parts of the three partners."""

    def __init__(self, settings: PartnerSettings) -> None:
        """Build every part; needs a running event loop."""
        self.settings = settings
        self.clock = Clock(settings.time_scale)
        self.agenda = Agenda(self.clock)
        self.chance = random.Random(settings.seed)
        self.faults = Faults(self.chance, OPERATIONS)
        self.sender = WebhookSender(self.clock, self.faults, lambda _event: None)
        self.keys = StoredAnswers(self.clock, Journal(None), settings.key_lifetime_seconds)
        self.records: dict[str, dict[str, PartnerRecord]] = {
            "orders": {},
            "registrations": {},
            "deliveries": {},
        }
        self._tasks: set[asyncio.Task[None]] = set()
        self._plates = self.chance.randrange(10_000_000, 60_000_000)
        self.agenda.register("ready", self._ready_when_due)
        self.agenda.register("completed", self._completed_when_due)

    async def close(self) -> None:
        """Stop everything."""
        self.agenda.stop()
        for task in tuple(self._tasks):
            task.cancel()
        await self.sender.close()

    def order(self, request: FactoryOrderRequest, action: Action) -> FactoryOrder:
        """Take an order; the vehicle is ready when it is built."""
        order = FactoryOrder(
            factory_order_id=self._new_id("fac"),
            reference=request.reference,
            status="in_production",
            vin=request.vin or self._new_vin(),
            model=request.model,
            dealership=request.dealership,
            created_at=rfc3339(self.clock.now()),
        )
        self.records["orders"][order.factory_order_id] = order
        self._note("ready", order.factory_order_id, self.settings.build_seconds, action)
        return order

    def register(self, request: RegistrationRequest, action: Action) -> Registration:
        """Matriculate a vehicle: it has its plate at once."""
        del action
        self._plates += 1
        registration = Registration(
            registration_id=self._new_id("mat"),
            reference=request.reference,
            vin=request.vin,
            order_id=request.order_id,
            customer_reference=request.customer_reference,
            plate=plate(self._plates),
            registered_at=rfc3339(self.clock.now()),
        )
        self.records["registrations"][registration.registration_id] = registration
        return registration

    def schedule(self, request: DeliveryRequest, action: Action) -> ScheduledDelivery:
        """Schedule a delivery; it is completed when its time has come."""
        span = self.clock.span(self.settings.delivery_seconds)
        delivery = ScheduledDelivery(
            delivery_id=self._new_id("del"),
            reference=request.reference,
            status="scheduled",
            vin=request.vin,
            order_id=request.order_id,
            destination=request.destination,
            scheduled_for=rfc3339(self.clock.now() + span),
        )
        self.records["deliveries"][delivery.delivery_id] = delivery
        self._note("completed", delivery.delivery_id, self.settings.delivery_seconds, action)
        return delivery

    async def make_ready(self, order: FactoryOrder, public_key: str | None = None) -> None:
        """Finish a vehicle, hand it to the fleet it drives with, and tell that it is ready."""
        order.public_key = public_key or order.public_key or await self._key_from_fleet(order.vin)
        order.status = "ready"
        told = {
            "factory_order_id": order.factory_order_id,
            "order_id": order.reference,
            "reference": order.reference,
            "vin": order.vin,
            "public_key": order.public_key,
        }
        self._tell("vehicle.ready", order.reference, told, self.settings.factory_webhooks)

    def complete(self, delivery: ScheduledDelivery) -> None:
        """Bring a vehicle to its destination, and tell so."""
        delivery.status = "completed"
        told = {
            "delivery_id": delivery.delivery_id,
            "order_id": delivery.order_id or delivery.reference,
            "reference": delivery.reference,
            "vin": delivery.vin,
            "delivered_at": rfc3339(self.clock.now()),
        }
        self._tell("delivery.completed", delivery.reference, told, self.settings.transport_webhooks)

    def _note(self, kind: str, subject_id: str, usual_seconds: float, action: Action) -> None:
        if action.never_ready:
            return
        scripted = action.done_after_seconds
        span = self.clock.span(usual_seconds if scripted is None else scripted)
        self.agenda.note(self.clock.now() + span, kind, subject_id)

    def _ready_when_due(self, order_id: str) -> None:
        order = self.records["orders"][order_id]
        assert isinstance(order, FactoryOrder)
        if order.status != "ready":
            task = asyncio.get_running_loop().create_task(self.make_ready(order))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _completed_when_due(self, delivery_id: str) -> None:
        delivery = self.records["deliveries"][delivery_id]
        assert isinstance(delivery, ScheduledDelivery)
        if delivery.status != "completed":
            self.complete(delivery)

    async def _key_from_fleet(self, vin: str) -> str | None:
        """Let the fleet take in a new car and return the key it signs with, if there is one."""
        if self.settings.fleet_url is None:
            return None
        url = f"{self.settings.fleet_url}/_control/vehicles"
        timeout = aiohttp.ClientTimeout(total=FLEET_SECONDS_MAX)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(url, json={"vin": vin}) as answer,
            ):
                car = msgspec.json.decode(await answer.read(), type=NewCar)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            sys.stderr.write(f"The fleet did not take in {vin}: {error!r}\n")
            return None
        return car.public_key

    def _tell(
        self, event_type: str, reference: str, told: Mapping[str, str | None], target: Target
    ) -> None:
        event_id = self._new_id("evt")
        body = {
            "id": event_id,
            "type": event_type,
            "occurred_at": rfc3339(self.clock.now()),
            "data": told,
        }
        event = Event(
            id=event_id,
            type=event_type,
            transaction_id="",
            reference=reference,
            body=_ENCODER.encode(body).decode(),
        )
        self.sender.send(event, target)

    def _new_id(self, prefix: str) -> str:
        return f"{prefix}_{self.chance.getrandbits(64):016x}"

    def _new_vin(self) -> str:
        return "VSS" + "".join(self.chance.choices(VIN_SIGNS, k=14))
