"""Who may work here: `caas staff add | list | link | disable`.

They work on the database of the settings, or of the platform that is up on this machine. Whoever
is added, or has forgotten the password, gets a link that is printed here and handed on.

Rules a change must keep: a command decides nothing that the channels do not; no password is typed,
printed or stored by it.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import msgspec
import typer

from caas import local_machine, process_environment
from caas.billing_database import connection
from caas.billing_database.accounts import Role, StaffMember
from caas.cli.commands import INTERRUPTED, AsJson, Yes, ask, run_command
from caas.console.staff import StaffAccounts
from caas.settings import read_settings

staff = typer.Typer(help="Accounts of people who work here.", no_args_is_help=True)

Login = Annotated[str, typer.Argument(help="What they sign in with, such as an e-mail address.")]
Operation = Callable[[StaffAccounts], Awaitable[None]]


@staff.command()
def add(
    login: Login,
    role: Annotated[Literal["sales", "operations"], typer.Option(help="What they may do.")],
    dealership: Annotated[str | None, typer.Option(help="Where sales work.")] = None,
) -> None:
    """Make an account, and print the link with which its owner chooses a password."""
    member = StaffMember(login.strip().lower(), Role(role), dealership)

    async def work(accounts: StaffAccounts) -> None:
        typer.echo(await accounts.add(member))

    _operate(work)


@staff.command(name="list")
def list_(*, as_json: AsJson = False) -> None:
    """List the accounts, those that are disabled as well."""

    async def work(accounts: StaffAccounts) -> None:
        listed = await accounts.listed()
        if as_json:
            typer.echo(msgspec.json.encode(listed).decode())
            return
        for one in listed:
            closed = f"disabled {one.disabled_at:%Y-%m-%d}" if one.disabled_at else ""
            typer.echo(f"{one.login:<32}  {one.role:<10}  {one.dealership or '':<20}  {closed}")

    async def opened() -> None:
        async with process_environment.reading_database(
            process_environment.environment()
        ) as database:
            await work(StaffAccounts(database, public_url=""))

    run_command(opened(), when_stopped=INTERRUPTED)


@staff.command()
def link(login: Login) -> None:
    """Print a link to choose another password with; the links before it end."""

    async def work(accounts: StaffAccounts) -> None:
        typer.echo(await accounts.link(login))

    _operate(work)


@staff.command()
def disable(
    login: Login,
    *,
    yes: Yes = False,
) -> None:
    """Close an account at once and for ever, whoever is signed in with it."""
    if not yes:
        ask(f"Close the account {login} for ever? Its sessions and its links end now.")

    async def work(accounts: StaffAccounts) -> None:
        await accounts.disable(login)
        typer.echo(f"{login} is disabled.")

    _operate(work)


def _operate(work: Operation) -> None:
    async def opened() -> None:
        settings = read_settings(local_machine.joined(process_environment.environment()))
        database = await connection.connect(settings.database_url)
        try:
            await work(StaffAccounts(database, public_url=settings.public_url))
        finally:
            await database.close()

    run_command(opened(), when_stopped=INTERRUPTED)
