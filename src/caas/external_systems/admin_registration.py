"""Client of the Admin Registration API ("Register Vehicle (Matriculation)", Diagram 3).

Rules a change must keep: one registration per order, keyed by order id and operation; a failure
never affects the payment: registration is retried by a job (decision 23).
"""

from datetime import datetime

import msgspec

from caas.external_systems import order_partner
from caas.external_systems.http import HttpClient
from caas.external_systems.order_partner import PartnerAnswer, Plate, Utc


class MatriculationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The vehicle to register and its customer's pseudonymous id."""

    order_id: str
    vin: str
    customer_reference: str


class Matriculation(msgspec.Struct, frozen=True, kw_only=True):
    """The plate and the time of registration."""

    plate: str
    registered_at: datetime


class _RegistrationAnswer(PartnerAnswer, frozen=True, kw_only=True):
    plate: Plate
    registered_at: Utc

    def as_matriculation(self) -> Matriculation:
        return Matriculation(
            plate=self.plate, registered_at=order_partner.in_utc(self.registered_at)
        )


class AdminRegistration:
    """The registration authority."""

    def __init__(self, http: HttpClient) -> None:
        """Use this HTTP client."""
        self._http = http

    async def register_vehicle(self, request: MatriculationRequest) -> Matriculation:
        """Register a vehicle.

        Raises:
            GatewayFailure: refused, not sent, or unknown.
        """
        body = {
            "reference": request.order_id,
            "order_id": request.order_id,
            "vin": request.vin,
            "customer_reference": request.customer_reference,
        }
        key = f"{request.order_id}:register_vehicle"
        reported = await order_partner.ask(
            self._http, "/registrations", body, key=key, answer=_RegistrationAnswer
        )
        return reported.as_matriculation()

    async def find_matriculations(self, order_id: str) -> tuple[Matriculation, ...]:
        """Return the registrations of an order; an empty result proves that there is none."""
        found = await order_partner.look_up(
            self._http, "/registrations", order_id, answer=_RegistrationAnswer
        )
        return tuple(it.as_matriculation() for it in found)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()
