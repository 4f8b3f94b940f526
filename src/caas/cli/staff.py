"""Staff accounts: `caas staff add | list | link | disable`.

The commands use the configured database, or that of the platform running on this machine. A link to
choose a password is printed for new accounts and forgotten passwords.

Rule a change must keep: no command reads, prints or stores a password.
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

staff = typer.Typer(help="Staff accounts.", no_args_is_help=True)

Login = Annotated[str, typer.Argument(help="Login, for example an e-mail address.")]
Operation = Callable[[StaffAccounts], Awaitable[None]]


@staff.command()
def add(
    login: Login,
    role: Annotated[Literal["sales", "operations"], typer.Option(help="Role of the account.")],
    dealership: Annotated[str | None, typer.Option(help="Dealership of a sales account.")] = None,
) -> None:
    """Create an account and print a link for choosing its password."""
    member = StaffMember(login.strip().lower(), Role(role), dealership)

    async def operation(accounts: StaffAccounts) -> None:
        typer.echo(await accounts.add(member))

    _operate(operation)


@staff.command(name="list")
def list_(*, as_json: AsJson = False) -> None:
    """List accounts, including disabled ones."""

    async def operation(accounts: StaffAccounts) -> None:
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
            await operation(StaffAccounts(database, public_url=""))

    run_command(opened(), when_stopped=INTERRUPTED)


@staff.command()
def link(login: Login) -> None:
    """Print a new link for choosing a password; earlier links become invalid."""

    async def operation(accounts: StaffAccounts) -> None:
        typer.echo(await accounts.link(login))

    _operate(operation)


@staff.command()
def disable(
    login: Login,
    *,
    yes: Yes = False,
) -> None:
    """Disable an account permanently and end its sessions."""
    if not yes:
        ask(f"Disable the account {login} permanently? Its sessions and links end now.")

    async def operation(accounts: StaffAccounts) -> None:
        await accounts.disable(login)
        typer.echo(f"{login} is disabled.")

    _operate(operation)


def _operate(operation: Operation) -> None:
    async def opened() -> None:
        settings = read_settings(local_machine.joined(process_environment.environment()))
        database = await connection.connect(settings.database_url)
        try:
            await operation(StaffAccounts(database, public_url=settings.public_url))
        finally:
            await database.close()

    run_command(opened(), when_stopped=INTERRUPTED)
