"""Client of the Factory API: places factory orders and reads `vehicle.ready` (Diagrams 2, 3).

Rules a change must keep: one factory order per order, keyed by order id and operation (F-R3); a
refusal is `RefusedByPartnerError`, handled as in decision 22.
"""

import base64
from datetime import datetime

import msgspec

from caas.external_systems import order_partner
from caas.external_systems.http import HttpClient
from caas.external_systems.order_partner import Id, PartnerAnswer, PublicKey, Vin
from caas.rules.vehicle_signatures import has_low_order

VEHICLE_READY = "vehicle.ready"


class FactoryOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The vehicle to build; without a VIN the factory assigns one."""

    order_id: str
    model: str
    vin: str | None = None
    dealership: str | None = None


class FactoryOrderConfirmation(msgspec.Struct, frozen=True, kw_only=True):
    """The factory's order id, and the VIN if known."""

    factory_order_id: str
    vin: str | None = None


class VehicleReady(msgspec.Struct, frozen=True, kw_only=True):
    """The factory's notice that a vehicle is built, with the vehicle's public key."""

    event_id: str
    occurred_at: datetime
    factory_order_id: str
    vin: str
    order_id: str | None = None
    public_key: str | None = None


class _OrderAnswer(PartnerAnswer, frozen=True, kw_only=True):
    factory_order_id: Id


class _ReadyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    factory_order_id: Id
    vin: Vin
    reference: Id | None = None
    public_key: PublicKey | None = None


class Factory:
    """The factory that builds the vehicles."""

    def __init__(self, http: HttpClient) -> None:
        """Use this HTTP client."""
        self._http = http

    async def place_factory_order(self, order: FactoryOrder) -> FactoryOrderConfirmation:
        """Place a factory order.

        Raises:
            GatewayFailure: refused, not sent, or unknown.
        """
        body = {"reference": order.order_id, "model": order.model}
        if order.vin is not None:
            body["vin"] = order.vin
        if order.dealership is not None:
            body["dealership"] = order.dealership
        key = f"{order.order_id}:place_factory_order"
        reported = await order_partner.ask(
            self._http, "/orders", body, key=key, answer=_OrderAnswer
        )
        return FactoryOrderConfirmation(
            factory_order_id=reported.factory_order_id, vin=reported.vin
        )

    async def find_factory_orders(self, order_id: str) -> tuple[FactoryOrderConfirmation, ...]:
        """Return the factory orders of an order; an empty result proves that there is none."""
        found = await order_partner.look_up(self._http, "/orders", order_id, answer=_OrderAnswer)
        return tuple(
            FactoryOrderConfirmation(factory_order_id=it.factory_order_id, vin=it.vin)
            for it in found
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()


def read_vehicle_ready(body: bytes) -> VehicleReady:
    """Decode a factory webhook whose signature was verified.

    Raises:
        msgspec.MsgspecError: it does not match the contract; store it, but do not apply it.
    """
    event = order_partner.read_event(body)
    if event.type != VEHICLE_READY:
        raise msgspec.ValidationError(f"The factory sends {VEHICLE_READY}, not {event.type!r}")
    ready = msgspec.json.decode(event.data, type=_ReadyAnswer)
    if ready.public_key is not None and has_low_order(base64.b64decode(ready.public_key)):
        raise msgspec.ValidationError("Anybody can sign with the public key that the factory sent")
    return VehicleReady(
        event_id=event.id,
        occurred_at=order_partner.in_utc(event.occurred_at),
        factory_order_id=ready.factory_order_id,
        vin=ready.vin,
        order_id=ready.reference,
        public_key=ready.public_key,
    )
