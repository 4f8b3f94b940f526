"""Claims on the provider: filed by a decision, then settled with a receipt.

The end of a claim is posted (record 153): a paid one to suspense until its line brings the money, a
refused one to losses. A claim whose decision was taken back, or replaced, is withdrawn.

Rules a change must keep: a claim changes only together with its event, in one statement; claims
that ended leave no balance on the claims account, and only a withdrawn one is filed again.
"""

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from caas.billing_database.accounts import Actor
from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.decisions import LastDecision
from caas.billing_database.filters import Walk, composed
from caas.billing_database.rows import columns, read_one, row_as
from caas.errors import ConflictError, NotFoundError
from caas.rules.postings import GATEWAY_CLAIMS, UNEXPLAINED_FUNDS, risk_loss

ROWS_MAX: Final = 200
DUE_DAYS: Final = 10
ENDED: Final = ("paid", "refused", "withdrawn")
IS_OPEN: Final = "status not in ('paid', 'refused', 'withdrawn')"
"""In SQL, whether a claim has not ended; the index of open claims has this text."""


class GatewayClaim(msgspec.Struct, frozen=True):
    """A claim; `amount` is the claimed amount in minor units.

    `refusal_by` proposed to record it as refused; it becomes a loss once a second person approves.
    """

    discrepancy_id: UUID
    gateway: str
    status: str
    version: int
    receipt: str | None
    amount: int
    currency: str
    due_on: date
    filed_at: datetime
    updated_at: datetime
    age_days: int
    refusal_by: str | None = None


COLUMNS: Final = columns(
    GatewayClaim, "c", age_days="extract(day from db_now() - c.filed_at)::integer"
)
FILE: Final = f"""
with claim as (
  insert into gateway_claims as g (discrepancy_id, gateway, status, version, amount, currency,
      due_on, filed_at, updated_at)
  select d.id, d.gateway, 'filed', 1, d.amount, d.currency,
         (db_now() at time zone $4)::date + {DUE_DAYS}, db_now(), db_now()
    from discrepancies d where d.id = $1
  on conflict (discrepancy_id) do update set status = 'filed', version = g.version + 1,
      updated_at = db_now(), due_on = excluded.due_on, needs_second = false, refusal_by = null,
      refusal_account = null, refused_account = null
  returning discrepancy_id, version, updated_at
)
insert into gateway_claim_events (discrepancy_id, seq, status, by, note, at)
select discrepancy_id, version, 'filed', $2, $3, updated_at from claim
"""
STEP: Final = f"""
with claim as (
  update gateway_claims set status = $2, version = version + 1, updated_at = db_now(),
         receipt = coalesce($3, receipt), needs_second = false, refusal_by = null,
         refusal_account = null
   where discrepancy_id = $1 and {IS_OPEN}
  returning discrepancy_id, version, receipt, updated_at
)
insert into gateway_claim_events (discrepancy_id, seq, status, by, note, receipt, at)
select discrepancy_id, version, $2, $4, $5, receipt, updated_at from claim returning seq
"""
PROPOSE: Final = f"""
with claim as (
  update gateway_claims set version = version + 1, updated_at = db_now(), needs_second = true,
         refusal_by = $2, refusal_account = $3
   where discrepancy_id = $1 and {IS_OPEN} and not needs_second
  returning discrepancy_id, version, status, receipt, updated_at
)
insert into gateway_claim_events (discrepancy_id, seq, status, by, note, receipt, at)
select discrepancy_id, version, status, $2, $4, receipt, updated_at from claim returning seq
"""
PROPOSED: Final = f"""
select discrepancy_id, refusal_account from gateway_claims
 where discrepancy_id = $1 and needs_second and {IS_OPEN} for update
"""
AGREED: Final = f"""
with claim as (
  update gateway_claims set status = 'refused', version = version + 1, updated_at = db_now(),
         refused_account = $3
   where discrepancy_id = $1 and needs_second and {IS_OPEN}
  returning discrepancy_id, version, receipt, updated_at
)
insert into gateway_claim_events (discrepancy_id, seq, status, by, note, receipt, at)
select discrepancy_id, version, 'refused', $2, $4, receipt, updated_at from claim returning seq
"""
BROUGHT: Final = f"""
with claim as (
  update gateway_claims set status = 'paid', version = version + 1, updated_at = db_now(),
         receipt = coalesce(receipt, $2)
   where discrepancy_id = $1 and {IS_OPEN}
  returning discrepancy_id, version, receipt, updated_at
)
insert into gateway_claim_events (discrepancy_id, seq, status, by, note, receipt, at)
select discrepancy_id, version, 'paid', 'reconciliation', 'Its line came.', receipt, updated_at
  from claim
"""
LAST_REFUSAL: Final = """
select true as approved, by, at from gateway_claim_events
 where discrepancy_id = $1 and status = 'refused' order by seq desc limit 1
"""
SUBJECT: Final = """
select d.status, d.kind, c.status as claim
  from discrepancies d join gateway_claims c on c.discrepancy_id = d.id
 where d.id = $1 for share of d
"""
POST: Final = """
insert into gateway_claim_entries (discrepancy_id, seq, debit, credit, amount, currency, at)
select c.discrepancy_id, c.version, case when b.owed > 0 then $2 else $3 end,
       case when b.owed > 0 then $3 else $2 end, abs(b.owed), c.currency, c.updated_at
  from gateway_claims c cross join lateral (select claimed_by(c.discrepancy_id) as owed) b
 where c.discrepancy_id = $1 and b.owed <> 0
"""
IS_POSTED: Final = "select from gateway_claim_entries where discrepancy_id = $1 limit 1"
ONE: Final = f"select {COLUMNS} from gateway_claims c where c.discrepancy_id = $1"
LISTED: Final = f"""
select {COLUMNS} from gateway_claims c
 where {{given}} order by {{order}} limit {ROWS_MAX}
"""


class ClaimNotFoundError(NotFoundError):
    """No claim was filed for this discrepancy."""

    code = "claim_not_found"


class ClaimEndedError(ConflictError):
    """The claim has ended and cannot change."""

    code = "claim_ended"


class LineAwaitedError(ConflictError):
    """A settlement line is still expected for this payment. It would pay and end the claim.

    If the line never comes, resolve the discrepancy again with accept_loss.
    """

    code = "line_awaited"


class ClaimPostedError(ConflictError):
    """The claim was paid or refused and posted to the ledger. Its decision cannot change."""

    code = "claim_posted"


class Refusal(NamedTuple):
    """A refusal that awaits a second person."""

    id: UUID
    proposed_account: UUID | None


class GatewayClaims:
    """The tables of claims."""

    def __init__(self, database: Database, *, zone: ZoneInfo) -> None:
        """Use this database; deadlines are dates in `zone`."""
        self.database = database
        self._zone = zone.key

    async def file(self, discrepancy_id: UUID, *, by: str, note: str, within: Connection) -> None:
        """File a claim, or file it again, in the transaction of the decision."""
        await within.execute(FILE, discrepancy_id, by, note, self._zone)

    async def end(self, discrepancy_id: UUID, *, by: str, note: str, within: Connection) -> None:
        """Withdraw a claim, if any, because its discrepancy is decided again.

        Raises:
            ClaimPostedError: it has already ended and is posted.
        """
        if await within.fetchrow(IS_POSTED, discrepancy_id) is not None:
            raise ClaimPostedError
        await within.execute(STEP, discrepancy_id, "withdrawn", None, by, note)

    async def step(
        self,
        discrepancy_id: UUID,
        status: str,
        *,
        receipt: str | None,
        by: str,
        note: str,
        also: Callable[[UUID, Connection], Awaitable[None]],
    ) -> GatewayClaim:
        """Record a step of a claim; `also` is done in its commit when the claim ends.

        Raises:
            ClaimNotFoundError, ClaimEndedError: there is no open claim.
            LineAwaitedError: its line would bring the same money again.
        """

        async def together(connection: Connection) -> None:
            kind = await _kind_of(discrepancy_id, ends=status in ENDED, within=connection)
            rows = await connection.fetch(STEP, discrepancy_id, status, receipt, by, note)
            if not rows:
                raise ClaimEndedError(status=claim.status)
            if status in ENDED:
                account = UNEXPLAINED_FUNDS if status == "paid" else risk_loss(kind)
                await connection.execute(POST, discrepancy_id, account, GATEWAY_CLAIMS)
                await also(discrepancy_id, connection)

        claim = await self.get(discrepancy_id)
        await self.database.in_transaction(together)
        return await self.get(discrepancy_id)

    async def propose_refusal(self, discrepancy_id: UUID, *, by: Actor, note: str) -> GatewayClaim:
        """Propose to record a claim as refused and as a loss; another person approves.

        Raises:
            ClaimNotFoundError, ClaimEndedError, LineAwaitedError: as for any step.
        """

        async def together(connection: Connection) -> None:
            await _kind_of(discrepancy_id, ends=True, within=connection)
            if not await connection.fetch(PROPOSE, discrepancy_id, by.name, by.account, note):
                raise ClaimEndedError(status=claim.status)

        claim = await self.get(discrepancy_id)
        await self.database.in_transaction(together)
        return await self.get(discrepancy_id)

    def refusals(self, note: str) -> "Refusals":
        """Return the pending refusals, to be approved with this note."""
        return Refusals(note)

    async def get(self, discrepancy_id: UUID) -> GatewayClaim:
        """Return a claim.

        Raises:
            ClaimNotFoundError: no claim was filed.
        """
        row = await self.database.fetchrow(ONE, discrepancy_id)
        if row is None:
            raise ClaimNotFoundError
        return _claim(row)

    async def listed(
        self, gateway: str, *, status: str | None = None, open_only: bool = False
    ) -> list[GatewayClaim]:
        """Return claims, soonest deadline first."""
        # The index of open claims has no ended ones.
        is_open = open_only or (status is not None and status not in ENDED)
        given = {f"c.{IS_OPEN}": is_open}
        walk = Walk(
            {"gateway": gateway, "status": status}, key="c.due_on, c.discrepancy_id",
            descending=False,
        )  # fmt: skip
        query, arguments = composed(LISTED, given=given, along=walk)
        return [_claim(row) for row in await self.database.fetch(query, *arguments)]


class Refusals:
    """Pending refusals, in the form dual control requires."""

    def __init__(self, note: str) -> None:
        """Approve with this note."""
        self._note = note

    async def proposed(self, subject: UUID, *, within: Connection) -> Refusal | None:
        """Return the pending refusal of a claim."""
        row = await within.fetchrow(PROPOSED, subject)
        return None if row is None else Refusal(row["discrepancy_id"], row["refusal_account"])

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Record the claim as refused and post the loss; any other step withdraws the proposal."""
        assert approved, "a refusal is taken back by the claim's next step"
        kind = await _kind_of(proposal_id, ends=True, within=within)
        if not await within.fetch(AGREED, proposal_id, by.name, by.account, self._note):
            return False
        await within.execute(POST, proposal_id, risk_loss(kind), GATEWAY_CLAIMS)
        return True

    async def last_decision(self, subject: UUID, *, within: Connection) -> LastDecision | None:
        """Return by whom a claim was recorded as refused, or None."""
        return await read_one(LastDecision, within, LAST_REFUSAL, subject)


async def _kind_of(discrepancy_id: UUID, *, ends: bool, within: Connection) -> str:
    """Return the discrepancy kind of a claim.

    Raises:
        ClaimEndedError: it has ended already.
        LineAwaitedError: the claim would end although its line is still expected.
    """
    subject = await within.fetchrow(SUBJECT, discrepancy_id)
    assert subject is not None, "a claim is about a discrepancy"
    if subject["claim"] in ENDED:
        raise ClaimEndedError(status=subject["claim"])
    if ends and subject["status"] != "resolved":
        raise LineAwaitedError
    kind: str = subject["kind"]
    return kind


async def brought_by_its_line(discrepancy_id: UUID, line: str, *, within: Connection) -> None:
    """End the claim of a discrepancy, if any, because its line arrived."""
    await within.execute(BROUGHT, discrepancy_id, line)


def _claim(row: Row) -> GatewayClaim:
    return row_as(GatewayClaim, row)
