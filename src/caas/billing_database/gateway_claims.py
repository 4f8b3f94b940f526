"""Claims on the provider as rows: filed by a decision, then what became of them, with a receipt.

Rules a change must keep: a claim changes only with its event, in the same statement; what is paid
or refused is ended.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from caas.billing_database.connection import Connection, Database, Row
from caas.errors import ConflictError, NotFoundError

ROWS_MAX: Final = 200
DUE_DAYS: Final = 10
ENDED: Final = ("paid", "refused")

COLUMNS: Final = """
c.discrepancy_id, c.gateway, c.status, c.version, c.receipt, c.amount, c.currency, c.due_on,
       c.filed_at, c.updated_at, extract(day from db_now() - c.filed_at)::integer as age_days
"""
FILE: Final = f"""
with claim as (
  insert into gateway_claims as g (discrepancy_id, gateway, status, version, amount, currency,
      due_on, filed_at, updated_at)
  select d.id, d.gateway, 'filed', 1, d.amount, d.currency,
         (db_now() at time zone $4)::date + {DUE_DAYS}, db_now(), db_now()
    from discrepancies d where d.id = $1
  on conflict (discrepancy_id) do update set status = 'filed', version = g.version + 1,
      updated_at = db_now(), due_on = excluded.due_on
  returning discrepancy_id, version, updated_at
)
insert into gateway_claim_events (discrepancy_id, seq, status, by, note, at)
select discrepancy_id, version, 'filed', $2, $3, updated_at from claim
"""
STEP: Final = """
with claim as (
  update gateway_claims set status = $2, version = version + 1, updated_at = db_now(),
         receipt = coalesce($3, receipt)
   where discrepancy_id = $1 and status not in ('paid', 'refused')
  returning discrepancy_id, version, receipt, updated_at
)
insert into gateway_claim_events (discrepancy_id, seq, status, by, note, receipt, at)
select discrepancy_id, version, $2, $4, $5, receipt, updated_at from claim returning seq
"""
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


@dataclass(frozen=True, slots=True)
class GatewayClaim:
    """A claim as it stands; `amount` is what is claimed, in minor units."""

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


class GatewayClaims:
    """The tables of claims."""

    def __init__(self, database: Database, *, zone: ZoneInfo) -> None:
        """Read and write through this database; a claim is due on a day in `zone`."""
        self._database = database
        self._zone = zone.key

    async def file(self, discrepancy_id: UUID, *, by: str, note: str, within: Connection) -> None:
        """File a claim, in the commit of the decision; or file it anew."""
        await within.execute(FILE, discrepancy_id, by, note, self._zone)

    async def end(self, discrepancy_id: UUID, *, by: str, note: str, within: Connection) -> None:
        """End a claim, if there is one, because its discrepancy is decided anew."""
        await within.execute(STEP, discrepancy_id, "refused", None, by, note)

    async def step(
        self, discrepancy_id: UUID, status: str, *, receipt: str | None, by: str, note: str
    ) -> GatewayClaim:
        """Write down what became of a claim.

        Raises:
            ClaimNotFoundError, ClaimEndedError: there is none, or nothing changes any more.
        """
        claim = await self.get(discrepancy_id)
        rows = await self._database.fetch(STEP, discrepancy_id, status, receipt, by, note)
        if not rows:
            raise ClaimEndedError(status=claim.status)
        return await self.get(discrepancy_id)

    async def get(self, discrepancy_id: UUID) -> GatewayClaim:
        """Return a claim.

        Raises:
            ClaimNotFoundError: there is none.
        """
        row = await self._database.fetchrow(ONE, discrepancy_id)
        if row is None:
            raise ClaimNotFoundError
        return _claim(row)

    async def listed(
        self, gateway: str, *, status: str | None = None, open_only: bool = False
    ) -> list[GatewayClaim]:
        """Return claims, the soonest due first."""
        rows = await self._database.fetch(LISTED, gateway, status, open_only)
        return [_claim(row) for row in rows]


def _claim(row: Row) -> GatewayClaim:
    return GatewayClaim(**dict(row))
