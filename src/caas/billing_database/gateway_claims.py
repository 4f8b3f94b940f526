"""Claims on the provider as rows: filed by a decision, then what became of them, with a receipt.

A claim that ends is posted (record 153): paid, to the funds that wait for the line which brings the
money; refused, to the losses.

Rules a change must keep: a claim changes only with its event, in the same statement; what is paid
or refused is ended, and leaves nothing on the account of claims.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from caas.billing_database.actors import Actor
from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.rows import columns, row_as
from caas.errors import ConflictError, NotFoundError
from caas.rules.postings import GATEWAY_CLAIMS, UNEXPLAINED_FUNDS, risk_loss

ROWS_MAX: Final = 200
DUE_DAYS: Final = 10
ENDED: Final = ("paid", "refused")


@dataclass(frozen=True, slots=True)
class GatewayClaim:
    """A claim as it stands; `amount` is what is claimed, in minor units.

    `refusal_by` proposes to take it as refused; it is a loss once a second person agrees.
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
STEP: Final = """
with claim as (
  update gateway_claims set status = $2, version = version + 1, updated_at = db_now(),
         receipt = coalesce($3, receipt), needs_second = false, refusal_by = null,
         refusal_account = null
   where discrepancy_id = $1 and status not in ('paid', 'refused')
  returning discrepancy_id, version, receipt, updated_at
)
insert into gateway_claim_events (discrepancy_id, seq, status, by, note, receipt, at)
select discrepancy_id, version, $2, $4, $5, receipt, updated_at from claim returning seq
"""
PROPOSE: Final = """
with claim as (
  update gateway_claims set version = version + 1, updated_at = db_now(), needs_second = true,
         refusal_by = $2, refusal_account = $3
   where discrepancy_id = $1 and status not in ('paid', 'refused') and not needs_second
  returning discrepancy_id, version, status, receipt, updated_at
)
insert into gateway_claim_events (discrepancy_id, seq, status, by, note, receipt, at)
select discrepancy_id, version, status, $2, $4, receipt, updated_at from claim returning seq
"""
PROPOSED: Final = """
select discrepancy_id, refusal_account from gateway_claims
 where discrepancy_id = $1 and needs_second and status not in ('paid', 'refused') for update
"""
AGREED: Final = """
with claim as (
  update gateway_claims set status = 'refused', version = version + 1, updated_at = db_now(),
         refused_account = $3
   where discrepancy_id = $1 and needs_second and status not in ('paid', 'refused')
  returning discrepancy_id, version, receipt, updated_at
)
insert into gateway_claim_events (discrepancy_id, seq, status, by, note, receipt, at)
select discrepancy_id, version, 'refused', $2, $4, receipt, updated_at from claim returning seq
"""
BROUGHT: Final = """
with claim as (
  update gateway_claims set status = 'paid', version = version + 1, updated_at = db_now(),
         receipt = coalesce(receipt, $2)
   where discrepancy_id = $1 and status not in ('paid', 'refused')
  returning discrepancy_id, version, receipt, updated_at
)
insert into gateway_claim_events (discrepancy_id, seq, status, by, note, receipt, at)
select discrepancy_id, version, 'paid', 'reconciliation', 'Its line came.', receipt, updated_at
  from claim
"""
SUBJECT: Final = "select status, kind from discrepancies where id = $1 for share"
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
 where c.gateway = $1 and ($2::text is null or c.status = $2)
   and (not $3 or c.status not in ('paid', 'refused'))
 order by c.due_on, c.discrepancy_id limit {ROWS_MAX}
"""


class ClaimNotFoundError(NotFoundError):
    """No claim was filed for this discrepancy."""

    code = "claim_not_found"


class ClaimEndedError(ConflictError):
    """The claim is paid or refused; nothing of it changes any more."""

    code = "claim_ended"


class LineAwaitedError(ConflictError):
    """The line of this payment is awaited: if it comes, it brings the money and ends the claim.

    If it never comes, decide the discrepancy anew, with accept_loss.
    """

    code = "line_awaited"


class ClaimPostedError(ConflictError):
    """The claim is paid or refused, and that is in the ledger; its decision stands."""

    code = "claim_posted"


class Refusal(NamedTuple):
    """A refusal that waits for a second person."""

    id: UUID
    proposed_account: UUID | None


class GatewayClaims:
    """The tables of claims."""

    def __init__(self, database: Database, *, zone: ZoneInfo) -> None:
        """Read and write through this database; a claim is due on a day in `zone`."""
        self.database = database
        self._zone = zone.key

    async def file(self, discrepancy_id: UUID, *, by: str, note: str, within: Connection) -> None:
        """File a claim, in the commit of the decision; or file it anew."""
        await within.execute(FILE, discrepancy_id, by, note, self._zone)

    async def end(self, discrepancy_id: UUID, *, by: str, note: str, within: Connection) -> None:
        """End a claim, if there is one, because its discrepancy is decided anew.

        Raises:
            ClaimPostedError: it has ended already, and its money is posted.
        """
        if await within.fetchrow(IS_POSTED, discrepancy_id) is not None:
            raise ClaimPostedError
        await within.execute(STEP, discrepancy_id, "refused", None, by, note)

    async def step(
        self, discrepancy_id: UUID, status: str, *, receipt: str | None, by: str, note: str
    ) -> GatewayClaim:
        """Write down what became of a claim.

        Raises:
            ClaimNotFoundError, ClaimEndedError: there is none, or nothing changes any more.
            LineAwaitedError: its line would bring the same money once more.
        """

        async def together(connection: Connection) -> None:
            kind = await _kind_of(discrepancy_id, ends=status in ENDED, within=connection)
            rows = await connection.fetch(STEP, discrepancy_id, status, receipt, by, note)
            if not rows:
                raise ClaimEndedError(status=claim.status)
            if status in ENDED:
                account = UNEXPLAINED_FUNDS if status == "paid" else risk_loss(kind)
                await connection.execute(POST, discrepancy_id, account, GATEWAY_CLAIMS)

        claim = await self.get(discrepancy_id)
        await self.database.in_transaction(together)
        return await self.get(discrepancy_id)

    async def propose_refusal(self, discrepancy_id: UUID, *, by: Actor, note: str) -> GatewayClaim:
        """Propose that a claim was refused, and is a loss; another person agrees.

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
        """Return the refusals that wait, to be agreed to with this note."""
        return Refusals(note)

    async def get(self, discrepancy_id: UUID) -> GatewayClaim:
        """Return a claim.

        Raises:
            ClaimNotFoundError: there is none.
        """
        row = await self.database.fetchrow(ONE, discrepancy_id)
        if row is None:
            raise ClaimNotFoundError
        return _claim(row)

    async def listed(
        self, gateway: str, *, status: str | None = None, open_only: bool = False
    ) -> list[GatewayClaim]:
        """Return claims, the soonest due first."""
        rows = await self.database.fetch(LISTED, gateway, status, open_only)
        return [_claim(row) for row in rows]


class Refusals:
    """Refusals that wait for a second person, as dual control has proposals."""

    def __init__(self, note: str) -> None:
        """Agree with this note."""
        self._note = note

    async def proposed(self, subject: UUID, *, within: Connection) -> Refusal | None:
        """Return the refusal of a claim that waits."""
        row = await within.fetchrow(PROPOSED, subject)
        return None if row is None else Refusal(row["discrepancy_id"], row["refusal_account"])

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """End the claim as refused, and post the loss; any other step takes a proposal back."""
        assert approved, "a refusal is taken back by the claim's next step"
        kind = await _kind_of(proposal_id, ends=True, within=within)
        if not await within.fetch(AGREED, proposal_id, by.name, by.account, self._note):
            return False
        await within.execute(POST, proposal_id, risk_loss(kind), GATEWAY_CLAIMS)
        return True


async def _kind_of(discrepancy_id: UUID, *, ends: bool, within: Connection) -> str:
    """Return what a claim is about.

    Raises:
        LineAwaitedError: it is to end, and its line would bring the same money once more.
    """
    subject = await within.fetchrow(SUBJECT, discrepancy_id)
    assert subject is not None, "a claim is about a discrepancy"
    if ends and subject["status"] != "resolved":
        raise LineAwaitedError
    kind: str = subject["kind"]
    return kind


async def brought_by_its_line(discrepancy_id: UUID, line: str, *, within: Connection) -> None:
    """End the claim of a discrepancy, if there is one, because its line came after all."""
    await within.execute(BROUGHT, discrepancy_id, line)


def _claim(row: Row) -> GatewayClaim:
    return row_as(GatewayClaim, row)
