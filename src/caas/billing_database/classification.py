"""The reconciliation query (Diagram 10), and its engine inside PostgreSQL.

`classification.sql` serves every engine. PostgreSQL runs it for small reports, and tests compare
the other engines with it.

Rule a change must keep: an engine reads the relations of `rules.compared_relations` from files in a
folder and writes its output there; it reads nothing else.
"""

from importlib import resources
from pathlib import Path
from typing import Final

from caas.billing_database.connection import Database
from caas.rules.compared_relations import RELATIONS, declared, names

SECONDS_MAX: Final = 600


def classification() -> str:
    """Return the query."""
    folder = resources.files("caas.billing_database")
    return (folder / "classification.sql").read_text("utf-8")


class PostgresqlEngine:
    """Runs the query on temporary tables of the Billing Database's server."""

    name: Final = "postgresql"
    file_format: Final = "csv"

    def __init__(self, database: Database) -> None:
        """Run there."""
        self._database = database

    async def classify(self, folder: Path, text: str) -> Path:
        """Load the relations from the folder and return the file with the output."""
        found = folder / "outcome.postgresql.csv"
        async with self._database.transaction() as connection:
            for name, columns in RELATIONS.items():
                await connection.execute(
                    f"create temp table {name} ({declared(columns)}) on commit drop"
                )
                await connection.copy_to_table(
                    name,
                    source=folder / f"{name}.csv",
                    columns=names(columns),
                    format="csv",
                    timeout=SECONDS_MAX,
                )
                await connection.execute(f"analyze {name}")
            await connection.copy_from_query(text, output=found, format="csv", timeout=SECONDS_MAX)
        return found
