"""Payout of credit notes: refunded, promised, or covered by a loss.

Rule a change must keep: the covered amount is derived from the payment's events, never stored
separately.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection, Database
from caas.billing_database.rows import read_all, read_one

# A credit note that gives money back, not one that a refund was made before; its payment, and the
# reason that all its refunds have.
NOTE: Final = """
select n.id, f.payment_id, -n.gross as owed, f.reason
  from invoices n join refunds f on f.id = n.refund
   and f.reason = 'credit note ' || n.series || '-' || lpad(n.number::text, 6, '0')
 where n.kind = 'credit note'
"""
STANDING: Final = f"""
select n.id, n.payment_id, n.owed, n.reason,
       coalesce((select sum(r.amount) from refunds r
                  where r.payment_id = n.payment_id and r.reason = n.reason
                    and r.state <> 'failed'), 0)::bigint as given_back,
       coalesce((select sum((w.payload->>'amount')::bigint) from jobs w
                  where w.kind = 'promised_refund' and w.payload->>'reason' = n.reason
                    and w.payload->>'payment' = n.payment_id::text), 0)::bigint as promised,
       coalesce((select sum(coalesce((e.facts->>'covered')::bigint, 0)
                            - coalesce((e.facts->>'uncovered')::bigint, 0))
                   from payment_events e
                  where e.payment_id = n.payment_id and e.event = 'Loss booked'
                    and e.facts->>'covered_note' = n.id::text), 0)::bigint as covered,
       (select count(*) from payment_events e
         where e.payment_id = n.payment_id and e.event = 'Loss booked'
           and e.facts->>'covered_note' = n.id::text) as times
  from ({NOTE}) n
"""
OF_REASON: Final = f"{STANDING} where n.payment_id = $1 and n.reason = $2"
OF_PAYMENT: Final = f"{STANDING} where n.payment_id = $1 order by n.id"
OF_NOTE: Final = f"{STANDING} where n.id = $1"


@dataclass(frozen=True, slots=True)
class StandingNote:
    """A credit note to pay out; amounts in minor units of its payment's currency.

    `covered` is what a bank took back or never paid and so is not refunded; `times` counts how
    often that changed.
    """

    id: UUID
    payment_id: UUID
    owed: int
    reason: str
    given_back: int
    promised: int
    covered: int
    times: int


async def of_reason(by: Connection, payment_id: UUID, reason: str) -> StandingNote | None:
    """Return the payment's credit note whose refunds have this reason."""
    return await read_one(StandingNote, by, OF_REASON, payment_id, reason)


async def of_payment(by: Connection, payment_id: UUID) -> list[StandingNote]:
    """Return the payment's credit notes to pay out."""
    return await read_all(StandingNote, by, OF_PAYMENT, payment_id)


async def of_note(by: Database, note_id: UUID) -> StandingNote | None:
    """Return the payout status of a credit note, or None if nothing is paid out."""
    return await read_one(StandingNote, by, OF_NOTE, note_id)
