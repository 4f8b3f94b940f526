"""`caas verify`: the hash chain of the events, from the database or from an export.

Rule a change must keep: it reads; the only file it writes is the export that was asked for.
"""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from caas import app
from caas.billing_database.event_chain import (
    BrokenLink,
    ChainChecker,
    ChainLine,
    broken_links,
    exported,
)
from caas.commands import FINDINGS, finished
from caas.errors import StartupError


def verify(
    export: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write every event to this file.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Check an export instead, offline."),
    ] = None,
) -> None:
    """Check the hash chain of the events, offline or from the database."""
    if export and file:
        raise typer.BadParameter("it is one or the other", param_hint="--export, --file")
    checked, broken = finished(_of_file(file) if file else _of_database(export))
    for link in broken:
        typer.echo(f"broken at event {link.seq} of payment {link.payment_id}: {link.because}")
    typer.echo(f"{checked} events checked, {len(broken)} broken links")
    if broken:
        raise typer.Exit(FINDINGS)


async def _of_file(file: Path) -> tuple[int, list[BrokenLink]]:
    try:
        lines = [
            msgspec.json.decode(line, type=ChainLine) for line in file.read_bytes().splitlines()
        ]
    except (OSError, msgspec.MsgspecError) as error:
        raise StartupError(f"{file} is no export of events: {error}.") from error
    return len(lines), list(broken_links(lines))


async def _of_database(export: Path | None) -> tuple[int, list[BrokenLink]]:
    checker, checked, broken = ChainChecker(), 0, []
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(app.reading_database(app.environment()))
        written = stack.enter_context(_opened(export)) if export else None
        async for line in exported(database):
            checked += 1
            link = checker.take(line)
            if link is not None:
                broken.append(link)
            if written:
                written.write(msgspec.json.encode(line) + b"\n")
    return checked, broken


def _opened(export: Path) -> BinaryIO:
    try:
        return export.open("wb")
    except OSError as error:
        raise StartupError(
            f"{export} cannot be written ({error.strerror}). Name another file with --export."
        ) from error
