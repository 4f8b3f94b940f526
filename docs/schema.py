"""The whole schema of the Billing Database in one place: docs/schema.sql, as pg_dump prints it.

The migrations say how the schema came about; this says what it is after all of them, as one would
read it with `pg_dump`. Made with the other documents by `make docs`, and compared by a test.

From the same database comes the list that the self-check compares a schema with
(`billing_database/schema_catalog.txt`).

Rule a change must keep: what is written is what the server says of a database that was migrated,
but for lines that differ from one dump to the next.
"""

import asyncio
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import asyncpg

from caas.billing_database import migrations, schema_catalog
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql, program

FILE: Final = Path(__file__).resolve().parent / "schema.sql"
HEAD: Final = "-- Made by `make docs` from a database that all migrations ran on; never edited.\n\n"
CATALOG: Final = Path(schema_catalog.__file__).with_name(schema_catalog.FILE)
SAYS_NOTHING: Final = re.compile(
    r"^(?:--.*|SET \w+ = .*;|SELECT pg_catalog\.set_config.*|\\(?:un)?restrict .*)\n", re.MULTILINE
)
BLANK_LINES: Final = re.compile(r"\n{3,}")


async def made() -> dict[Path, str]:
    """Migrate an empty database and tell its schema, and the list of what is in it."""
    with tempfile.TemporaryDirectory(prefix="caas-schema-") as folder:
        server = EmbeddedPostgresql(settings={"fsync": "off"})
        dsn = await server.start(Path(folder))
        try:
            await migrations.migrate(dsn)
            return {FILE: await describe(dsn), CATALOG: await catalog(dsn)}
        finally:
            await server.stop()


async def describe(dsn: str) -> str:
    """Tell the schema of a database."""
    dump = [str(program("pg_dump")), "--schema-only", "--schema=caas", "--no-owner", dsn]
    done = await asyncio.to_thread(subprocess.run, dump, capture_output=True, check=True, text=True)
    return HEAD + BLANK_LINES.sub("\n\n", SAYS_NOTHING.sub("", done.stdout)).strip() + "\n"


async def catalog(dsn: str) -> str:
    """List what is in the schema of a database."""
    session = await asyncpg.connect(dsn, server_settings={"search_path": "caas,public"})
    try:
        return await schema_catalog.describe(session)
    finally:
        await session.close()
