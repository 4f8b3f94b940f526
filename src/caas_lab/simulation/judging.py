"""The verdict on a life: the world is healed, time is given, and then the books are read.

Rules a change must keep: nothing is done to the platform but what its world does to it (banks
answer, cars wake, a month ends); what did not come to rest is said by name.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from caas_lab.demo import ledgers
from caas_lab.demo.calls import done
from caas_lab.demo.own_log import unexpected_errors
from caas_lab.demo.stage import Stage

REST_SECONDS_MAX: Final = 90.0
LOOK_SECONDS: Final = 0.25
SHOWN_MAX: Final = 5
AT_REST: Final = frozenset({"Settled", "Failed", "Voided", "Refunded", "SettlementFailed"})
OBEYS: Final = "obeys"
LASTING: Final = frozenset({"pending", "activating", "active", "scheduled"})
FOR_EVER: Final = "the subscription ends"


async def heal(stage: Stage, cars: Sequence[str]) -> None:
    """End every fault, and wake every car."""
    await stage.gateway.goes_well()
    await stage.partners.goes_well()
    for vin in cars:
        await stage.vehicles.behaves(vin, OBEYS)
        await stage.vehicles.wakes(vin)


async def rest(stage: Stage, *, seconds_max: float = REST_SECONDS_MAX) -> list[str]:
    """Let banks answer until every payment is at rest and the books agree; tell what is not."""
    ends = time.monotonic() + seconds_max
    while True:
        await _banks_answer(stage)
        await _webhooks_arrive(stage)
        unrest = await _unrest(stage)
        if not unrest:
            unrest = [
                line
                for book in await ledgers.compared(stage)
                if not book.agrees
                for line in (_written(book), *book.differences)
            ]
        if not unrest or time.monotonic() > ends:
            return unrest[:SHOWN_MAX]
        await asyncio.sleep(LOOK_SECONDS)


async def verdict(stage: Stage) -> list[str]:
    """Tell which laws are broken, what was charged twice, and what broke inside."""
    told = done(await stage.platform.get("/v1/self-check", scope="operations"), "self-check")
    found = [
        f"law broken by {it['broken']}: {it['sentence']}"
        for it in told["invariants"]
        if it["broken"]
    ]
    gateway = await stage.gateway.ledger()
    found += [
        f"payment {it['reference']} was charged {it['charges_executed']} times"
        for it in gateway["transactions"]
        if it["charges_executed"] > 1
    ]
    return found + unexpected_errors(stage.log)


async def cars_agree(
    stage: Stage, cars: Sequence[str], *, seconds_max: float = REST_SECONDS_MAX
) -> list[str]:
    """Wait until every car has on what was sold for it; tell which do not."""
    ends = time.monotonic() + seconds_max
    while True:
        apart = await _cars_apart(stage, cars)
        if not apart or time.monotonic() > ends:
            return apart[:SHOWN_MAX]
        await asyncio.sleep(LOOK_SECONDS)


async def left_to_former_owners(
    stage: Stage, resold: Sequence[tuple[str, str]], *, seconds_max: float = REST_SECONDS_MAX
) -> list[str]:
    """Wait until no service of a former owner runs in a returned vehicle; tell which still do."""
    ends = time.monotonic() + seconds_max
    while True:
        left = [
            f"{vin} has {one['service']} {term['state']} of its former owner"
            for vin, former in resold
            for one in await _sold(stage, vin)
            for term in one["terms"]
            if term["customer"] == former and term["state"] in LASTING
        ]
        if not left or time.monotonic() > ends:
            return left[:SHOWN_MAX]
        await asyncio.sleep(LOOK_SECONDS)


async def _sold(stage: Stage, vin: str) -> list[dict[str, Any]]:
    path = f"/v1/vehicles/{vin}/entitlements"
    told = done(await stage.platform.get(path, scope="operations"), "entitlements")
    return list(told["data"])


async def _cars_apart(stage: Stage, cars: Sequence[str]) -> list[str]:
    apart = []
    for vin in cars:
        really = (await stage.vehicles.car(vin))["services"]
        for one in await _sold(stage, vin):
            has, should = _on_until(really.get(one["service"])), _desired(one["desired"])
            if has != should:
                apart.append(f"{vin} has {one['service']} on until {has}, sold until {should}")
    return apart


def _on_until(service: dict[str, Any] | None) -> datetime | str | None:
    """Return until when a car has a service on: None when it is off."""
    if service is None or not service["active"]:
        return None
    return datetime.fromisoformat(service["valid_until"]) if service["valid_until"] else FOR_EVER


def _desired(desired: dict[str, Any]) -> datetime | str | None:
    if not desired["on"]:
        return None
    return datetime.fromisoformat(desired["until"]) if desired["until"] else FOR_EVER


async def _banks_answer(stage: Stage) -> None:
    """Let the banks pay what was captured, and the rest of what they paid in part."""
    await stage.gateway.do("settle")
    for it in (await stage.gateway.ledger())["transactions"]:
        if 0 < it["settled"] < it["captured"] and it["status"] == "settled":
            await stage.gateway.do(f"transactions/{it['transaction_id']}/settle-rest")


def _written(book: ledgers.Compared) -> str:
    return f"{book.what}: theirs {book.theirs}, ours {book.ours}, the ledger {book.ledger}"


async def _unrest(stage: Stage) -> list[str]:
    assert stage.records is not None, "a simulation plays on its own platform"
    return [
        f"payment {it.id} ({it.type}) is not at rest: {it.state}"
        for it in await stage.records.payments()
        if it.state not in AT_REST
    ]


async def _webhooks_arrive(stage: Stage) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await stage.gateway.webhooks_arrive()
