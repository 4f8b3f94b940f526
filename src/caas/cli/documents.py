"""Document commands: queue missing documents, and issue one again to another buyer.

Rule a change must keep: `issue-missing` only queues documents; a worker issues them.
"""

import getpass
from typing import Annotated

import typer

from caas import app, local_machine, process_environment
from caas.billing_database import connection
from caas.billing_database.accounts import Actor
from caas.billing_database.documents import DocumentRows
from caas.billing_database.invoices import InvoiceNotFoundError
from caas.cli.commands import INTERRUPTED, run_command
from caas.settings import read_settings

documents = typer.Typer(help="Invoices and credit notes.", no_args_is_help=True)


@documents.command(name="issue-missing")
def issue_missing() -> None:
    """Queue a document for every payment and refund that has none.

    Payments captured before a tax rate existed are taxed first if a rate exists now.
    """

    async def opened() -> None:
        async with local_machine.database(process_environment.environment()) as dsn:
            database = await connection.connect(dsn)
            try:
                rows = DocumentRows(database)
                await rows.tax_held()
                queued = await rows.note_missing()
            finally:
                await database.close()
        typer.echo(f"Queued documents for {queued} payments and refunds.")

    run_command(opened(), when_stopped=INTERRUPTED)


@documents.command()
def reissue(
    number: Annotated[str, typer.Argument(help="Number of the document.")],
    reason: Annotated[str, typer.Option(help="Why; printed on the credit note.")],
    by: Annotated[
        str, typer.Option("--by", default_factory=getpass.getuser, help="Name to record.")
    ],
) -> None:
    """Issue a document again to its customer's current billing details, with a credit note.

    Above the single-approver limit it becomes a proposal, which another account approves.
    """

    async def opened() -> None:
        settings = read_settings(local_machine.joined(process_environment.environment()))
        async with app.opened(settings, hears_vehicles=False) as platform:
            found = await platform.invoices.invoices(number=number)
            if not found:
                raise InvoiceNotFoundError(f"No document has the number {number}.")
            done = await platform.invoices.credit_notes.reissue(
                found[0].id, reason=reason, by=Actor(by)
            )
        if done.note is None or done.replacement is None:
            typer.echo(f"{number}: proposed; another person's account has to approve it.")
        else:
            typer.echo(
                f"{number}: credited by {done.note.full_number}, issued again as "
                f"{done.replacement.full_number}."
            )

    run_command(opened(), when_stopped=INTERRUPTED)
