"""The books of three parties, side by side: the gateway's, the vehicles', and ours.

Whatever was retried, repeated, forged or lost on the way: at the end the gateway's own books, what
the cars really do, and the Billing Database must say the same.

Rules a change must keep: each figure is asked of the party whose it is; a difference names the
payment or the car.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from caas_lab.demo.database import Records
from caas_lab.demo.play import money
from caas_lab.demo.stage import Stage

LOOK_SECONDS: Final = 0.1
LOOKS_MAX: Final = 50
DIFFERENCES_MAX: Final = 5
FIGURES: Final = ("captured", "settled", "refunded")


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure as each party has it, and what differs in detail."""

    what: str
    theirs: str
    ours: str
    ledger: str
    differences: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether all parties say the same."""
        same = {self.theirs, self.ours} | ({self.ledger} if self.ledger else set())
        return len(same) == 1 and not self.differences


async def compared(stage: Stage) -> list[Compared]:
    """Compare the books, once everything that is under way has arrived."""
    if stage.records is None or not stage.is_ours:
        return []
    await stage.gateway.webhooks_arrive()
    books = await _compared(stage, stage.records)
    for _ in range(LOOKS_MAX):
        if all(it.agrees for it in books):
            break
        await asyncio.sleep(LOOK_SECONDS)
        books = await _compared(stage, stage.records)
    return books


async def _compared(stage: Stage, records: Records) -> list[Compared]:
    told = await stage.gateway.ledger()
    fleet = await stage.vehicles.ask("fleet")
    return [
        *await _money(records, told["transactions"]),
        await _services(records, fleet["vehicles"]),
    ]


async def _money(records: Records, transactions: list[dict[str, Any]]) -> list[Compared]:
    payments = await records.payments()
    moved = await records.moved()
    of_ledger = {
        "captured": sum(it for (debit, _), it in moved.items() if debit == "gateway_receivable"),
        "settled": moved.get(("settled_funds", "gateway_receivable"), 0),
        "refunded": moved.get(("refunds_payable", "settled_funds"), 0),
    }
    theirs: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(FIGURES, 0))
    for transaction in transactions:
        for figure in FIGURES:
            theirs[transaction["reference"]][figure] += transaction[figure]
    ours = {
        str(it.id): {
            "captured": it.captured_amount,
            "settled": it.settled_amount,
            "refunded": it.refunded_amount,
        }
        for it in payments
    }
    return [
        Compared(
            figure,
            money(sum(it[figure] for it in theirs.values())),
            money(sum(it[figure] for it in ours.values())),
            money(of_ledger[figure]),
            tuple(
                f"payment {reference}: the gateway says {theirs[reference][figure]}, "
                f"we say {ours.get(reference, {}).get(figure, 0)}"
                for reference in sorted(theirs.keys() | ours.keys())
                if theirs[reference][figure] != ours.get(reference, {}).get(figure, 0)
            )[:DIFFERENCES_MAX],
        )
        for figure in FIGURES
    ]


async def _services(records: Records, cars: list[dict[str, Any]]) -> Compared:
    """Compare which services are on: in the cars, and by their own confirmed word with us."""
    really = {(car["vin"], service) for car in cars for service in car["active"]}
    recorded = {
        (it.vin, it.service)
        for it in await records.services()
        if it.action == "activate" and it.confirmed
    }
    differences = tuple(
        f"{service} in {vin} is {'on' if (vin, service) in really else 'off'} in the car only"
        for vin, service in sorted(really ^ recorded)
    )
    return Compared(
        "services that are on", str(len(really)), str(len(recorded)), "",
        differences[:DIFFERENCES_MAX],
    )  # fmt: skip
