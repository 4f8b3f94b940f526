"""`caas verify`: the history by itself, and against a head or an export that was kept elsewhere.

An export can be checked, and held against a head, on a machine without any database.

Rule a change must keep: it reads; the only file it writes is the export that was asked for.
"""

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from caas import process_environment
from caas.billing_database import history_checks, history_heads
from caas.billing_database.connection import Database
from caas.billing_database.event_chain import EVENTS_TABLE, ChainChecker, exported
from caas.billing_database.event_exports import Export, ExportWriter, NoExportError
from caas.billing_database.history_checks import MISSING, Difference
from caas.cli.commands import FINDINGS, finished
from caas.cli.history import known_keys
from caas.errors import StartupError
from caas.rules.signed_heads import NoHeadError, SignedHead, is_public_key

HEAD_BYTES_MAX: Final = 1 << 20
DIFFERENCES_SHOWN_MAX: Final = 50


def verify(
    export: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write every event to this file.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Check an export instead, offline."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Say what differs from this head, or older export."
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="A public key to believe, from `heads --public-key`; repeat for more."),
    ] = None,
    *,
    without_end: Annotated[
        bool,
        typer.Option("--without-end", help="Take an export of an older version, which has no end."),
    ] = False,
) -> None:
    """Check the history, by itself or against a head or an export kept elsewhere."""
    if export and (file or against):
        raise typer.BadParameter("it is written alone", param_hint="--export")
    if not all(map(is_public_key, key or ())):
        raise typer.BadParameter("it is 32 bytes in base64", param_hint="--key")
    kept = _kept(against) if against else None
    read = _export(file, "--file") if file else None
    reported: list[str] = []
    for path, it in ((against, kept), (file, read)):
        if path is not None and isinstance(it, Export):
            reported += _without_end(path, it, allowed=without_end)
    finished(_verify(export, read, kept, (reported, key or [])))


async def _verify(
    export: Path | None,
    read: Export | None,
    kept: SignedHead | Export | None,
    doubted: tuple[list[str], Sequence[str]],
) -> None:
    reported, keys = doubted
    if isinstance(kept, SignedHead):
        reported += _doubts(kept, keys)
    if read is not None:
        checked, found = _of_file(read, kept)
    else:
        async with process_environment.reading_database(
            process_environment.environment()
        ) as database:
            checked, found = await _of_database(database, export)
            if kept is not None:
                found += shown(await _differences(database, kept))
    for line in reported + found:
        typer.echo(line)
    broken = len(reported) + len(found)
    typer.echo(f"{checked} events checked, {broken} broken links or differences")
    if broken:
        raise typer.Exit(FINDINGS)


def _kept(path: Path) -> SignedHead | Export:
    """Read what to compare with: a head, or else an export."""
    try:
        if path.stat().st_size <= HEAD_BYTES_MAX:
            return SignedHead.parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, NoHeadError):
        pass
    return _export(path, "--against")


def _export(path: Path, option: str) -> Export:
    """Read an export.

    Raises:
        BadParameter: the file is none, and no head either where one may be named.
    """
    try:
        return Export.read(path)
    except NoExportError as error:
        more = "" if option == "--file" else " Nor is it a head: `heads` lists them."
        raise typer.BadParameter(f"{error.sentence}{more}", param_hint=option) from error


def _doubts(head: SignedHead, keys: Sequence[str]) -> Iterable[str]:
    """Tell why a head is not to be believed."""
    if not head.is_signed:
        yield f"head {head.number} is not signed by the key it names, {head.key_id}"
    believed = set(keys) or {key.public_key for key in known_keys()}
    if believed and head.public_key not in believed:
        yield f"head {head.number} is signed by key {head.key_id}, which is none of yours"
    elif not believed:
        typer.echo(f"signed by key {head.key_id}: compare it with the one you were given")


def _without_end(path: Path, export: Export, *, allowed: bool) -> Iterable[str]:
    """Tell that the last line is missing, unless an older version wrote the export."""
    if export.end is not None:
        return
    if allowed:
        typer.echo(f"{path} has no end: that something was left out is not seen")
    else:
        yield f"{path} is cut: its end is missing (only versions before heads wrote none)"


def _of_file(export: Export, kept: SignedHead | Export | None) -> tuple[int, list[str]]:
    found = list(export.problems())
    if isinstance(kept, SignedHead):
        if EVENTS_TABLE not in kept.tables:
            raise StartupError(f"Head {kept.number} counts no events.")
        found += export.problems_with_others(kept)
    elif kept is not None:
        found += shown(history_checks.differences_of_exports(export, kept))
    return len(export.lines), found


async def _of_database(database: Database, export: Path | None) -> tuple[int, list[str]]:
    checker, writer, checked, found = ChainChecker(), ExportWriter(), 0, []
    async with AsyncExitStack() as stack:
        newest = await history_heads.last_heads(database, rows_max=1)
        written = stack.enter_context(_opened(export)) if export else None
        async for line in exported(database):
            checked += 1
            link = checker.take(line)
            if link is not None:
                found.append(link.sentence)
            if written:
                written.write(writer.line(line))
        if written:
            written.write(writer.end(newest[0].signed if newest else None))
    return checked, found


async def _differences(database: Database, kept: SignedHead | Export) -> list[Difference]:
    if isinstance(kept, SignedHead):
        return await history_checks.differences_from_head(database, kept)
    return await history_checks.differences_from_export(exported(database), kept)


def shown(differences: Sequence[Difference]) -> list[str]:
    """Return the differences as sentences; a payment all of which is missing is one."""
    gone = history_checks.payments_gone(differences)
    lines = [f"payment {payment} is missing: its events 1 to {last}" for payment, last in gone]
    whole = {payment for payment, _ in gone}
    rest = [
        it for it in differences
        if not (it.table == EVENTS_TABLE and it.because == MISSING
                and it.key.partition("/")[0] in whole)
    ]  # fmt: skip
    lines += [
        f"{it.table} {it.key}: {it.because}" if it.key else f"{it.table}: {it.because}"
        for it in rest[:DIFFERENCES_SHOWN_MAX]
    ]
    if len(rest) > DIFFERENCES_SHOWN_MAX:
        lines.append(f"and {len(rest) - DIFFERENCES_SHOWN_MAX} more differences")
    return lines


def _opened(export: Path) -> BinaryIO:
    try:
        return export.open("wb")
    except OSError as error:
        raise StartupError(
            f"{export} cannot be written ({error.strerror}). Name another file with --export."
        ) from error
