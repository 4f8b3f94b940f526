"""The world around the platform, by its strings: gateway and bank, order partners, vehicles.

These are the control planes of the simulators (Payment Gateway, Banking Networks, Factory, Admin
Registration, Transport System and Vehicle of Diagrams 1 to 4). A bank that answers, a customer who
disputes, a car that wakes: what happens in the world by itself, happens here when it is told to.

Rules a change must keep: nothing here reaches the platform; a fault is scripted for one occasion
and is gone with it.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from caas_lab.demo.calls import Caller, done

UNAVAILABLE: Final = int(HTTPStatus.SERVICE_UNAVAILABLE)


class ControlPlane:
    """One simulator's strings."""

    def __init__(self, caller: Caller) -> None:
        """Pull them at this address."""
        self._caller = caller
        self.url = caller.url

    async def ask(self, path: str) -> dict[str, Any]:
        """Look at something."""
        return done(await self._caller.get(f"/_control/{path}"), path)

    async def do(self, path: str, **body: object) -> dict[str, Any]:
        """Let something happen."""
        return done(await self._caller.post(f"/_control/{path}", body), path)

    async def goes_wrong(self, match: Mapping[str, object], **action: object) -> None:
        """Script a fault for the occasions that match."""
        if action.get("status") == UNAVAILABLE:
            action["code"] = "unavailable"
        await self.do("faults", match=match, action=action)

    async def goes_well(self) -> None:
        """Delete every fault."""
        await self._caller.send("DELETE", "/_control/faults")


class GatewayStrings(ControlPlane):
    """The payment gateway, and the banking networks behind it."""

    async def bank_answers(self, payment_id: str) -> None:
        """Let the bank answer for what was captured, and for refunds."""
        await self.do("settle", reference=payment_id)

    async def webhooks_arrive(self) -> None:
        """Wait until everything the gateway has to tell has been told."""
        await self.do("webhooks/idle")

    async def ledger(self, payment_id: str | None = None) -> dict[str, Any]:
        """Return what the gateway itself did, for one merchant reference or in all."""
        return await self.ask("ledger" if payment_id is None else f"ledger?reference={payment_id}")

    async def transaction_of(self, payment_id: str) -> str:
        """Return the gateway's id of a payment's transaction."""
        told = await self.ledger(payment_id)
        return str(told["transactions"][0]["transaction_id"])

    async def with_transaction(self, payment_id: str, verb: str, **body: object) -> None:
        """Let something happen to a payment's transaction: a dispute, an expiry."""
        await self.do(f"transactions/{await self.transaction_of(payment_id)}/{verb}", **body)

    async def webhooks_of(self, payment_id: str) -> list[dict[str, Any]]:
        """Return the webhooks that were sent about a payment, and how they were answered."""
        told = await self.ask(f"webhooks?reference={payment_id}")
        return list(told["sent"])


class PartnerStrings(ControlPlane):
    """Factory, Admin Registration and Transport System."""

    async def records_of(self, order_id: str) -> dict[str, list[dict[str, Any]]]:
        """Return the factory orders, registrations and deliveries of an order."""
        return await self.ask(f"ledger?reference={order_id}")

    async def factory_finishes(self, order_id: str) -> None:
        """Let the vehicle of an order be ready."""
        placed = (await self.records_of(order_id))["orders"]
        await self.do(f"ready/{placed[0]['factory_order_id']}")

    async def transport_arrives(self, order_id: str) -> None:
        """Let the delivery of an order be completed."""
        scheduled = (await self.records_of(order_id))["deliveries"]
        await self.do(f"completed/{scheduled[0]['delivery_id']}")


class VehicleStrings(ControlPlane):
    """The cars, and what they really did."""

    async def new_car(self, vin: str) -> str:
        """Put a car on the road and return its public key."""
        return str((await self.do("vehicles", vin=vin))["public_key"])

    async def car(self, vin: str) -> dict[str, Any]:
        """Return what a car really is and did."""
        return await self.ask(f"vehicles/{vin}")

    async def behaves(self, vin: str, behaviour: str, **more: object) -> None:
        """Give a car a manner from now on."""
        await self.do(f"vehicles/{vin}", behaviour=behaviour, **more)

    async def wakes(self, vin: str) -> None:
        """Wake a car; it takes what has not expired."""
        await self.do(f"vehicles/{vin}/wake")
