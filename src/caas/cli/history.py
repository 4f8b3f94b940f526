"""`caas heads`: the heads of the history that were made, and the keys that sign them.

Rule a change must keep: it reads.
"""

from typing import Annotated

import msgspec
import typer

from caas import local_machine, local_secrets, process_environment
from caas.billing_database import history_heads
from caas.billing_settings import head_settings
from caas.cli.commands import AsJson, finished
from caas.external_systems.vehicle_command_keys import PublicCommandKey
from caas.rules.signed_heads import SignedHead
from caas.settings import data_dir


def heads(
    *,
    public_key: Annotated[
        bool, typer.Option("--public-key", help="Print the public keys instead, for an auditor.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the heads of the history, the newest first; `verify --against` compares with one."""
    if public_key:
        _print_keys()
        return
    found = finished(_heads())
    if as_json:
        typer.echo(msgspec.json.encode([msgspec.Raw(it.text.encode()) for it in found]).decode())
        return
    for head in found:
        rows = sum(it.rows for it in head.tables.values())
        typer.echo(
            f"{head.number:>6}  {head.made_at}  {rows:>10} rows  {head.digest}  key {head.key_id}"
        )
    if not found:
        typer.echo("No head was made yet. With CAAS_HEAD_KEYS set, `work` makes one a day.")


def known_keys() -> tuple[PublicCommandKey, ...]:
    """Return the keys that sign heads here: those of the settings, or of this data folder."""
    environment = local_machine.joined(process_environment.environment())
    keys = head_settings(environment).keys
    if keys is None:
        kept = local_secrets.head_key(data_dir(environment))
        keys = head_settings({"CAAS_HEAD_KEYS": kept}).keys
    return keys.public if keys else ()


def _print_keys() -> None:
    keys = finished(_known_keys())
    for key in keys:
        typer.echo(f"{key.key_id}  {key.public_key}")
    if not keys:
        typer.echo("No key signs heads: CAAS_HEAD_KEYS is not set.")


async def _known_keys() -> tuple[PublicCommandKey, ...]:
    return known_keys()


async def _heads() -> list[SignedHead]:
    async with process_environment.reading_database(process_environment.environment()) as database:
        return [it.signed for it in await history_heads.last_heads(database)]
