"""Commands for settlement report files: preview a file, and manage report mappings.

Rule a change must keep: a preview changes nothing.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from caas.cli.commands import AsJson, By, print_json, print_table
from caas.cli.reconcile import reading, writing
from caas.external_systems.report_mappings import MappingRefusedError
from caas.reconciliation import Reconciliation
from caas.reconciliation.finance_terms import Preview
from caas.rules.money import Money

mappings = typer.Typer(
    help="Column mappings for providers' report files.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The mapping.")]
Mapping = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Its JSON.")]


def preview(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The report file.")],
    mapping: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Read the file with this JSON mapping; it need not be saved.",
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show how a report file would be read. Nothing is applied."""
    tried = None if mapping is None else _json_of(mapping)

    async def operation(reconciliation: Reconciliation) -> None:
        seen = await reconciliation.preview(file, tried)
        if as_json:
            print_json(seen)
            return
        lines = sum(it.lines for it in seen.sums)
        typer.echo(f"{seen.format}, {seen.rows} rows, {lines} lines, {_span(seen)}")
        print_table([[it.type, str(it.lines), str(Money(it.net, it.currency))] for it in seen.sums])
        if seen.unreadable:
            typer.echo(f"{seen.unreadable_lines} lines would be kept aside:")
            typer.echo("\n".join(seen.unreadable))

    reading(operation)


def _span(seen: Preview) -> str:
    if seen.first_day is None:
        return "without a day that can be read"
    return (
        str(seen.first_day)
        if seen.first_day == seen.last_day
        else (f"{seen.first_day} to {seen.last_day}")
    )


@mappings.command(name="list")
def list_mappings(*, as_json: AsJson = False) -> None:
    """List mappings, including retired ones."""

    async def operation(reconciliation: Reconciliation) -> None:
        terms = reconciliation.finance_terms
        kept = await terms.mappings()
        if as_json:
            print_json({"data": kept, "shipped": await terms.shipped()})
            return
        named = {it.name for it in kept}
        shipped = [[it, "comes along", ""] for it in await terms.shipped() if it not in named]
        print_table([[it.name, _version(it), f"saved by {it.kept_by}"] for it in kept] + shipped)

    reading(operation)


@mappings.command()
def show(name: Name) -> None:
    """Print a mapping as JSON."""

    async def operation(reconciliation: Reconciliation) -> None:
        terms = reconciliation.finance_terms
        known = dict(await terms.shipped()) | {it.name: it.mapping for it in await terms.mappings()}
        if name not in known:
            raise typer.BadParameter(
                f"known mappings: {', '.join(sorted(known))}", param_hint="NAME"
            )
        typer.echo(msgspec.json.format(msgspec.json.encode(known[name])).decode())

    reading(operation)


@mappings.command()
def keep(name: Name, file: Mapping, by: By) -> None:
    """Save a new version of a mapping. Test it first with `preview --mapping`."""

    async def operation(reconciliation: Reconciliation) -> None:
        kept = await reconciliation.finance_terms.keep_mapping(name, _json_of(file), by=by)
        typer.echo(f"{kept.name}: {_version(kept)}")

    writing(operation)


@mappings.command()
def delete(name: Name, by: By) -> None:
    """Retire a mapping; its versions remain, and it can be saved again."""

    async def operation(reconciliation: Reconciliation) -> None:
        kept = await reconciliation.finance_terms.retire_mapping(name, by=by)
        typer.echo(f"{kept.name}: {_version(kept)}")

    writing(operation)


def _version(kept: Any) -> str:
    return f"version {kept.version}{', retired' if kept.retired else ''}"


def _json_of(file: Path) -> dict[str, Any]:
    try:
        mapping: dict[str, Any] = msgspec.json.decode(file.read_bytes(), type=dict)
    except msgspec.MsgspecError as error:
        raise MappingRefusedError(f"{file} is not valid JSON: {error}.") from error
    return mapping
