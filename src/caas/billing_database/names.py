"""What things are called: the model of an order's vehicle, a service by its name.

Messages keep ids and codes, and are written out with the names of the moment when they are read.

Rule a change must keep: what has no name is left out, and shown by its id.
"""

import re
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Database

NAMES: Final = """
select id::text as thing, model as name from orders where id = any($1)
union all select code, name from services where code = any($2)
"""
_ID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def names_of(
    database: Database, *, orders: Iterable[str], services: Iterable[str]
) -> dict[str, str]:
    """Return the names of orders, given as text, and of services."""
    ids = [UUID(order) for order in set(orders) if _ID.fullmatch(order)]
    codes = sorted(set(services))
    if not ids and not codes:
        return {}
    rows = await database.fetch(NAMES, ids, codes)
    return {row["thing"]: row["name"] for row in rows}
