"""The verdict on a simulation, after all faults are cleared and all work had time to finish.

Rules a change must keep: only the simulators act on the platform (banks settle, vehicles wake up);
a finding names the payment or the vehicle.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from caas_lab.demo import final_checks
from caas_lab.demo.final_checks import unexpected_errors
from caas_lab.demo.http_client import require_success
from caas_lab.demo.testbed import Testbed

REST_SECONDS_MAX: Final = 90.0
LOOK_SECONDS: Final = 0.25
SHOWN_MAX: Final = 5
AT_REST: Final = frozenset({"Settled", "Failed", "Voided", "Refunded", "SettlementFailed"})
OBEYS: Final = "obeys"
LASTING: Final = frozenset({"pending", "activating", "active", "scheduled"})
FOR_EVER: Final = "the subscription ends"


async def restore(testbed: Testbed, cars: Sequence[str]) -> None:
    """Clear every fault, and wake every vehicle."""
    await testbed.gateway.clear_faults()
    await testbed.partners.clear_faults()
    for vin in cars:
        await testbed.vehicles.set_behaviour(vin, OBEYS)
        await testbed.vehicles.wake(vin)


async def wait_for_rest(testbed: Testbed, *, seconds_max: float = REST_SECONDS_MAX) -> list[str]:
    """Settle until every payment is in a final state and the ledgers agree; return what is not."""
    ends = time.monotonic() + seconds_max
    while True:
        await _settle_all(testbed)
        await _wait_for_webhooks(testbed)
        unsettled = await _unsettled(testbed)
        if not unsettled:
            unsettled = [
                line
                for book in await final_checks.compare_ledgers(testbed)
                if not book.agrees
                for line in (_written(book), *book.differences)
            ]
        if not unsettled or time.monotonic() > ends:
            return unsettled[:SHOWN_MAX]
        await asyncio.sleep(LOOK_SECONDS)


async def database_findings(testbed: Testbed) -> list[str]:
    """Return failed integrity checks, double charges and unexpected errors."""
    found = [
        f"integrity check violated by {broken} rows: {sentence}"
        for _, sentence, broken in await testbed.integrity_checks()
        if broken
    ]
    gateway = await testbed.gateway.ledger()
    found += [
        f"payment {it['reference']} was charged {it['charges_executed']} times"
        for it in gateway["transactions"]
        if it["charges_executed"] > 1
    ]
    return found + unexpected_errors(testbed.log)


async def cars_agree(
    testbed: Testbed, cars: Sequence[str], *, seconds_max: float = REST_SECONDS_MAX
) -> list[str]:
    """Wait until every vehicle has enabled what was sold for it; return those that differ."""
    ends = time.monotonic() + seconds_max
    while True:
        apart = await _cars_apart(testbed, cars)
        if not apart or time.monotonic() > ends:
            return apart[:SHOWN_MAX]
        await asyncio.sleep(LOOK_SECONDS)


async def left_to_former_owners(
    testbed: Testbed, resold: Sequence[tuple[str, str]], *, seconds_max: float = REST_SECONDS_MAX
) -> list[str]:
    """Wait until no service of a former owner runs in a returned vehicle; return which do."""
    ends = time.monotonic() + seconds_max
    while True:
        left = [
            f"{vin} has {one['service']} {term['state']} of its former owner"
            for vin, former in resold
            for one in await _sold(testbed, vin)
            for term in one["terms"]
            if term["customer"] == former and term["state"] in LASTING
        ]
        if not left or time.monotonic() > ends:
            return left[:SHOWN_MAX]
        await asyncio.sleep(LOOK_SECONDS)


async def _sold(testbed: Testbed, vin: str) -> list[dict[str, Any]]:
    path = f"/v1/vehicles/{vin}/entitlements"
    data = require_success(await testbed.platform.get(path, scope="operations"), "entitlements")
    return list(data["data"])


async def _cars_apart(testbed: Testbed, cars: Sequence[str]) -> list[str]:
    apart = []
    for vin in cars:
        really = (await testbed.vehicles.car(vin))["services"]
        for one in await _sold(testbed, vin):
            has, should = _on_until(really.get(one["service"])), _desired(one["desired"])
            if has != should:
                apart.append(f"{vin} has {one['service']} on until {has}, sold until {should}")
    return apart


def _on_until(service: dict[str, Any] | None) -> datetime | str | None:
    """Return until when a vehicle has a service enabled; None if it is off."""
    if service is None or not service["active"]:
        return None
    return datetime.fromisoformat(service["valid_until"]) if service["valid_until"] else FOR_EVER


def _desired(desired: dict[str, Any]) -> datetime | str | None:
    if not desired["on"]:
        return None
    return datetime.fromisoformat(desired["until"]) if desired["until"] else FOR_EVER


async def _settle_all(testbed: Testbed) -> None:
    """Settle what was captured, and the rest of partial settlements."""
    await testbed.gateway.post("settle")
    for it in (await testbed.gateway.ledger())["transactions"]:
        if 0 < it["settled"] < it["captured"] and it["status"] == "settled":
            await testbed.gateway.post(f"transactions/{it['transaction_id']}/settle-rest")


def _written(book: final_checks.Comparison) -> str:
    return f"{book.what}: theirs {book.theirs}, ours {book.ours}, our ledger {book.ledger}"


async def _unsettled(testbed: Testbed) -> list[str]:
    assert testbed.records is not None, "a simulation runs on its own platform"
    return [
        f"payment {it.id} ({it.type}) is not at rest: {it.state}"
        for it in await testbed.records.payments()
        if it.state not in AT_REST
    ]


async def _wait_for_webhooks(testbed: Testbed) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await testbed.gateway.wait_for_webhooks()
