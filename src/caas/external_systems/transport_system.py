"""Client of the Transport System: "Schedule Delivery" and delivery notices (Diagram 3).

Rules a change must keep: one delivery per order, keyed by order id and operation; a failure never
affects the payment: scheduling is retried by a job (decision 23).
"""

from datetime import datetime

import msgspec

from caas.external_systems import order_partner
from caas.external_systems.http import HttpClient
from caas.external_systems.order_partner import Id, PartnerAnswer, Utc, Vin

DELIVERY_COMPLETED = "delivery.completed"


class DeliveryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The vehicle to deliver, and its destination."""

    order_id: str
    vin: str
    destination: str


class ScheduledDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """The transport's id of the delivery, and its date."""

    delivery_id: str
    scheduled_for: datetime


class DeliveryCompleted(msgspec.Struct, frozen=True, kw_only=True):
    """The transport's notice that a vehicle was delivered to its customer."""

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
    """The transport that delivers vehicles to their customers."""

    def __init__(self, http: HttpClient) -> None:
        """Use this HTTP client."""
        self._http = http

    async def schedule_delivery(self, request: DeliveryRequest) -> ScheduledDelivery:
        """Schedule a delivery.

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
        """Return the deliveries of an order; an empty result proves that there is none."""
        found = await order_partner.look_up(
            self._http, "/deliveries", order_id, answer=_DeliveryAnswer
        )
        return tuple(it.as_delivery() for it in found)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()


def read_delivery_completed(body: bytes) -> DeliveryCompleted:
    """Decode a transport webhook whose signature was verified.

    Raises:
        msgspec.MsgspecError: it does not match the contract; store it, but do not apply it.
    """
    event = order_partner.read_event(body)
    if event.type != DELIVERY_COMPLETED:
        raise msgspec.ValidationError(
            f"The transport system sends {DELIVERY_COMPLETED}, not {event.type!r}"
        )
    completed = msgspec.json.decode(event.data, type=_CompletedAnswer)
    return DeliveryCompleted(
        event_id=event.id,
        occurred_at=order_partner.in_utc(event.occurred_at),
        delivery_id=completed.delivery_id,
        vin=completed.vin,
        order_id=completed.reference,
    )
