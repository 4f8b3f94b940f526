"""The finance clerk's commands about report files: what one is read as, and the formats known.

Rules a change must keep: a preview applies nothing; a mapping is checked before it is kept.
"""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from caas.commands import AsJson
from caas.payment_processing.reconciliation import Reconciliation
from caas.reconciling import By, at_the_desk, print_json, print_table, reading
from caas.rules.money import Money


def preview(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The report file.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a report file would be read as; nothing of it is applied."""

    async def work(room: Reconciliation) -> None:
        seen = await room.preview(file)
        if as_json:
            print_json(seen)
            return
        typer.echo(f"{seen.format}, {seen.rows} lines, {seen.first_day} to {seen.last_day}")
        print_table([[it.type, str(it.lines), str(Money(it.net, it.currency))] for it in seen.sums])
        typer.echo("\n".join(seen.unreadable))

    reading(work)


def mappings(
    by: By,
    name: Annotated[str | None, typer.Argument(help="The mapping to keep.")] = None,
    file: Annotated[Path | None, typer.Option("--keep", exists=True, help="Its JSON.")] = None,
) -> None:
    """List the mappings of provider's files, or keep one: `mappings NAME --keep FILE`."""

    async def work(room: Reconciliation) -> None:
        terms = room.finance_terms
        if name is not None and file is not None:
            kept = await terms.keep_mapping(name, msgspec.json.decode(file.read_bytes()), by=by)
            typer.echo(f"{kept.name}: version {kept.version}")
            return
        rows = [[it.name, f"version {it.version}", it.kept_by] for it in await terms.mappings()]
        print_table(rows + [[it, "comes along", ""] for it in await terms.shipped()])

    at_the_desk(work)
