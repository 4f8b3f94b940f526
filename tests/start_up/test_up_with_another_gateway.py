"""`caas up --gateway`: payments of the gateway before stay there, and are finished there."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from tests.ports import free_port
from tests.start_up.conftest import Machine, Program

IS_UP = "The platform is running"
VIN = "WVWZZZ1JZXW000079"
PATIENCE_SECONDS = 60.0
DETAILS = {
    "street": "Calle Mayor 1", "postcode": "28013", "city": "Madrid", "country": "ES",
    "tax_id": "12345678Z",
}  # fmt: skip


class Here:
    """The platform that runs on a data folder, over its API."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession) -> None:
        running = json.loads((folder / "running.json").read_text())
        self.environment, self.controls = running["environment"], running["controls"]
        self._keys = json.loads((folder / "secrets.json").read_text())["api_keys"]
        self._session = session

    async def call(self, scope: str, method: str, path: str, body: object = None) -> Any:
        """Make a call with the key of a scope."""
        headers = {
            "authorization": f"Bearer {self._keys[scope]}", "idempotency-key": str(uuid4()),
        }  # fmt: skip
        url = self.environment["CAAS_PUBLIC_URL"] + path
        async with self._session.request(method, url, json=body, headers=headers) as answer:
            assert answer.ok, await answer.text()
            return await answer.json()

    async def reserves(self, method: str) -> Any:
        """Reserve a car as a dealership does; return its first payment."""
        customer = {"name": "Ana", "email": "ana@example.com", "billing_details": DETAILS}
        made = await self.call("order-management", "POST", "/v1/customers", customer)
        order = {
            "customer": made["id"], "model": "Uno", "dealership": "Madrid Norte",
            "deposit": {"amount": 50_000, "currency": "EUR"}, "payment_method": method,
        }  # fmt: skip
        return (await self.call("order-management", "POST", "/v1/orders", order))["payments"][0]

    async def settled(self, payment: str, control: str) -> Any:
        """Let the bank behind a simulator settle, and wait until the payment is Settled."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                async with self._session.post(f"{self.controls[control]}/_control/settle", json={}):
                    found = await self.call("operations", "GET", f"/v1/payments/{payment}")
                if found["state"] == "Settled":
                    return found
                await asyncio.sleep(0.2)


async def up(machine: Machine, *more: str) -> Program:
    """Start the whole platform, and wait until it is up."""
    program = await machine.starts("up", "--port", str(free_port()), *more)
    await program.stated(IS_UP)
    return program


async def stop(program: Program) -> None:
    """Stop it, with all it started."""
    program.process.send_signal(signal.SIGINT)
    assert not (await program.ended()).left


async def test_the_gateway_before_is_simulated_as_long_as_it_has_payments(machine: Machine) -> None:
    async with aiohttp.ClientSession() as session:
        before = await up(machine)
        here = Here(machine.folder, session)
        price = {"model": "Uno", "price": {"amount": 3_000_000, "currency": "EUR"}}
        await here.call("order-management", "PUT", f"/v1/vehicles/{VIN}", price)
        old = await here.reserves("pm_ok")
        await stop(before)

        after = await up(machine, "--gateway", "stripe-fake")
        here = Here(machine.folder, session)
        new = await here.reserves("pm_card_visa")
        was = await here.settled(old["id"], "gateway-contract")
        now = await here.settled(new["id"], "gateway")
        await stop(after)

    assert (was["gateway"], now["gateway"]) == ("contract", "stripe")
    assert here.environment["CAAS_GATEWAYS_KEPT"] == "contract"


async def test_a_gateway_without_payments_is_not_simulated_again(machine: Machine) -> None:
    await stop(await up(machine))

    program = await up(machine, "--gateway", "stripe-fake")
    running = json.loads((machine.folder / "running.json").read_text())
    await stop(program)

    assert "CAAS_GATEWAYS_KEPT" not in running["environment"]
    assert set(running["controls"]) >= {"gateway", "partners"}
    assert "gateway-contract" not in running["controls"]
