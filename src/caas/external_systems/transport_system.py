"""Transport System: the delivery of a registered vehicle, and the word that it has arrived.

Seed: "Schedule Delivery" of Diagram 3.

Rules a change must keep:
- One order is delivered once: the key is the order's id and the operation.
- A failure never touches the payment: it stays, and the delivery is tried durably (decision 23).
"""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from caas.external_systems import order_partner
from caas.external_systems.http import HttpClient
from caas.external_systems.order_partner import Id, PartnerAnswer, Utc, Vin

DELIVERY_COMPLETED = "delivery.completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRequest:
    """The vehicle to be brought, and where to."""

    order_id: str
    vin: str
    destination: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledDelivery:
    """The transport's own id of the delivery, and when it is to be."""

    delivery_id: str
    scheduled_for: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryCompleted:
    """The transport's word that a vehicle is with its customer."""

    event_id: str
    occurred_at: datetime
    delivery_id: str
    vin: str
    order_id: str | None = None


class _DeliveryAnswer(PartnerAnswer, frozen=True, kw_only=True):
    delivery_id: Id
    scheduled_for: Utc

    def as_delivery(self) -> ScheduledDelivery:
        return ScheduledDelivery(
            delivery_id=self.delivery_id, scheduled_for=order_partner.in_utc(self.scheduled_for)
        )


class _CompletedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    delivery_id: Id
    vin: Vin
    reference: Id | None = None


class TransportSystem:
    """The transport that brings vehicles to their customers."""

    def __init__(self, http: HttpClient) -> None:
        """Speak over a client that carries the address."""
        self._http = http

    async def schedule_delivery(self, request: DeliveryRequest) -> ScheduledDelivery:
        """Have a vehicle brought.

        Raises:
            GatewayFailure: refused, not sent, or unknown.
        """
        body = {
            "reference": request.order_id,
            "order_id": request.order_id,
            "vin": request.vin,
            "destination": request.destination,
        }
        key = f"{request.order_id}:schedule_delivery"
        reported = await order_partner.ask(
            self._http, "/deliveries", body, key=key, answer=_DeliveryAnswer
        )
        return reported.as_delivery()

    async def find_deliveries(self, order_id: str) -> tuple[ScheduledDelivery, ...]:
        """Return the deliveries of an order: none is proof that none was scheduled."""
        found = await order_partner.look_up(
            self._http, "/deliveries", order_id, answer=_DeliveryAnswer
        )
        return tuple(it.as_delivery() for it in found)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()


def read_delivery_completed(body: bytes) -> DeliveryCompleted:
    """Decode the transport's webhook, after its signature was verified.

    Raises:
        msgspec.MsgspecError: it is not what was agreed; store it, park it, do not apply it.
    """
    event = order_partner.read_event(body)
    if event.type != DELIVERY_COMPLETED:
        raise msgspec.ValidationError(
            f"The transport tells of {DELIVERY_COMPLETED}, not {event.type!r}"
        )
    completed = msgspec.json.decode(event.data, type=_CompletedAnswer)
    return DeliveryCompleted(
        event_id=event.id,
        occurred_at=order_partner.in_utc(event.occurred_at),
        delivery_id=completed.delivery_id,
        vin=completed.vin,
        order_id=completed.reference,
    )
