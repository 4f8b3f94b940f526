"""The records of a simulated payment gateway, and the parts that its callers see.

`Transaction`, `Refund`, `Dispute` and `SettlementLine` are the gateway's public types. A `Booking`
is a transaction with the gateway's internal data. Every record can be journalled and restored.

Rules a change must keep: amounts are whole minor units with their currency; a stored record is
journalled in full after each change, and the last version counts.
"""

from typing import Literal

import msgspec

from caas_simulators.faults import FaultRecord
from caas_simulators.journal import ClockMoved, Delivered, Event, StoredAnswer

Status = Literal[
    "requires_action",
    "pending",
    "authorized",
    "failed",
    "voided",
    "capturing",
    "settled",
    "settlement_failed",
    "refunded",
]
LineType = Literal[
    "settlement",
    "refund",
    "chargeback",
    "chargeback_reversal",
    "fee",
    "settlement_failure",
    "adjustment",
]


class InitiateRequest(msgspec.Struct, kw_only=True):
    """The body of `POST /transactions`."""

    reference: str
    amount: int
    currency: str
    capture: Literal["manual", "automatic"]
    payment_method: str | None = None
    customer_reference: str | None = None
    description: str | None = None
    return_url: str | None = None


class CaptureRequest(msgspec.Struct, kw_only=True):
    """The body of a capture; no amount means all of it."""

    amount: int | None = None


class VoidRequest(msgspec.Struct, kw_only=True):
    """The body of a void."""

    reason: str | None = None


class RefundRequest(msgspec.Struct, kw_only=True):
    """The body of a refund."""

    amount: int
    reason: str | None = None


class Transaction(msgspec.Struct, kw_only=True):
    """A transaction as callers see it."""

    id: str
    reference: str
    status: Status
    amount: int
    currency: str
    captured_amount: int = 0
    settled_amount: int = 0
    refunded_amount: int = 0
    decline_code: str | None = None
    capture_before: str | None = None
    hosted_page_url: str | None = None
    created_at: str
    payment_method: str | None = None
    void_reason: str | None = None


class Refund(msgspec.Struct, kw_only=True):
    """A refund as callers see it."""

    id: str
    transaction_id: str
    amount: int
    status: Literal["pending", "succeeded", "failed"]
    currency: str
    reference: str
    reason: str | None
    created_at: str


class Dispute(msgspec.Struct, kw_only=True):
    """A dispute: the customer's bank takes the money back until it is decided."""

    id: str
    transaction_id: str
    reference: str
    amount: int
    currency: str
    status: Literal["opened", "won", "lost"]
    reason: str
    opened_at: str


class SettlementLine(msgspec.Struct, kw_only=True):
    """One line of a settlement report; gross - fee = net."""

    line_no: int
    batch_id: str
    transaction_id: str
    reference: str
    type: LineType
    gross: int
    fee: int
    net: int
    currency: str
    booked_at: str
    value_date: str


class RefundBooking(msgspec.Struct, kw_only=True, tag_field="record", tag="refund"):
    """A refund with the gateway's internal data."""

    refund: Refund
    due_at: float
    fails: bool = False


class DisputeBooking(msgspec.Struct, kw_only=True, tag_field="record", tag="dispute"):
    """A dispute with the instant of its decision, if already known."""

    dispute: Dispute
    due_at: float | None = None


class BookedLine(msgspec.Struct, kw_only=True, tag_field="record", tag="line"):
    """A line and the date of its report."""

    date: str
    line: SettlementLine


class Modification(msgspec.Struct, kw_only=True):
    """A capture or void that was accepted and is decided later; None amount means all of it."""

    id: str
    operation: Literal["capture", "void"]
    due_at: float
    amount: int | None = None
    reason: str | None = None


class AcceptedAnswer(msgspec.Struct, kw_only=True):
    """The answer to an accepted capture or void."""

    id: str
    transaction_id: str
    status: Literal["accepted"] = "accepted"


class Booking(msgspec.Struct, kw_only=True, tag_field="record", tag="booking"):
    """A transaction with the gateway's internal data."""

    transaction: Transaction
    capture: Literal["manual", "automatic"]
    customer_reference: str | None = None
    description: str | None = None
    return_url: str | None = None
    authorized_amount: int = 0
    captures: int = 0
    due_at: float = 0.0
    challenge_open: bool = False
    refund_ids: list[str] = []
    dispute_ids: list[str] = []
    modifications: list[Modification] = []


class DayClosed(msgspec.Struct, kw_only=True, tag_field="record", tag="day_closed"):
    """A settlement report was closed."""

    date: str


Record = (
    Booking
    | RefundBooking
    | DisputeBooking
    | BookedLine
    | StoredAnswer
    | Event
    | Delivered
    | DayClosed
    | ClockMoved
    | FaultRecord
)
