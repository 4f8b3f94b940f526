"""The finance clerk's commands about report files: what one is read as, and the formats known.

Rules a change must keep: a preview applies nothing; a mapping is checked before it is kept.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from caas.cli.commands import AsJson, print_json, print_table
from caas.cli.reconcile import By, reading, writing
from caas.external_systems.report_mappings import MappingRefusedError
from caas.reconciliation import Reconciliation
from caas.rules.money import Money

mappings = typer.Typer(
    help="Formats of providers' files: which of their columns is which of ours.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The mapping.")]
Mapping = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Its JSON.")]


def preview(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The report file.")],
    mapping: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Read it by this JSON, kept or not."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a report file would be read as; nothing of it is applied."""
    tried = None if mapping is None else _json_of(mapping)

    async def work(reconciliation: Reconciliation) -> None:
        seen = await reconciliation.preview(file, tried)
        if as_json:
            print_json(seen)
            return
        typer.echo(f"{seen.format}, {seen.rows} lines, {seen.first_day} to {seen.last_day}")
        print_table([[it.type, str(it.lines), str(Money(it.net, it.currency))] for it in seen.sums])
        typer.echo("\n".join(seen.unreadable))

    reading(work)


@mappings.command(name="list")
def list_mappings(*, as_json: AsJson = False) -> None:
    """List the mappings in use, and those that are not used any more."""

    async def work(reconciliation: Reconciliation) -> None:
        terms = reconciliation.finance_terms
        kept = await terms.mappings()
        if as_json:
            print_json({"data": kept, "shipped": await terms.shipped()})
            return
        named = {it.name for it in kept}
        shipped = [[it, "comes along", ""] for it in await terms.shipped() if it not in named]
        print_table([[it.name, _version(it), f"kept by {it.kept_by}"] for it in kept] + shipped)

    reading(work)


@mappings.command()
def show(name: Name) -> None:
    """Print a mapping as JSON, to be changed and kept."""

    async def work(reconciliation: Reconciliation) -> None:
        terms = reconciliation.finance_terms
        known = dict(await terms.shipped()) | {it.name: it.mapping for it in await terms.mappings()}
        if name not in known:
            raise typer.BadParameter(f"there are: {', '.join(sorted(known))}", param_hint="NAME")
        typer.echo(msgspec.json.format(msgspec.json.encode(known[name])).decode())

    reading(work)


@mappings.command()
def keep(name: Name, file: Mapping, by: By) -> None:
    """Keep a mapping as the newest version of its name; `preview --mapping` tries it first."""

    async def work(reconciliation: Reconciliation) -> None:
        kept = await reconciliation.finance_terms.keep_mapping(name, _json_of(file), by=by)
        typer.echo(f"{kept.name}: {_version(kept)}")

    writing(work)


@mappings.command()
def delete(name: Name, by: By) -> None:
    """Use a mapping no more; its versions stay, and it can be kept anew."""

    async def work(reconciliation: Reconciliation) -> None:
        kept = await reconciliation.finance_terms.retire_mapping(name, by=by)
        typer.echo(f"{kept.name}: {_version(kept)}")

    writing(work)


def _version(kept: Any) -> str:
    return f"version {kept.version}{', not used' if kept.retired else ''}"


def _json_of(file: Path) -> dict[str, Any]:
    try:
        mapping: dict[str, Any] = msgspec.json.decode(file.read_bytes(), type=dict)
    except msgspec.MsgspecError as error:
        raise MappingRefusedError(f"{file} is no JSON: {error}.") from error
    return mapping
