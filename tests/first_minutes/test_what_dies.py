"""What `up` started dies, one after the other and all together, and is started again.

The processes are those of a fresh clone. A stopped process is not a dead one: a second server on
the same data would ruin it.
"""

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.first_minutes.checkout import Checkout, Up
from tests.first_minutes.test_fresh_clone import read

SECONDS_MAX = 120.0
LOOKS_WHILE_STOPPED = 12
LOOK_SECONDS = 0.25
DEATHS_MAX = 5


async def test_each_part_that_is_killed_is_started_again_and_all_of_them_together(
    checkout: Checkout,
) -> None:
    async with checkout.up() as up:
        os.kill(pid_with(f"embedded_postgresql_keeper.py\0{checkout.data}/"), signal.SIGKILL)
        await up.line("The PostgreSQL supervisor is running again")
        for name, pid_of in parts(checkout).items():
            killed = pid_of()
            os.kill(killed, signal.SIGKILL)
            await up.line(f"{name} is running again")
            assert pid_of() != killed
        for pid_of in parts(checkout).values():
            os.kill(pid_of(), signal.SIGKILL)
        for _ in parts(checkout):
            await up.line("is running again")

        checked = await checkout.runs("./caas self-check --full")
        bought = await buys(checkout, up)

    assert (checked.status, checked.err) == (0, "")
    assert bought["state"] == "Capturing"
    assert up.process.returncode == 0


async def test_a_stopped_part_is_left_alone(checkout: Checkout) -> None:
    async with checkout.up() as up:
        stopped = {name: pid_of() for name, pid_of in parts(checkout).items()}
        for pid in stopped.values():
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(LOOKS_WHILE_STOPPED * LOOK_SECONDS)
            still = {name: pid_of() for name, pid_of in parts(checkout).items()}
        finally:
            for pid in stopped.values():
                os.kill(pid, signal.SIGCONT)
        bought = await buys(checkout, up)

    assert still == stopped
    assert bought["state"] == "Capturing"


async def test_a_part_that_dies_again_and_again_ends_the_command_with_a_sentence(
    checkout: Checkout,
) -> None:
    async with checkout.up() as up:
        gateway = parts(checkout)["The simulator 'gateway'"]
        for _ in range(DEATHS_MAX):
            os.kill(gateway(), signal.SIGKILL)
            await up.line("is running again")
        os.kill(gateway(), signal.SIGKILL)
        async with asyncio.timeout(SECONDS_MAX):
            _, err = await up.process.communicate()

    assert up.process.returncode == 3
    assert err.decode().startswith("caas: The simulator 'gateway' exited 6 times")
    assert b"Traceback" not in err


async def test_the_world_of_the_simulators_outlives_a_restart(checkout: Checkout) -> None:
    """The cars were gone after a restart, while the platform sold services for them."""
    async with checkout.up() as up:
        first = await buys(checkout, up)
        before = await asyncio.to_thread(world, checkout)

    async with checkout.up() as up:
        after = await asyncio.to_thread(world, checkout)
        again = await buys(checkout, up)

    assert first["state"] == again["state"] == "Capturing"
    assert before == after
    assert any(after["active"])


async def test_a_stopped_simulator_of_a_killed_platform_keeps_its_world_to_itself(
    checkout: Checkout,
) -> None:
    async with checkout.up() as up:
        gateway = parts(checkout)["The simulator 'gateway'"]()
        os.kill(gateway, signal.SIGSTOP)
        up.process.kill()
        async with asyncio.timeout(SECONDS_MAX):
            while up.process.returncode is None:
                await asyncio.sleep(LOOK_SECONDS)
        second = await checkout.runs("./caas up")
        os.kill(gateway, signal.SIGCONT)

    assert second.status == 3
    assert f"in use by another simulator (process {gateway})" in second.err
    assert second.err.endswith("did not start; see its output above.\n")


def parts(checkout: Checkout) -> dict[str, Callable[[], int]]:
    """Return who is watched, and how the number of each one's process is found now."""
    data = checkout.data
    return {
        "PostgreSQL": lambda: int((data / "postgresql/postmaster.pid").read_text().split()[0]),
        "The MQTT broker": lambda: json.loads((data / "mosquitto/broker.json").read_text())["pid"],
        **{
            f"The simulator '{name}'": partial(pid_with, f"{data / name}.jsonl")
            for name in ("vehicles", "gateway", "partners")
        },
    }


def pid_with(words: str) -> int:
    """Return the number of the process that has these words in its command line."""
    until = time.monotonic() + SECONDS_MAX
    while time.monotonic() < until:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if words.encode() in (process / "cmdline").read_bytes():
                    return int(process.name)
            except OSError:
                continue
    raise AssertionError(words)


VIN = "WVWZZZ1JZXW000099"


async def buys(checkout: Checkout, up: Up) -> dict[str, str]:
    """Buy a service for a car by the API; return the payment as it is when nothing is pending."""
    return await asyncio.to_thread(_bought, checkout, up.url)


def _bought(checkout: Checkout, url: str) -> dict[str, str]:
    word = json.loads((checkout.data / "running.json").read_text())
    keys = json.loads((checkout.data / "secrets.json").read_text())["api_keys"]

    def call(scope: str, method: str, path: str, body: object = None) -> dict[str, str]:
        until = time.monotonic() + SECONDS_MAX
        key = os.urandom(16).hex()
        while True:
            request = urllib.request.Request(  # noqa: S310 - our own address
                path if path.startswith("http") else url + path,
                method=method,
                data=None if body is None else json.dumps(body).encode(),
                headers={"Authorization": f"Bearer {keys[scope]}", "Idempotency-Key": key,
                         "Content-Type": "application/json"},
            )  # fmt: skip
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    reported: dict[str, str] = json.loads(answer.read())
                    return reported
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    car = call(
        "operations", "POST", word["controls"]["vehicles"] + "/_control/vehicles", {"vin": VIN}
    )
    call("order-management", "PUT", f"/v1/vehicles/{VIN}",
         {"model": "Uno", "price": {"amount": 3_000_000, "currency": "EUR"},
          "public_key": car["public_key"]})  # fmt: skip
    customer = call("order-management", "POST", "/v1/customers",
                    {"name": "Ana", "email": "ana@example.com"})  # fmt: skip
    service = f"heated-seats-{os.urandom(4).hex()}"
    call("service-catalog", "PUT", f"/v1/services/{service}",
         {"name": "Heated seats", "kind": "one_time", "currency": "EUR",
          "prices": [{"duration_days": 30, "amount": 1299}]})  # fmt: skip
    order = call("fleet", "POST", "/v1/service-orders",
                 {"customer": customer["id"], "vin": VIN, "service": service, "duration_days": 30,
                  "payment_method": "pm_ok"})  # fmt: skip
    until = time.monotonic() + SECONDS_MAX
    while True:
        payment = call("service-catalog", "GET", f"/v1/payments/{order['payment']}")
        if payment["state"] != "Authorized" or time.monotonic() > until:
            return payment
        time.sleep(0.1)


def world(checkout: Checkout) -> dict[str, Any]:
    """Return what the cars and the gateway know, as they tell it themselves."""
    controls = json.loads((checkout.data / "running.json").read_text())["controls"]
    fleet = json.loads(read(f"{controls['vehicles']}/_control/fleet"))["vehicles"]
    ledger = json.loads(read(f"{controls['gateway']}/_control/ledger"))
    return {
        "vehicles": [(car["vin"], car["public_key"], car["services"]) for car in fleet],
        "active": [car["active"] for car in fleet],
        "transactions": ledger["transactions"],
        "gateway": controls["gateway"],
    }
