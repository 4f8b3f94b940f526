"""The process environment, and read-only access to the Billing Database.

Rule a change must keep: only this module reads the environment; it imports little, so that short
commands start quickly.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from caas import local_machine
from caas.billing_database import connection, migrations
from caas.billing_database.connection import Database
from caas.errors import StartupError

ENVIRONMENT_FILE: Final = Path(".env")


def environment(file: Path = ENVIRONMENT_FILE) -> dict[str, str]:
    """Return the environment variables, which take precedence over the .env file.

    Raises:
        StartupError: the file cannot be read.
    """
    found: dict[str, str] = {}
    if file.is_file():
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"Cannot read {file}. It must be UTF-8 text.") from error
        for line in text.splitlines():
            name, equals, value = line.strip().partition("=")
            if equals and not name.startswith("#"):
                found[name.strip()] = value.strip().strip("\"'")
    return found | dict(os.environ)


@asynccontextmanager
async def reading_database(environment: Mapping[str, str]) -> AsyncIterator[Database]:
    """Open the Billing Database with read-only sessions.

    Raises:
        StartupError: there is no database, or its schema is of another version.
    """
    async with local_machine.database(environment) as dsn:
        await migrations.check(dsn)
        database = await connection.connect(dsn, read_only=True)
        try:
            yield database
        finally:
            await database.close()
