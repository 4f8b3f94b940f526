"""`caas verify` and `caas heads`: verify the event history, and list its signed heads.

An export can be verified offline, without a database.

Rule a change must keep: the command is read-only except for the export file.
"""

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec
import typer

from caas import local_machine, local_secrets, process_environment
from caas.billing_database import history_checks, history_heads
from caas.billing_database.connection import Database
from caas.billing_database.event_chain import (
    EVENTS_TABLE,
    ChainChecker,
    Export,
    ExportWriter,
    NoExportError,
    exported,
)
from caas.billing_database.history_checks import MISSING, Difference
from caas.cli.commands import FINDINGS, AsJson, run_and_return
from caas.errors import StartupError
from caas.external_systems.vehicle_command_keys import PublicCommandKey
from caas.gateway_settings import head_settings
from caas.rules.signed_heads import NoHeadError, SignedHead, is_public_key
from caas.settings import data_dir

HEAD_BYTES_MAX: Final = 1 << 20
DIFFERENCES_SHOWN_MAX: Final = 50


def verify(
    export: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Export every event to this file.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Verify an export offline."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Compare with this head or earlier export."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="Trusted public key, from `heads --public-key`; repeatable."),
    ] = None,
    *,
    without_end: Annotated[
        bool,
        typer.Option(
            "--without-end", help="Accept an export of an older version, which has no end marker."
        ),
    ] = False,
) -> None:
    """Verify the event history, by itself or against a saved head or export."""
    if export and (file or against):
        raise typer.BadParameter("cannot be combined with other options", param_hint="--export")
    if not all(map(is_public_key, key or ())):
        raise typer.BadParameter("a key is 32 bytes in base64", param_hint="--key")
    kept = _kept(against) if against else None
    read = _export(file, "--file") if file else None
    reported: list[str] = []
    for path, it in ((against, kept), (file, read)):
        if path is not None and isinstance(it, Export):
            reported += _without_end(path, it, allowed=without_end)
    run_and_return(_verify(export, read, kept, (reported, key or [])))


async def _verify(
    export: Path | None,
    read: Export | None,
    kept: SignedHead | Export | None,
    trust_errors: tuple[list[str], Sequence[str]],
) -> None:
    reported, keys = trust_errors
    if isinstance(kept, SignedHead):
        reported += _trust_errors(kept, keys)
    if read is not None:
        checked, found = _of_file(read, kept)
    else:
        async with process_environment.reading_database(
            process_environment.environment()
        ) as database:
            checked, found = await _of_database(database, export)
            if kept is not None:
                found += describe_differences(await _differences(database, kept))
    for line in reported + found:
        typer.echo(line)
    broken = len(reported) + len(found)
    typer.echo(f"{checked} events checked, {broken} broken links or differences")
    if broken:
        raise typer.Exit(FINDINGS)


def _kept(path: Path) -> SignedHead | Export:
    """Read a head or an export."""
    try:
        if path.stat().st_size <= HEAD_BYTES_MAX:
            return SignedHead.parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, NoHeadError):
        pass
    return _export(path, "--against")


def _export(path: Path, option: str) -> Export:
    """Read an export.

    Raises:
        BadParameter: the file is neither an export nor, where allowed, a head.
    """
    try:
        return Export.read(path)
    except NoExportError as error:
        more = "" if option == "--file" else " It is not a head either; `heads` lists them."
        raise typer.BadParameter(f"{error.sentence}{more}", param_hint=option) from error


def _trust_errors(head: SignedHead, keys: Sequence[str]) -> Iterable[str]:
    """Return why a head cannot be trusted."""
    if not head.is_signed:
        yield f"head {head.number} is not signed by the key it names, {head.key_id}"
    believed = set(keys) or {key.public_key for key in known_keys()}
    if believed and head.public_key not in believed:
        yield (f"head {head.number} is signed by key {head.key_id}, which is not trusted")
    elif not believed:
        typer.echo(f"signed by key {head.key_id}; compare it with your copy of the key")


def _without_end(path: Path, export: Export, *, allowed: bool) -> Iterable[str]:
    """Return an error if the end marker is missing, except in exports of older versions."""
    if export.end is not None:
        return
    if allowed:
        typer.echo(f"{path} has no end marker; truncation cannot be detected")
    else:
        yield (f"{path} is truncated: its end marker is missing (only older versions wrote none)")


def _of_file(export: Export, kept: SignedHead | Export | None) -> tuple[int, list[str]]:
    found = list(export.problems())
    if isinstance(kept, SignedHead):
        if EVENTS_TABLE not in kept.tables:
            raise StartupError(f"Head {kept.number} counts no events.")
        found += export.problems_with_others(kept)
    elif kept is not None:
        found += describe_differences(history_checks.differences_of_exports(export, kept))
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


def describe_differences(differences: Sequence[Difference]) -> list[str]:
    """Describe the differences; a payment that is missing entirely is one line."""
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
            f"Cannot write {export} ({error.strerror}). Name another file with --export."
        ) from error


def heads(
    *,
    public_key: Annotated[
        bool, typer.Option("--public-key", help="Print the public keys instead of the heads.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List signed heads, newest first. `verify --against` compares the history with one."""
    if public_key:
        _print_keys()
        return
    found = run_and_return(_heads())
    if as_json:
        typer.echo(msgspec.json.encode([msgspec.Raw(it.text.encode()) for it in found]).decode())
        return
    for head in found:
        rows = sum(it.rows for it in head.tables.values())
        typer.echo(
            f"{head.number:>6}  {head.made_at}  {rows:>10} rows  {head.digest}  key {head.key_id}"
        )
    if not found:
        typer.echo("No head exists yet. With CAAS_HEAD_KEYS set, `caas work` creates one a day.")


def known_keys() -> tuple[PublicCommandKey, ...]:
    """Return the public keys from the settings, or else from the data folder."""
    environment = local_machine.joined(process_environment.environment())
    keys = head_settings(environment).keys
    if keys is None:
        kept = local_secrets.head_key(data_dir(environment))
        keys = head_settings({"CAAS_HEAD_KEYS": kept}).keys
    return keys.public if keys else ()


def _print_keys() -> None:
    keys = run_and_return(_known_keys())
    for key in keys:
        typer.echo(f"{key.key_id}  {key.public_key}")
    if not keys:
        typer.echo("No signing key: CAAS_HEAD_KEYS is not set.")


async def _known_keys() -> tuple[PublicCommandKey, ...]:
    return known_keys()


async def _heads() -> list[SignedHead]:
    async with process_environment.reading_database(process_environment.environment()) as database:
        return [it.signed for it in await history_heads.last_heads(database)]
