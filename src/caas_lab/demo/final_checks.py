"""The checks at the end of a run: do three ledgers agree, and did the platform log an error.

The gateway's ledger, the vehicles' own state and the Billing Database must agree, whatever was
retried, repeated, forged or lost. A scenario may pass although something failed inside and was
retried; such an error is a fault of the platform.

Rules a change must keep: each figure comes from the party that owns it; a difference names the
payment or the vehicle; only errors that the platform did not expect count.
"""

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import msgspec

from caas_lab.demo.database import Records
from caas_lab.demo.scenario_run import money
from caas_lab.demo.testbed import Testbed

LOOK_SECONDS: Final = 0.1
LOOKS_MAX: Final = 50
DIFFERENCES_MAX: Final = 5
FIGURES: Final = ("captured", "settled", "refunded")
UNEXPECTED: Final = frozenset({"jobs.failed", "api.failed", "console.failed"})
SHOWN_MAX: Final = 5


class Comparison(msgspec.Struct, frozen=True):
    """One figure as each party reports it, and the differences in detail."""

    what: str
    theirs: str
    ours: str
    ledger: str
    differences: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether all parties report the same."""
        same = {self.theirs, self.ours} | ({self.ledger} if self.ledger else set())
        return len(same) == 1 and not self.differences


async def compare_ledgers(testbed: Testbed) -> list[Comparison]:
    """Compare the ledgers, once all messages have arrived."""
    if testbed.records is None or not testbed.is_ours:
        return []
    await testbed.gateway.wait_for_webhooks()
    comparisons = await _compared(testbed, testbed.records)
    for _ in range(LOOKS_MAX):
        if all(it.agrees for it in comparisons):
            break
        await asyncio.sleep(LOOK_SECONDS)
        comparisons = await _compared(testbed, testbed.records)
    return comparisons


async def _compared(testbed: Testbed, records: Records) -> list[Comparison]:
    data = await testbed.gateway.ledger()
    fleet = await testbed.vehicles.get("fleet")
    return [
        *await _money(records, data["transactions"]),
        await _services(records, fleet["vehicles"]),
    ]


async def _money(records: Records, transactions: list[dict[str, Any]]) -> list[Comparison]:
    payments = await records.payments()
    transitioned = await records.transitioned()
    of_ledger = {
        "captured": sum(
            it for (debit, _), it in transitioned.items() if debit == "gateway_receivable"
        ),
        "settled": transitioned.get(("settled_funds", "gateway_receivable"), 0),
        "refunded": transitioned.get(("refunds_payable", "settled_funds"), 0),
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
        Comparison(
            figure,
            money(sum(it[figure] for it in theirs.values())),
            money(sum(it[figure] for it in ours.values())),
            money(of_ledger[figure]),
            tuple(
                f"payment {reference}: the gateway has {theirs[reference][figure]}, "
                f"we have {ours.get(reference, {}).get(figure, 0)}"
                for reference in sorted(theirs.keys() | ours.keys())
                if theirs[reference][figure] != ours.get(reference, {}).get(figure, 0)
            )[:DIFFERENCES_MAX],
        )
        for figure in FIGURES
    ]


async def _services(records: Records, cars: list[dict[str, Any]]) -> Comparison:
    """Compare which services are on in the vehicles, and which they confirmed to us."""
    really = {(car["vin"], service) for car in cars for service in car["active"]}
    recorded = {
        (it.vin, it.service)
        for it in await records.services()
        if it.action == "activate" and it.confirmed
    }
    differences = tuple(
        f"{service} in {vin} is {'on' if (vin, service) in really else 'off'} in the vehicle only"
        for vin, service in sorted(really ^ recorded)
    )
    return Comparison(
        "services that are on", str(len(really)), str(len(recorded)), "",
        differences[:DIFFERENCES_MAX],
    )  # fmt: skip


class LogLine(msgspec.Struct):
    """The fields of a log line that describe a failure."""

    event: str = ""
    kind: str = ""
    code: str = ""
    exception: str = ""


_LINE: Final = msgspec.json.Decoder(LogLine)


def unexpected_errors(log: Path | None) -> list[str]:
    """Return the unexpected errors of the platform's log, each as one line."""
    if log is None or not log.exists():
        return []
    lines = [_read(line) for line in log.read_bytes().splitlines()]
    return [_described(line) for line in lines if line.event in UNEXPECTED][:SHOWN_MAX]


def _read(line: bytes) -> LogLine:
    try:
        return _LINE.decode(line)
    except msgspec.DecodeError:
        return LogLine()  # a library wrote this line


def _described(line: LogLine) -> str:
    error = line.exception.strip().rpartition("\n")[2]
    return f"{line.event} {line.kind or line.code}: {error or 'no traceback'}"
