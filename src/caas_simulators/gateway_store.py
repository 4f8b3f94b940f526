"""A simulated gateway's records: transactions, refunds, disputes, and the events of each.

Rules a change must keep: a change is journalled together with its event, before the event is sent;
ids come from the seed; only idempotency keys are ever deleted.
"""

import random
from collections.abc import Callable

import msgspec

from caas_simulators.gateway_records import (
    Booking,
    DisputeBooking,
    Record,
    RefundBooking,
    Transaction,
)
from caas_simulators.journal import Event, Journal
from caas_simulators.random_ids import random_id
from caas_simulators.simulated_time import Agenda, rfc3339

DAY = 86_400.0
_ENCODER = msgspec.json.Encoder()


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's terms of business, in simulated seconds.

    With `modification_seconds`, captures and voids are accepted first and decided so much later.
    """

    authorization_seconds: float = 7 * DAY
    short_authorization_seconds: float = 60.0
    page_seconds: float = 1_800.0
    bank_debit_seconds: float = 3_600.0
    settlement_seconds: float = DAY
    late_settlement_seconds: float = 5 * DAY
    partial_percent: int = 60
    dispute_after_seconds: float = 10 * DAY
    dispute_verdict_seconds: float = 30 * DAY
    refund_seconds: float = 3_600.0
    key_lifetime_seconds: float = DAY
    modification_seconds: float = 0.0


class Refusal(Exception):  # noqa: N818 - the gateway's term
    """The gateway rejects the request; nothing was changed."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        """Store the status and the stable code of the response."""
        self.status = status
        self.code = code
        self.detail = detail
        super().__init__(detail)


class Store:
    """The gateway's records in memory, and the journal behind them."""

    def __init__(
        self,
        agenda: Agenda,
        journal: Journal[Record],
        chance: random.Random,
        send: Callable[[Event], object],
    ) -> None:
        """Draw ids from `chance`; pass every event to `send`."""
        self.agenda = agenda
        self.clock = agenda.clock
        self.journal = journal
        self.bookings: dict[str, Booking] = {}
        self.refunds: dict[str, RefundBooking] = {}
        self.disputes: dict[str, DisputeBooking] = {}
        self._ids_by_reference: dict[str, list[str]] = {}
        self._chance = chance
        self._send = send

    def new_id(self, prefix: str) -> str:
        """Return a new unique id."""
        return random_id(prefix, chance=self._chance, letters=20)

    def now_text(self) -> str:
        """The simulated time in wire format."""
        return rfc3339(self.clock.now())

    def booking(self, transaction_id: str) -> Booking:
        """Return a transaction's booking.

        Raises:
            Refusal: 404, there is none.
        """
        found = self.bookings.get(transaction_id)
        if found is None:
            raise Refusal(404, "unknown_transaction", "There is no transaction with this id.")
        return found

    def with_reference(self, reference: str) -> list[Transaction]:
        """Return the transactions with a merchant reference, oldest first."""
        ids = self._ids_by_reference.get(reference, [])
        return [self.bookings[transaction_id].transaction for transaction_id in ids]

    def enter(self, booking: Booking) -> None:
        """Store or replace a booking."""
        transaction = booking.transaction
        if transaction.id not in self.bookings:
            self._ids_by_reference.setdefault(transaction.reference, []).append(transaction.id)
        self.bookings[transaction.id] = booking

    def keep(self, booking: Booking, event_type: str | None = None) -> None:
        """Journal a booking's current state and send its event."""
        if event_type is None:
            self.journal.write(booking)
        else:
            self.notify(booking, event_type, booking.transaction, booking)

    def notify(
        self,
        booking: Booking,
        event_type: str,
        subject: object,
        *changed: Booking | RefundBooking | DisputeBooking,
    ) -> None:
        """Journal a change together with its event, then send the event."""
        event_id = self.new_id("evt")
        body = {
            "id": event_id,
            "type": event_type,
            "occurred_at": self.now_text(),
            "data": subject,
        }
        event = Event(
            id=event_id,
            type=event_type,
            subject_id=booking.transaction.id,
            reference=booking.transaction.reference,
            body=_ENCODER.encode(body).decode(),
        )
        self.journal.write(*changed, event)
        self._send(event)
