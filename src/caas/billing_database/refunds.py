"""Refunds and disputes.

Rules a change must keep: every write that allows a further refund locks the payment's row first;
the database rejects refunds beyond the received money, and refunds sent while something blocks
them; `obstacle_to_refund` in the schema defines what blocks a refund.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.rows import columns, read_all, read_one

LOCK_PAYMENT: Final = "select lock_payment($1)"
GIVEN_BACK: Final = """
select coalesce((select sum(amount) from refunds
                  where payment_id = $1 and state <> 'failed'), 0)::bigint
     + coalesce((select sum(amount) from disputes
                  where payment_id = $1 and state in ('opened', 'lost')), 0)::bigint
     + coalesce((select sum((payload->>'amount')::bigint) from jobs
                  where kind = 'promised_refund' and payload->>'payment' = $1::text
                    and payload->>'key' is distinct from $2), 0)::bigint as amount
"""
MONEY_OUT: Final = "select money_out($1) as amount"
OBSTACLE: Final = "select obstacle_to_refund($1) as what"
# The fence is raised so that a worker that read before this commit does not postpone the job; its
# lease ends as well, so that another worker runs the job at once.
WAKE: Final = """
update jobs w set due_at = least(due_at, db_now()), fence = fence + 1, lease_until = null,
       held_by = null
 where w.paused_at is null
   and (w.kind = 'refund' and w.subject in
          (select id from refunds where payment_id = any ($1::uuid[]) and state = 'waiting')
        or w.kind = 'promised_refund' and w.payload->>'payment' = any ($1::uuid[]::text[]))
"""
ADD: Final = """
insert into refunds (id, payment_id, gateway, amount, currency, reason, requested_by, state,
    created_at, updated_at)
select $1, id, gateway, $3, $4, $5, $6, 'waiting', db_now(), db_now() from payments where id = $2
on conflict (id) do nothing
"""


class Refund(msgspec.Struct, frozen=True):
    """A refund; `amount` in minor units of `currency`."""

    id: UUID
    payment_id: UUID
    amount: int
    currency: str
    reason: str
    requested_by: str
    state: str
    outcome: str
    gateway_refund_id: str | None
    failed_because: str | None
    created_at: datetime
    updated_at: datetime
    age_seconds: float = 0.0
    unmoved_seconds: float = 0.0
    issue: int = 1


COLUMNS: Final = "select {} from refunds".format(
    columns(
        Refund,
        age_seconds="extract(epoch from db_now() - created_at)::float8",
        unmoved_seconds="extract(epoch from db_now() - updated_at)::float8",
    )
)
ONE: Final = COLUMNS + " where id = $1"
OF_PAYMENT: Final = COLUMNS + " where payment_id = $1 order by created_at"
# Since when: it was sent then, whatever was tried after that.
UNKNOWN: Final = """
select r.id, r.amount, r.currency, e.at as since
  from refunds r join payment_events e on e.payment_id = r.payment_id
   and e.source = 'refund:' || r.id
 where r.payment_id = $1 and r.outcome = 'unknown' limit 1
"""
# Refunds that reconciliation requested are at the gateway and have no row in `refunds`.
NOTED: Final = """
select e.facts->>'refund' as id, (e.facts->>'amount')::bigint as amount
  from discrepancies d join discrepancy_events e on e.discrepancy_id = d.id
 where d.payment_id = $1 and e.facts ? 'refund' and e.facts ? 'amount'
"""
# Whose refunds at the gateway may differ from ours: one failed here, or one was made elsewhere.
IS_DOUBTFUL: Final = """
select exists (select from refunds where payment_id = $1 and state = 'failed')
    or exists (select from cases where subject = $1 and kind = 'refund_contradiction') as it_is
"""
WAS_REPORTED: Final = """
select exists (select from cases where subject = $1 and kind = 'refund_contradiction'
                  and facts->>'refund' = $2) as it_was
"""
BY_GATEWAY_ID: Final = COLUMNS + " where gateway = $1 and gateway_refund_id = $2"
SET: Final = """
update refunds set state = $2, outcome = $3, gateway_refund_id = coalesce($4, gateway_refund_id),
       failed_because = $5, updated_at = db_now()
 where id = $1 and state not in ('succeeded', 'failed') returning id
"""
NEXT_ISSUE: Final = """
update refunds set issue = issue + 1, updated_at = db_now() where id = $1
"""
ADD_DISPUTE: Final = """
insert into disputes (gateway, id, payment_id, amount, currency, claimed_amount, claimed_currency,
    state, reason, origin, gateway_dispute_id, opened_at, updated_at)
select gateway, $1, $2, 0, $3, $4, $5, 'opened', $6, $7, case $7 when 'gateway' then $1 end,
       db_now(), db_now() from payments where id = $2
"""
STEP_DISPUTE: Final = """
update disputes set state = $3, amount = $4, taken = $5, back = $6, steps = steps + 1,
       updated_at = db_now()
 where payment_id = $1 and id = $2
"""
AMEND_DISPUTE: Final = """
update disputes set claimed_amount = $3, amount = 0, amended = amended + 1, updated_at = db_now()
 where payment_id = $1 and id = $2
"""
REPORT_DISPUTE: Final = """
update disputes set reported_at = $3, gateway_dispute_id = coalesce(gateway_dispute_id, $4)
 where payment_id = $1 and id = $2
"""


class Dispute(msgspec.Struct, frozen=True):
    """A chargeback; `id` is the gateway's, unique there, or derived from a report line.

    `claimed_amount` is what the bank took; `amount` is the part that was received and not refunded;
    `excess` is the rest.
    """

    id: str
    payment_id: UUID
    amount: int
    currency: str
    state: str
    reason: str
    opened_at: datetime
    updated_at: datetime
    claimed_amount: int
    claimed_currency: str
    excess: int
    origin: str = "gateway"
    gateway_dispute_id: str | None = None
    reported_at: datetime | None = None
    steps: int = 0
    taken: int = 0
    back: int = 0


DISPUTE_COLUMNS: Final = f"select {columns(Dispute)} from disputes"
# A report line names no dispute: it belongs to the first one of its amount that the gateway
# reports, unless a named one has taken it over.
CLAIM_DISPUTE: Final = (
    DISPUTE_COLUMNS
    + """ d
 where payment_id = $1 and (gateway_dispute_id = $2 or id = $2
    or gateway_dispute_id is null and origin = 'chargeback line' and $5
       and claimed_amount = $3 and claimed_currency = $4
       and (state in ('opened', 'lost') or not exists (
         select from payment_events e where e.payment_id = $1 and e.facts->>'dispute' = d.id
            and e.facts ? 'instead')))
 order by (gateway_dispute_id = $2 or id = $2) desc nulls last, opened_at limit 1
"""
)
DISPUTE_OF_ANOTHER: Final = """
select d.payment_id from disputes d
 where (d.id = $2 or d.gateway_dispute_id = $2) and d.payment_id <> $1
   and d.gateway = (select gateway from payments where id = $1)
"""
# What banks took and returned, by disputes and lines (back: what lines left on settled funds).
LINES_AND_DISPUTES: Final = """
select coalesce(l.taken, 0)::bigint as lines_taken, coalesce(l.back, 0)::bigint as lines_back,
       coalesce(m.taken, 0)::bigint as taken, coalesce(m.named, 0)::bigint as named,
       coalesce(m.back, 0)::bigint as back
  from (select -sum(least(gross, 0)) as taken, sum(posts::int * gross + (
            select coalesce(sum(case 'settled_funds' when e.credit then e.amount
                                     when e.debit then -e.amount end), 0)
              from discrepancies d join discrepancy_entries e on e.discrepancy_id = d.id
             where (d.report_id, d.line_no) = (of_payment.report_id, of_payment.line_no)
          )) filter (where gross > 0) as back from (
          select * from settlement_lines where payment_id = $1 union all
          select s.* from identified_lines i join settlement_lines s using (report_id, line_no)
           where i.payment_id = $1) of_payment
         where currency = $2 and case when $3 then class = 'refund_mismatch' else
           type in ('chargeback', 'chargeback_reversal') and class <> 'duplicate_line' end) l
 cross join (select sum(taken) as taken, sum(taken) filter (where named) as named,
                    sum(back) as back
               from disputed_amounts($1, $2) where of_refund = $3) m
"""
DISPUTES_OF_PAYMENT: Final = DISPUTE_COLUMNS + " where payment_id = $1 order by opened_at, id"


class UnknownRefund(msgspec.Struct, frozen=True):
    """A sent refund with an unknown outcome, and since when."""

    id: UUID
    amount: int
    currency: str
    since: datetime


class LinesAndDisputes(msgspec.Struct, frozen=True):
    """What banks took and returned, by report lines and by disputes."""

    lines_taken: int
    lines_back: int
    taken: int
    named: int
    back: int

    @property
    def unreported(self) -> int:
        """What lines took without a dispute."""
        return max(self.lines_taken - self.taken, 0)

    @property
    def reversals_unreported(self) -> int:
        """What lines returned without a dispute."""
        return max(self.lines_back - self.back, 0)

    @property
    def reported_twice(self) -> int:
        """What disputes from lines took that named disputes also cover."""
        return max(self.taken - max(self.lines_taken, self.named), 0)


class Refunds:
    """The tables of refunds and disputes."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def given_back(
        self, payment_id: UUID, *, beside: str | None = None, within: Connection
    ) -> int:
        """Lock the payment and return what is refunded, promised or disputed.

        The promise with the key `beside` is excluded, because it is about to be fulfilled.
        """
        await within.fetchrow(LOCK_PAYMENT, payment_id)
        row = await within.fetchrow(GIVEN_BACK, payment_id, beside)
        assert row is not None, "a sum is one row"
        return int(row["amount"])

    async def money_out(self, payment_id: UUID, *, within: Connection) -> int:
        """Return what is refunded, in progress or held by a bank; promises do not count."""
        row = await within.fetchrow(MONEY_OUT, payment_id)
        assert row is not None, "a sum is one row"
        return int(row["amount"])

    async def obstacle(self, payment_id: UUID, *, within: Connection | None = None) -> str | None:
        """Return what blocks refunds of the payment, or None."""
        row = await (within or self._database).fetchrow(OBSTACLE, payment_id)
        assert row is not None, "a function returns one row"
        return None if row["what"] is None else str(row["what"])

    async def unknown(
        self, payment_id: UUID, *, within: Connection | None = None
    ) -> UnknownRefund | None:
        """Return the payment's refund with an unknown outcome, or None."""
        return await read_one(UnknownRefund, within or self._database, UNKNOWN, payment_id)

    async def wake(self, payment_id: UUID, *, within: Connection) -> None:
        """Make the payment's waiting refunds due now."""
        await self.wake_all([payment_id], within=within)

    async def wake_all(self, payment_ids: Sequence[UUID], *, within: Connection) -> None:
        """Make the waiting refunds of these payments due now."""
        if payment_ids:
            await within.execute(WAKE, list(payment_ids))

    async def add(  # noqa: PLR0913  # the columns of a refund
        self,
        refund_id: UUID,
        payment_id: UUID,
        *,
        amount: int,
        currency: str,
        reason: str,
        requested_by: str,
        within: Connection,
    ) -> None:
        """Add a refund; repeating the id changes nothing."""
        await within.execute(ADD, refund_id, payment_id, amount, currency, reason, requested_by)

    async def get(self, refund_id: UUID, *, within: Connection | None = None) -> Refund | None:
        """Return a refund, or None."""
        return await read_one(Refund, within or self._database, ONE, refund_id)

    async def by_gateway_id(self, gateway: str, gateway_refund_id: str) -> Refund | None:
        """Return the refund that this gateway knows by this id, or None."""
        return await read_one(Refund, self._database, BY_GATEWAY_ID, gateway, gateway_refund_id)

    async def of_payment(
        self, payment_id: UUID, *, within: Connection | None = None
    ) -> list[Refund]:
        """Return a payment's refunds, oldest first."""
        return await read_all(Refund, within or self._database, OF_PAYMENT, payment_id)

    async def noted(self, payment_id: UUID) -> dict[str, int]:
        """Return the amounts of the refunds that reconciliation recorded, by id."""
        rows = await self._database.fetch(NOTED, payment_id)
        return {str(row["id"]): int(row["amount"]) for row in rows}

    async def is_doubtful(self, payment_id: UUID) -> bool:
        """Return whether the gateway may have refunded more than is recorded."""
        row = await self._database.fetchrow(IS_DOUBTFUL, payment_id)
        return row is not None and bool(row["it_is"])

    async def was_reported(self, payment_id: UUID, gateway_refund_id: str) -> bool:
        """Return whether a case for an unknown refund exists or existed."""
        row = await self._database.fetchrow(WAS_REPORTED, payment_id, gateway_refund_id)
        return row is not None and bool(row["it_was"])

    async def set(
        self,
        refund_id: UUID,
        state: str,
        *,
        outcome: str = "known",
        gateway_refund_id: str | None = None,
        failed_because: str | None = None,
        within: Connection | None = None,
    ) -> bool:
        """Set a refund's state; return False if it had already ended."""
        row = await (within or self._database).fetchrow(
            SET, refund_id, state, outcome, gateway_refund_id, failed_because
        )
        return row is not None

    async def next_issue(self, refund_id: UUID) -> None:
        """Assign a new idempotency key to a refund that the gateway never received."""
        await self._database.fetch(NEXT_ISSUE, refund_id)

    async def add_dispute(self, dispute: Dispute, *, within: Connection) -> None:
        """Add a dispute before its first step; nothing of it counts yet."""
        await within.execute(
            ADD_DISPUTE, dispute.id, dispute.payment_id, dispute.currency, dispute.claimed_amount,
            dispute.claimed_currency, dispute.reason, dispute.origin,
        )  # fmt: skip

    async def step_dispute(self, of: Dispute, *, within: Connection) -> None:
        """Set a dispute's state, its counted amount, and how often it was taken and returned."""
        counts = (of.amount, of.taken, of.back)
        await within.execute(STEP_DISPUTE, of.payment_id, of.id, of.state, *counts)

    async def amend_dispute(self, dispute: Dispute, claimed: int, *, within: Connection) -> None:
        """Change the amount of a dispute that holds nothing."""
        await within.execute(AMEND_DISPUTE, dispute.payment_id, dispute.id, claimed)

    async def report_dispute(
        self, of: Dispute, at: datetime | None, gateway_id: str | None, *, within: Connection
    ) -> None:
        """Store the time of the last applied report, and the gateway's id."""
        await within.execute(REPORT_DISPUTE, of.payment_id, of.id, at, gateway_id)

    async def claim_dispute(
        self,
        payment_id: UUID,
        dispute_id: str,
        claimed: tuple[int, str],
        *,
        by_gateway: bool,
        within: Connection,
    ) -> Dispute | None:
        """Return the dispute with this id, adopting the one of a report line if it matches."""
        return await read_one(
            Dispute, within, CLAIM_DISPUTE, payment_id, dispute_id, *claimed, by_gateway
        )

    async def disputed_already(
        self, dispute_id: str, *, beside: UUID, within: Connection
    ) -> UUID | None:
        """Return another payment of the same gateway with a dispute of this id, or None."""
        other: UUID | None = await within.fetchval(DISPUTE_OF_ANOTHER, beside, dispute_id)
        return other

    async def lines_and_disputes(
        self, about: tuple[UUID, str], *, of_refunds: bool = False, within: Connection | None = None
    ) -> LinesAndDisputes:
        """Return the totals of lines and disputes about a payment in a currency."""
        row = await (within or self._database).fetchrow(LINES_AND_DISPUTES, *about, of_refunds)
        assert row is not None, "sums are one row"
        return LinesAndDisputes(*row.values())

    async def disputes_of(
        self, payment_id: UUID, *, within: Connection | None = None
    ) -> list[Dispute]:
        """Return a payment's disputes, oldest first."""
        return await read_all(Dispute, within or self._database, DISPUTES_OF_PAYMENT, payment_id)
