"""The classification of Diagram 10 as text, and the engine that runs it inside PostgreSQL.

The text is `classification.sql`, one for every engine. PostgreSQL runs it where a report is small,
and in the tests, where it is the engine that the others are held against.

Rule a change must keep: an engine reads the relations of `rules.compared_relations` from files in
a folder and writes the outcome there; it never looks anywhere else.
"""

from importlib import resources
from pathlib import Path
from typing import Final

from caas.billing_database.connection import Database
from caas.rules.compared_relations import RELATIONS, declared, names

SECONDS_MAX: Final = 600


def classification() -> str:
    """Return the text."""
    folder = resources.files("caas.billing_database")
    return (folder / "classification.sql").read_text("utf-8")


class PostgresqlEngine:
    """Runs the classification inside the Billing Database's server, on temporary tables."""

    name: Final = "postgresql"
    file_format: Final = "csv"

    def __init__(self, database: Database) -> None:
        """Run there."""
        self._database = database

    async def classify(self, folder: Path, text: str) -> Path:
        """Read the relations from the folder, and return the file with the outcome."""
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
