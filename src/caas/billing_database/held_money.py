"""The held deposit of a lost reservation: revenue of its payment put aside (decision 287).

Rule a change must keep: amounts are gross, without the entries of the output tax; a caller that
acts on them holds the payment's lock.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection, Database

ON_ACCOUNT: Final = """
select coalesce(sum(case when credit = $2 then amount else -amount end), 0)::bigint as amount
  from ledger_entries
 where payment_id = $1 and $2 in (debit, credit) and 'output_vat' not in (debit, credit)
"""
IS_HELD: Final = """
select coalesce(bool_or(event = 'Deposit held') and not bool_or(event = 'Deposit decided'), false)
       as it_is
  from payment_events where payment_id = $1 and event in ('Deposit held', 'Deposit decided')
"""


async def revenue_on(payment_id: UUID, account: str, *, within: Connection | Database) -> int:
    """Return the gross revenue of a payment on an account, in minor units."""
    row = await within.fetchrow(ON_ACCOUNT, payment_id, account)
    assert row is not None, "a sum is one row"
    return int(row["amount"])


async def is_held(payment_id: UUID, *, within: Connection) -> bool:
    """Return whether a payment is a deposit about which a person has to decide."""
    row = await within.fetchrow(IS_HELD, payment_id)
    return row is not None and bool(row["it_is"])
