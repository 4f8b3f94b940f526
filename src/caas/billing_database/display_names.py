"""Display names: the model of an order's vehicle, a service in the reader's language.

Messages store ids and codes; names are looked up when they are read.

Rule a change must keep: objects without a name are omitted and shown by id.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Database
from caas.billing_database.rows import read_one

NAMES: Final = """
select id::text as thing, model as name from orders where id = any($1)
union all select code, coalesce(names->>$3, name) from services where code = any($2)
"""
BOUGHT: Final = """
select c.language, coalesce(o.model, s.names->>c.language, s.name) as name, w.duration_days as days
  from customers c
  left join orders o on o.id = $2
  left join service_orders w on w.id = $2
  left join subscriptions b on b.id = $2
  left join services s on s.code = coalesce(w.service, b.service)
 where c.id = $1
"""
_ID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Description:
    """What a payment is for: a vehicle model, or a service and its duration."""

    language: str
    name: str | None
    days: int | None


async def bought(database: Database, *, customer: UUID, subject: UUID) -> Description | None:
    """Return what a customer pays for, in the customer's language, or None."""
    return await read_one(Description, database, BOUGHT, customer, subject)


async def names_of(
    database: Database, *, orders: Iterable[str], services: Iterable[str], language: str
) -> dict[str, str]:
    """Return the names of orders (given as text) and of services in a language."""
    ids = [UUID(order) for order in set(orders) if _ID.fullmatch(order)]
    codes = sorted(set(services))
    if not ids and not codes:
        return {}
    rows = await database.fetch(NAMES, ids, codes, language)
    return {row["thing"]: row["name"] for row in rows}
