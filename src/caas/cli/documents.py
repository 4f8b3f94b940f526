"""Documents from the command line: `caas documents issue-missing`.

Rule a change must keep: a command issues nothing itself, it notes what is due; the worker of the
platform issues it, under the letterhead of its settings.
"""

import typer

from caas import local_machine, process_environment
from caas.billing_database import connection
from caas.billing_database.documents import DocumentRows
from caas.cli.commands import INTERRUPTED, run_command

documents = typer.Typer(help="Invoices and credit notes.", no_args_is_help=True)


@documents.callback()
def _documents() -> None:
    """Keep the name of a command, while there is only one."""


@documents.command(name="issue-missing")
def issue_missing() -> None:
    """Have every payment and refund that has no document documented, those of before as well.

    What was captured where there was no tax rate is taxed first, if there is one by now.
    """

    async def opened() -> None:
        async with local_machine.database(process_environment.environment()) as dsn:
            database = await connection.connect(dsn)
            try:
                rows = DocumentRows(database)
                await rows.tax_held()
                noted = await rows.note_missing()
            finally:
                await database.close()
        typer.echo(f"{noted} payments and refunds lacked a document; the platform issues them now.")

    run_command(opened(), when_stopped=INTERRUPTED)
