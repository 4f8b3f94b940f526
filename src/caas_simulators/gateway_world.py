"""Builds a simulated payment gateway from its parts, and restores it from its journal.

Rules a change must keep: the parts receive their dependencies here and have no others; replaying
the journal restores the ledger, and what was still due becomes due again.
"""

import random
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from caas_simulators.banking_network import BankingNetwork
from caas_simulators.faults import FaultActed, Faults, FaultScripted, FaultsDeleted
from caas_simulators.gateway_records import (
    BookedLine,
    Booking,
    DayClosed,
    DisputeBooking,
    Record,
    RefundBooking,
)
from caas_simulators.gateway_refunds import Refunds
from caas_simulators.gateway_settlements import Settlements
from caas_simulators.gateway_store import Store, Terms
from caas_simulators.gateway_transactions import Transactions
from caas_simulators.idempotency_keys import StoredAnswers
from caas_simulators.journal import ClockMoved, Delivered, Event, Journal, StoredAnswer
from caas_simulators.settlement_report import SettlementReports
from caas_simulators.simulated_time import REPORTING_ZONE, Agenda, Clock
from caas_simulators.webhook_sender import Target, WebhookSender

OPERATIONS = frozenset({"initiate", "capture", "void", "refund", "find", "settlements"})


class GatewaySettings(msgspec.Struct, kw_only=True):
    """Settings of a gateway; without a seed, ids never repeat."""

    api_keys: frozenset[str] = frozenset({"sk_simulated"})
    public_url: str | None = None
    merchant: str = "CaaS"
    seed: int | None = None
    time_scale: float = 1.0
    zone: str = REPORTING_ZONE
    terms: Terms = msgspec.field(default_factory=Terms)
    webhooks: Target = msgspec.field(default_factory=Target)
    state_file: Path | None = None
    control: bool = True


class GatewayWorld:
    """One simulated gateway."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Build every part; needs a running event loop."""
        self.settings = settings
        self.clock = Clock(settings.time_scale, settings.zone)
        self.agenda = Agenda(self.clock)
        self.journal = Journal(settings.state_file, msgspec.json.Decoder(Record))
        self.chance = random.Random(settings.seed)
        self.faults = Faults(self.chance, OPERATIONS, self.journal.write)
        self.sender = WebhookSender(self.clock, self.faults, self._delivered)
        self.store = Store(self.agenda, self.journal, self.chance, self._send)
        self.keys = StoredAnswers(
            self.clock, self.journal.write, settings.terms.key_lifetime_seconds
        )
        self.reports = SettlementReports(self.store)
        self.bank = BankingNetwork(self.store, settings.terms)
        self.transactions = Transactions(self.store, self.bank, settings.terms)
        self.settlements = Settlements(self.store, self.bank, self.reports, settings.terms)
        self.refunds = Refunds(self.store, self.reports, settings.terms)
        self.settlements.settlement_known = self.refunds.settlement_known
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
        await self.sender.close()
        self.journal.close()

    def _send(self, event: Event) -> None:
        self.sender.send(event, self.settings.webhooks)

    def _delivered(self, event: Event) -> None:
        self.journal.write(Delivered(event_id=event.id))

    def _replay(self) -> None:
        undelivered: dict[str, Event] = {}
        take_back: dict[type[Record], Callable[[Any], object]] = {
            Booking: self.store.enter,
            RefundBooking: lambda one: self.store.refunds.update({one.refund.id: one}),
            DisputeBooking: lambda one: self.store.disputes.update({one.dispute.id: one}),
            BookedLine: self.reports.add,
            StoredAnswer: self.keys.remember,
            Event: lambda one: undelivered.update({one.id: one}),
            Delivered: lambda one: undelivered.pop(one.event_id, None),
            DayClosed: lambda one: self.reports.mark_closed(one.date),
            ClockMoved: lambda one: setattr(self.clock, "moved_seconds", one.seconds),
            **dict.fromkeys((FaultScripted, FaultActed, FaultsDeleted), self.faults.take_back),
        }
        for record in self.journal.replay():
            take_back[type(record)](record)
        if self.journal.records_read and self.settings.seed is not None:
            self.chance.seed(f"{self.settings.seed}:{self.journal.records_read}")
        self._resume(undelivered)

    def _snapshot(self) -> Iterator[Record]:
        """Yield records that restore this gateway when replayed."""
        yield ClockMoved(seconds=self.clock.moved_seconds)
        yield from self.store.bookings.values()
        yield from self.store.refunds.values()
        yield from self.store.disputes.values()
        yield from self.reports.snapshot()
        yield from self.keys.snapshot()
        yield from self.faults.snapshot()
        yield from self.sender.undelivered.values()

    def _resume(self, undelivered: dict[str, Event]) -> None:
        """Schedule what is due again, and send undelivered events."""
        for booking in self.store.bookings.values():
            self.transactions.resume(booking)
            self.bank.resume(booking)
        for refund in self.store.refunds.values():
            self.refunds.resume(refund)
        for dispute in self.store.disputes.values():
            self.settlements.resume(dispute)
        for event in undelivered.values():
            self._send(event)
