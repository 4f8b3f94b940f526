"""Lost disputes in another currency than their payment (record 228).

Such a dispute is booked on its payment, in the payment's currency, and no line of that currency
takes the money from `settled_funds`: its line is in the dispute's. A discrepancy tells a person.

Rule a change must keep: a dispute has one discrepancy each time it was taken.
"""

from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.discrepancy_statements import COLUMNS
from caas.billing_database.rows import read_all, row_as

LOST: Final = """
select x.id, x.payment_id, x.amount, x.currency, x.claimed_amount, x.claimed_currency, x.taken
  from disputes x
 where x.state = 'lost' and x.claimed_currency <> x.currency and x.amount > 0 and x.gateway = $1
 order by x.id
"""
RETURNED: Final = f"""
select {COLUMNS}, x.id as dispute
  from discrepancies d
  join discrepancy_events e on e.discrepancy_id = d.id and e.seq = 1
  join disputes x on x.gateway = d.gateway and x.id = e.facts->>'dispute' and x.state <> 'lost'
 where d.gateway = $1 and d.kind = 'currency' and d.report_id is null and d.payment_id is not null
   and (d.status <> 'resolved' or d.resolution <> 'itself' and not exists (
     select from reconciliation_days y
      where y.gateway = d.gateway and y.day = d.day and y.sealed_at is not null))
 order by d.id for update of d
"""


class ForeignDispute(msgspec.Struct, frozen=True):
    """A lost dispute; amounts in minor units, `amount` in the payment's currency."""

    id: str
    payment_id: UUID
    amount: int
    currency: str
    claimed_amount: int
    claimed_currency: str
    taken: int


async def lost(gateway: str, *, within: Connection) -> list[ForeignDispute]:
    """Return a gateway's lost disputes in another currency than their payments."""
    return await read_all(ForeignDispute, within, LOST, gateway)


async def returned(gateway: str, *, within: Connection) -> list[tuple[Discrepancy, str]]:
    """Lock and return the discrepancies whose dispute came back, and that dispute."""
    rows = await within.fetch(RETURNED, gateway)
    return [(row_as(Discrepancy, row), row["dispute"]) for row in rows]
