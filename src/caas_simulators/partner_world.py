"""The simulated Factory, Admin Registration and Transport System, with one clock and journal.

Diagrams 2 and 3: the factory accepts an order and later reports that the vehicle is ready; the
administration registers it; the transport delivers it and reports the delivery.

Rules a change must keep: a partner later completes what it accepted, also after a restart, unless a
scripted fault prevents it; each report is a signed webhook; an action performed twice shows as two
records.
"""

import asyncio
import random
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from caas_simulators.faults import Action, Faults
from caas_simulators.fleet_entry import key_from_fleet
from caas_simulators.idempotency_keys import StoredAnswers
from caas_simulators.journal import ClockMoved, Delivered, Event, Journal
from caas_simulators.partner_records import (
    BookedDelivery,
    BookedOrder,
    BookedRegistration,
    DeliveryRequest,
    FactoryOrder,
    FactoryOrderRequest,
    Record,
    Registration,
    RegistrationRequest,
    ScheduledDelivery,
    plate,
)
from caas_simulators.partner_store import PartnerStore
from caas_simulators.simulated_time import Agenda, Clock, rfc3339
from caas_simulators.webhook_sender import Target, WebhookSender

OPERATIONS = frozenset({"orders", "registrations", "deliveries", "find"})
DAY = 86_400.0


class PartnerSettings(msgspec.Struct, kw_only=True):
    """Settings of the partners; durations are in simulated seconds."""

    seed: int | None = None
    time_scale: float = 1.0
    build_seconds: float = 30 * DAY
    delivery_seconds: float = 3 * DAY
    key_lifetime_seconds: float = DAY
    factory_webhooks: Target = msgspec.field(default_factory=Target)
    transport_webhooks: Target = msgspec.field(default_factory=Target)
    tokens: frozenset[str] = frozenset({"sk_simulated"})
    fleet_url: str | None = None
    state_file: Path | None = None
    control: bool = True


class PartnerWorld:
    """The three partners."""

    def __init__(self, settings: PartnerSettings) -> None:
        """Build every part; needs a running event loop."""
        self.settings = settings
        self.clock = Clock(settings.time_scale)
        self.agenda = Agenda(self.clock)
        self.journal = Journal(settings.state_file, msgspec.json.Decoder(Record))
        self.chance = random.Random(settings.seed)
        self.faults = Faults(self.chance, OPERATIONS, self.journal.write)
        self.store = PartnerStore(self.clock, self.journal, self.chance)
        self.sender = WebhookSender(self.clock, self.faults, self._delivered)
        self.store.sender = self.sender
        self.keys = StoredAnswers(self.clock, self.journal.write, settings.key_lifetime_seconds)
        self._tasks: set[asyncio.Task[None]] = set()
        self._first_plate = self.chance.randrange(10_000_000, 60_000_000)
        self.agenda.register("ready", self._ready_when_due)
        self.agenda.register("completed", self._completed_when_due)
        self._replay()
        self.journal.compact_with(self._snapshot)

    def advance(self, world_seconds: float, *, until: datetime | None = None) -> None:
        """Move the clock forward; what becomes due is done at its time."""
        if until is None:
            self.agenda.advance(world_seconds)
        else:
            self.agenda.advance_to(until.timestamp())
        self.journal.write(ClockMoved(seconds=self.clock.moved_seconds))

    async def close(self) -> None:
        """Stop; keep the journal."""
        self.agenda.stop()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.sender.close()
        self.journal.close()

    def order(self, request: FactoryOrderRequest, key: str, action: Action) -> FactoryOrder:
        """Accept an order; the vehicle is ready after its build time."""
        order = FactoryOrder(
            factory_order_id=self.store.new_id("fac"),
            reference=request.reference,
            status="in_production",
            vin=request.vin or self.store.new_vin(),
            model=request.model,
            dealership=request.dealership,
            created_at=rfc3339(self.clock.now()),
        )
        due_at = self._due_at(self.settings.build_seconds, action)
        booked = BookedOrder(reported=order, key=key, due_at=due_at)
        self.store.keep(booked)
        self._note("ready", order.factory_order_id, due_at)
        return order

    def register(self, request: RegistrationRequest, key: str, action: Action) -> Registration:
        """Matriculate a vehicle; its plate is assigned at once."""
        del action
        registration = Registration(
            registration_id=self.store.new_id("mat"),
            reference=request.reference,
            vin=request.vin,
            order_id=request.order_id,
            customer_reference=request.customer_reference,
            plate=plate(self._first_plate + len(self.store.registrations)),
            registered_at=rfc3339(self.clock.now()),
        )
        self.store.keep(BookedRegistration(reported=registration, key=key))
        return registration

    def schedule(self, request: DeliveryRequest, key: str, action: Action) -> ScheduledDelivery:
        """Schedule a delivery; it is completed when due."""
        span = self.clock.span(self.settings.delivery_seconds)
        delivery = ScheduledDelivery(
            delivery_id=self.store.new_id("del"),
            reference=request.reference,
            status="scheduled",
            vin=request.vin,
            order_id=request.order_id,
            destination=request.destination,
            scheduled_for=rfc3339(self.clock.now() + span),
        )
        due_at = self._due_at(self.settings.delivery_seconds, action)
        booked = BookedDelivery(reported=delivery, key=key, due_at=due_at)
        self.store.keep(booked)
        self._note("completed", delivery.delivery_id, due_at)
        return delivery

    async def make_ready(self, booked: BookedOrder, public_key: str | None = None) -> None:
        """Finish a vehicle, add it to the fleet, and report that it is ready."""
        order = booked.reported
        known = public_key or order.public_key
        order.public_key = known or await key_from_fleet(self.settings.fleet_url, order.vin)
        order.status = "ready"
        reported = {
            "factory_order_id": order.factory_order_id,
            "order_id": order.reference,
            "reference": order.reference,
            "vin": order.vin,
            "public_key": order.public_key,
        }
        self.store.notify("vehicle.ready", booked, reported, self.settings.factory_webhooks)

    def complete(self, booked: BookedDelivery) -> None:
        """Deliver a vehicle, and report the delivery."""
        delivery = booked.reported
        delivery.status = "completed"
        reported = {
            "delivery_id": delivery.delivery_id,
            "order_id": delivery.order_id or delivery.reference,
            "reference": delivery.reference,
            "vin": delivery.vin,
            "delivered_at": rfc3339(self.clock.now()),
        }
        self.store.notify("delivery.completed", booked, reported, self.settings.transport_webhooks)

    def _due_at(self, usual_seconds: float, action: Action) -> float | None:
        if action.never_ready:
            return None
        scripted = action.done_after_seconds
        return self.clock.now() + self.clock.span(usual_seconds if scripted is None else scripted)

    def _note(self, kind: str, subject_id: str, due_at: float | None) -> None:
        if due_at is not None:
            self.agenda.note(due_at, kind, subject_id)

    def _ready_when_due(self, order_id: str) -> None:
        booked = self.store.orders[order_id]
        if booked.reported.status != "ready":
            task = asyncio.get_running_loop().create_task(self.make_ready(booked))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _completed_when_due(self, delivery_id: str) -> None:
        booked = self.store.deliveries[delivery_id]
        if booked.reported.status != "completed":
            self.complete(booked)

    def _delivered(self, event: Event) -> None:
        self.journal.write(Delivered(event_id=event.id))

    def _snapshot(self) -> Iterator[Record]:
        """Yield records that restore the partners when replayed."""
        yield ClockMoved(seconds=self.clock.moved_seconds)
        for name in ("orders", "registrations", "deliveries"):
            yield from self.store.collection(name).values()
        yield from self.keys.snapshot()
        yield from self.faults.snapshot()
        yield from self.sender.undelivered.values()

    def _replay(self) -> None:
        undelivered = self.store.replay(self.keys.remember, self.faults.take_back)
        if self.journal.records_read and self.settings.seed is not None:
            self.chance.seed(f"{self.settings.seed}:{self.journal.records_read}")
        for order_id, order in self.store.orders.items():
            if order.reported.status != "ready":
                self._note("ready", order_id, order.due_at)
        for delivery_id, delivery in self.store.deliveries.items():
            if delivery.reported.status != "completed":
                self._note("completed", delivery_id, delivery.due_at)
        for event in undelivered:
            from_factory = event.type == "vehicle.ready"
            settings = self.settings
            target = settings.factory_webhooks if from_factory else settings.transport_webhooks
            self.sender.send(event, target)
