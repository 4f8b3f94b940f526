"""Writes into the documents what can be read off the sources: `make docs`.

A document is prose with blocks between two marks, and a block is made anew from the sources each
time. A test compares what is committed with what would be made now.

    <!-- made from the sources: failure-matrix -->
    ...
    <!-- end -->

Rules a change must keep: nothing outside the marks is touched; the same sources make the same
text; a mark that names no block is an error, and so is a block that no document holds.
"""

import asyncio
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from docs import blocks, schema, source_map

ROOT: Final = Path(__file__).resolve().parent.parent
MARKED: Final = re.compile(
    r"(?P<begin><!-- made from the sources: (?P<name>[a-z0-9-]+) -->\n).*?(?P<end><!-- end -->)",
    re.DOTALL,
)
BLOCKS: Final[Mapping[str, Callable[[], str]]] = {
    "participants": source_map.participants,
    "modules": source_map.modules,
    "open-work": source_map.jobs,
    "payment-type-matrix": blocks.payment_type_matrix,
    "diagram-9": blocks.diagram_9,
    "payment-states": blocks.payment_states,
    "payment-arrows": blocks.payment_arrows,
    "vehicle-states": blocks.vehicle_states,
    "order-states": blocks.order_states,
    "subscription-states": blocks.subscription_states,
    "failure-matrix": blocks.failure_matrix,
    "retry-strategy": blocks.retry_strategy,
    "discrepancy-kinds": blocks.discrepancy_kinds,
    "decline-codes": blocks.decline_codes,
    "refusal-codes": blocks.refusal_codes,
    "stripe-refusals": blocks.stripe_refusals,
    "adyen-refusals": blocks.adyen_refusals,
    "tables": blocks.tables,
    "laws": blocks.invariants,
    "calls": blocks.calls,
    "notifications": blocks.notifications,
    "goals": blocks.goals,
    "exit-statuses": blocks.exit_statuses,
    "decisions": blocks.decisions,
}


def main() -> int:
    """Make every block of every document anew and say which documents changed."""
    for path in documents():
        text = path.read_text("utf-8")
        made = filled(text)
        if made != text:
            path.write_text(made, "utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    _write_schema()
    return 0


def _write_schema() -> None:
    for path, reported in asyncio.run(schema.made()).items():
        if not path.exists() or path.read_text("utf-8") != reported:
            path.write_text(reported, "utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


def documents() -> Iterator[Path]:
    """Yield every document of the project, in the order of their names."""
    yield from sorted(ROOT.glob("*.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))


def filled(text: str) -> str:
    """Return the document with every block made anew."""
    return MARKED.sub(lambda mark: f"{mark['begin']}{block(mark['name'])}{mark['end']}", text)


def block(name: str) -> str:
    """Make one block; it ends with a line's end."""
    return f"\n{BLOCKS[name]().strip()}\n\n"


if __name__ == "__main__":
    raise SystemExit(main())
