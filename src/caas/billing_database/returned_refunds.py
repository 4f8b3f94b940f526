"""Refunds that failed after they had succeeded, and the report lines that bring their money back.

Rules a change must keep: a refund is ended as returned after the event that brings its money back,
in one commit; a line is of the refund whose amount it has, and only if there is just one.
"""

from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.rows import read_one

END: Final = """
update refunds set state = 'failed', failed_because = $2, updated_at = db_now()
 where id = $1 and state = 'succeeded' returning id
"""
# Of refunds that the gateway itself reported as returned, each is told by one line. What a line
# reported as refunded, without a refund of ours, is reversed by a line of its own.
BY_LINE: Final = """
select (select count(*) from refunds r join payment_events e on e.payment_id = r.payment_id
           and e.source = 'refund-returned:' || r.id
         where r.payment_id = $1 and r.amount = $2 and not e.facts ? 'line')
       > (select count(*) from refund_lines_of($1, $3) l where l.gross = $2) as is_known,
       array(select r.id from refunds r
              where r.payment_id = $1 and r.amount = $2 and r.currency = $3
                and r.state = 'succeeded' and not exists (
                  select from disputes d where d.payment_id = $1 and d.origin = 'refund line'
                     and d.state = 'lost')) as refunds
"""
OF_LINE: Final = """
select exists (select from payment_events
                where payment_id = $1 and event = 'Refund returned' and facts->>'line' = $2)
"""


class ReturnedByLine(msgspec.Struct, frozen=True):
    """Whether a refund of a line's amount is known to have returned, and those that may have."""

    is_known: bool
    refunds: list[UUID]


NO_REFUND: Final = ReturnedByLine(is_known=False, refunds=[])


async def end(refund_id: UUID, because: str, *, within: Connection) -> bool:
    """Let a refund that succeeded be failed; return False if it has not succeeded."""
    return await within.fetchrow(END, refund_id, because) is not None


async def by_line(
    payment_id: UUID, amount: int, currency: str, *, by: Connection | Database
) -> ReturnedByLine:
    """Return what a line that brings this amount back of a payment's refunds may be about."""
    found = await read_one(ReturnedByLine, by, BY_LINE, payment_id, amount, currency)
    assert found is not None, "a count is one row"
    return found


async def was_returned_by(payment_id: UUID, line: str, *, within: Connection) -> bool:
    """Return whether the decision about a line ended a refund as returned."""
    return bool(await within.fetchval(OF_LINE, payment_id, line))
