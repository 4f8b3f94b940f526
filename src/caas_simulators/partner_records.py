"""Requests to the order partners, and the records they create.

Rule a change must keep: every record has its caller's reference, so that it can be looked up after
a call without a response.
"""

import msgspec

from caas_simulators.faults import FaultRecord
from caas_simulators.journal import ClockMoved, Delivered, Event, StoredAnswer


class FactoryOrderRequest(msgspec.Struct, kw_only=True):
    """The body of the factory's `POST /orders`; without a VIN the factory gives one."""

    reference: str
    vin: str | None = None
    model: str | None = None
    dealership: str | None = None


class RegistrationRequest(msgspec.Struct, kw_only=True):
    """The body of Admin Registration's `POST /registrations`."""

    reference: str
    vin: str
    customer_reference: str | None = None
    order_id: str | None = None


class DeliveryRequest(msgspec.Struct, kw_only=True):
    """The body of the Transport System's `POST /deliveries`."""

    reference: str
    vin: str
    order_id: str | None = None
    destination: str | None = None


class FactoryOrder(msgspec.Struct, kw_only=True):
    """An ordered vehicle, and when it is ready."""

    factory_order_id: str
    reference: str
    status: str
    vin: str
    model: str | None
    dealership: str | None
    created_at: str
    public_key: str | None = None


class Registration(msgspec.Struct, kw_only=True):
    """A vehicle's matriculation."""

    registration_id: str
    reference: str
    vin: str
    order_id: str | None
    customer_reference: str | None
    plate: str
    registered_at: str


class ScheduledDelivery(msgspec.Struct, kw_only=True):
    """A scheduled delivery of a vehicle."""

    delivery_id: str
    reference: str
    status: str
    vin: str
    order_id: str | None
    destination: str | None
    scheduled_for: str


PartnerRecord = FactoryOrder | Registration | ScheduledDelivery


class BookedOrder(msgspec.Struct, kw_only=True, tag_field="record", tag="order"):
    """A factory order with internal data: its key, and when it will be ready."""

    reported: FactoryOrder
    key: str
    due_at: float | None = None


class BookedRegistration(msgspec.Struct, kw_only=True, tag_field="record", tag="registration"):
    """A registration with the key of its request."""

    reported: Registration
    key: str


class BookedDelivery(msgspec.Struct, kw_only=True, tag_field="record", tag="delivery"):
    """A delivery with internal data: its key, and when it will be completed."""

    reported: ScheduledDelivery
    key: str
    due_at: float | None = None


Booked = BookedOrder | BookedRegistration | BookedDelivery
Record = Booked | StoredAnswer | Event | Delivered | ClockMoved | FaultRecord
PLATE_LETTERS = "BCDFGHJKLMNPRSTVWXYZ"
VIN_SIGNS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"


def plate(number: int) -> str:
    """Return the plate with this number: four digits and three letters, none a vowel."""
    letters, digits = divmod(number, 10_000)
    base = len(PLATE_LETTERS)
    first, rest = divmod(letters % base**3, base**2)
    second, third = divmod(rest, base)
    return f"{digits:04d} {PLATE_LETTERS[first]}{PLATE_LETTERS[second]}{PLATE_LETTERS[third]}"
