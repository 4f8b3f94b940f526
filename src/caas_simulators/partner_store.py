"""The order partners' records: orders, registrations, deliveries, and the events of each.

Rules a change must keep: a change is journalled together with its event, before the event is sent;
ids come from the seed.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from caas_simulators.faults import FaultActed, FaultRecord, FaultScripted, FaultsDeleted
from caas_simulators.journal import ClockMoved, Delivered, Event, Journal, StoredAnswer
from caas_simulators.partner_records import (
    VIN_SIGNS,
    Booked,
    BookedDelivery,
    BookedOrder,
    BookedRegistration,
    Record,
)
from caas_simulators.random_ids import random_id
from caas_simulators.simulated_time import Clock, rfc3339
from caas_simulators.webhook_sender import Target, WebhookSender

_ENCODER = msgspec.json.Encoder()


class PartnerStore:
    """The partners' records in memory, and the journal behind them."""

    def __init__(self, clock: Clock, journal: Journal[Record], chance: random.Random) -> None:
        """Draw ids from `chance`; `sender` is set before the first event."""
        self._clock = clock
        self.journal = journal
        self._chance = chance
        self.sender: WebhookSender
        self.orders: dict[str, BookedOrder] = {}
        self.registrations: dict[str, BookedRegistration] = {}
        self.deliveries: dict[str, BookedDelivery] = {}

    def collection(self, name: str) -> Mapping[str, Booked]:
        """Return one partner's records by id."""
        collections: dict[str, Mapping[str, Booked]] = {
            "orders": self.orders,
            "registrations": self.registrations,
            "deliveries": self.deliveries,
        }
        return collections[name]

    def keep(self, booked: Booked) -> None:
        """Store a record, and journal it."""
        self._enter(booked)
        self.journal.write(booked)

    def notify(
        self, event_type: str, booked: Booked, reported: Mapping[str, str | None], target: Target
    ) -> None:
        """Journal a change together with its event, then send the event."""
        event_id = self.new_id("evt")
        body = {
            "id": event_id,
            "type": event_type,
            "occurred_at": rfc3339(self._clock.now()),
            "data": reported,
        }
        event = Event(
            id=event_id,
            type=event_type,
            subject_id=next(iter(reported.values())) or "",
            reference=booked.reported.reference,
            body=_ENCODER.encode(body).decode(),
        )
        self.journal.write(booked, event)
        self.sender.send(event, target)

    def new_id(self, prefix: str) -> str:
        """Return a new unique id."""
        return random_id(prefix, chance=self._chance, letters=16)

    def new_vin(self) -> str:
        """Return a new VIN for a car without one."""
        return "VSS" + "".join(self._chance.choices(VIN_SIGNS, k=14))

    def replay(
        self,
        remember: Callable[[StoredAnswer], None],
        take_back_fault: Callable[[FaultRecord], None],
    ) -> list[Event]:
        """Restore journalled records; return the undelivered events."""
        undelivered: dict[str, Event] = {}
        take_back: dict[type[Record], Callable[[Any], object]] = {
            BookedOrder: self._enter,
            BookedRegistration: self._enter,
            BookedDelivery: self._enter,
            StoredAnswer: remember,
            Event: lambda one: undelivered.update({one.id: one}),
            Delivered: lambda one: undelivered.pop(one.event_id, None),
            ClockMoved: lambda one: setattr(self._clock, "moved_seconds", one.seconds),
            **dict.fromkeys((FaultScripted, FaultActed, FaultsDeleted), take_back_fault),
        }
        for record in self.journal.replay():
            take_back[type(record)](record)
        return list(undelivered.values())

    def _enter(self, booked: Booked) -> None:
        match booked:
            case BookedOrder():
                self.orders[booked.reported.factory_order_id] = booked
            case BookedRegistration():
                self.registrations[booked.reported.registration_id] = booked
            case BookedDelivery():
                self.deliveries[booked.reported.delivery_id] = booked
