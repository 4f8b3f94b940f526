"""What a process is given: its environment, and the Billing Database to read.

Nothing else reads the environment.

Rule a change must keep: commands that only look something up start here and import no more, so that
they answer at once; the platform as a whole is opened by `app`.
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
    """Return the process's environment, over what the .env file says.

    Raises:
        StartupError: the file cannot be read.
    """
    found: dict[str, str] = {}
    if file.is_file():
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"The file {file} cannot be read; make it UTF-8 text.") from error
        for line in text.splitlines():
            name, equals, value = line.strip().partition("=")
            if equals and not name.startswith("#"):
                found[name.strip()] = value.strip().strip("\"'")
    return found | dict(os.environ)


@asynccontextmanager
async def reading_database(environment: Mapping[str, str]) -> AsyncIterator[Database]:
    """Open the Billing Database in sessions that cannot write.

    Raises:
        StartupError: there is no database, or it is not of this version.
    """
    async with local_machine.database(environment) as dsn:
        await migrations.check(dsn)
        database = await connection.connect(dsn, read_only=True)
        try:
            yield database
        finally:
            await database.close()
