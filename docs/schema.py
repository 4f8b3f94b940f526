"""The whole schema of the Billing Database in one place: docs/schema.sql, as PostgreSQL tells it.

The migrations say how the schema came about; this says what it is after all of them, as one would
read it with `pg_dump`. Made with the other documents by `make docs`, and compared by a test.

Rule a change must keep: what is written is what the server says of a database that was migrated,
but for lines that differ from one dump to the next.
"""

import asyncio
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from caas.billing_database import migrations
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql, program

FILE: Final = Path(__file__).resolve().parent / "schema.sql"
HEAD: Final = "-- Made by `make docs` from a database that all migrations ran on; never edited.\n\n"
SAYS_NOTHING: Final = re.compile(
    r"^(?:--.*|SET \w+ = .*;|SELECT pg_catalog\.set_config.*|\\(?:un)?restrict .*)\n", re.MULTILINE
)
BLANK_LINES: Final = re.compile(r"\n{3,}")


async def made() -> str:
    """Migrate an empty database and tell its schema."""
    with tempfile.TemporaryDirectory(prefix="caas-schema-") as folder:
        server = EmbeddedPostgresql(settings={"fsync": "off"})
        dsn = await server.start(Path(folder))
        try:
            await migrations.migrate(dsn)
            return await told(dsn)
        finally:
            await server.stop()


async def told(dsn: str) -> str:
    """Tell the schema of a database."""
    dump = [str(program("pg_dump")), "--schema-only", "--schema=caas", "--no-owner", dsn]
    done = await asyncio.to_thread(subprocess.run, dump, capture_output=True, check=True, text=True)
    return HEAD + BLANK_LINES.sub("\n\n", SAYS_NOTHING.sub("", done.stdout)).strip() + "\n"
