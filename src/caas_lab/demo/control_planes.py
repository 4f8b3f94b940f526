"""Clients of the simulators' control planes: gateway and bank, order partners, vehicles.

They trigger what the real party does on its own: settle, dispute, wake up.

Rules a change must keep: nothing here calls the platform; an injected fault lists the calls it
affects.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from caas_lab.demo.http_client import HttpClient, require_success

UNAVAILABLE: Final = int(HTTPStatus.SERVICE_UNAVAILABLE)


class ControlPlane:
    """The control plane of one simulator."""

    def __init__(self, client: HttpClient) -> None:
        """Call it through this client."""
        self._caller = client
        self.url = client.url

    async def get(self, path: str) -> dict[str, Any]:
        """Read something of the simulator."""
        return require_success(await self._caller.get(f"/_control/{path}"), path)

    async def post(self, path: str, **body: object) -> dict[str, Any]:
        """Make the simulator do something."""
        return require_success(await self._caller.post(f"/_control/{path}", body), path)

    async def inject_fault(self, match: Mapping[str, object], **action: object) -> None:
        """Inject a fault into the calls that match."""
        if action.get("status") == UNAVAILABLE:
            action["code"] = "unavailable"
        await self.post("faults", match=match, action=action)

    async def clear_faults(self) -> None:
        """Delete every fault."""
        await self._caller.send("DELETE", "/_control/faults")


class GatewayControl(ControlPlane):
    """The payment gateway, and the banking networks behind it."""

    async def settle(self, payment_id: str) -> None:
        """Make the bank settle what was captured and refunded."""
        await self.post("settle", reference=payment_id)

    async def wait_for_webhooks(self) -> None:
        """Wait until the gateway has sent every webhook."""
        await self.post("webhooks/idle")

    async def ledger(self, payment_id: str | None = None) -> dict[str, Any]:
        """Return the gateway's own ledger, of one payment or of all."""
        return await self.get("ledger" if payment_id is None else f"ledger?reference={payment_id}")

    async def transaction_of(self, payment_id: str) -> str:
        """Return the gateway's id of a payment's transaction."""
        data = await self.ledger(payment_id)
        return str(data["transactions"][0]["transaction_id"])

    async def with_transaction(self, payment_id: str, verb: str, **body: object) -> None:
        """Act on a payment's transaction: dispute it, let it expire."""
        await self.post(f"transactions/{await self.transaction_of(payment_id)}/{verb}", **body)

    async def webhooks_of(self, payment_id: str) -> list[dict[str, Any]]:
        """Return the webhooks about a payment, with their answers."""
        data = await self.get(f"webhooks?reference={payment_id}")
        return list(data["sent"])


class PartnerControl(ControlPlane):
    """Factory, Admin Registration and Transport System."""

    async def records_of(self, order_id: str) -> dict[str, list[dict[str, Any]]]:
        """Return the factory orders, registrations and deliveries of an order."""
        return await self.get(f"ledger?reference={order_id}")

    async def finish_production(self, order_id: str) -> None:
        """Finish the vehicle of an order."""
        placed = (await self.records_of(order_id))["orders"]
        await self.post(f"ready/{placed[0]['factory_order_id']}")

    async def complete_delivery(self, order_id: str) -> None:
        """Complete the delivery of an order."""
        scheduled = (await self.records_of(order_id))["deliveries"]
        await self.post(f"completed/{scheduled[0]['delivery_id']}")


class VehicleControl(ControlPlane):
    """The vehicles, and what they did."""

    async def new_car(self, vin: str) -> str:
        """Add a vehicle and return its public key."""
        return str((await self.post("vehicles", vin=vin))["public_key"])

    async def car(self, vin: str) -> dict[str, Any]:
        """Return a vehicle's own state."""
        return await self.get(f"vehicles/{vin}")

    async def set_behaviour(self, vin: str, behaviour: str, **more: object) -> None:
        """Set how a vehicle behaves from now on."""
        await self.post(f"vehicles/{vin}", behaviour=behaviour, **more)

    async def wake(self, vin: str) -> None:
        """Wake a vehicle; it takes the commands that have not expired."""
        await self.post(f"vehicles/{vin}/wake")
