"""Whether a database has the schema this code knows: what readiness asks.

Rule a change must keep: reading only.
"""

import hashlib
from typing import Final

import asyncpg

from caas.billing_database.connection import Database
from caas.billing_database.migrations import files

RAN: Final = "select name, checksum from migrations"


async def differences(database: Database) -> list[str]:
    """Return the migrations that this database lacks, has besides, or has otherwise, by name."""
    try:
        ran = {row["name"]: row["checksum"] for row in await database.fetch(RAN)}
    except asyncpg.UndefinedTableError:
        ran = {}
    known = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files().items()}
    return sorted(name for name in known.keys() | ran if known.get(name) != ran.get(name))
