"""Provider settings stored as data: file format mappings and agreed fees.

Rules a change must keep: nothing is overwritten; mappings have versions, fees have a start date;
each records its author and time.
"""

from datetime import date, datetime
from typing import Any, Final

import msgspec

from caas.billing_database.connection import Database
from caas.billing_database.rows import columns, read_all, row_as

MAPPINGS_MAX: Final = 100
FEE_TERMS_MAX: Final = 1000


class KeptMapping(msgspec.Struct, frozen=True):
    """The newest version of a mapping; a retired one is no longer used."""

    name: str
    version: int
    mapping: dict[str, Any]
    kept_by: str
    kept_at: datetime
    retired: bool


KEEP_MAPPING: Final = f"""
insert into report_mappings (name, version, mapping, kept_by, kept_at, retired)
select $1, coalesce(max(version), 0) + 1, $2, $3, db_now(), $4 from report_mappings where name = $1
returning {columns(KeptMapping)}
"""
MAPPINGS: Final = f"""
select distinct on (name) name, version, mapping, kept_by, kept_at, retired from report_mappings
 order by name, version desc limit {MAPPINGS_MAX}
"""
TODAY: Final = "select (db_now() at time zone $1)::date as today"
KEEP_FEE: Final = """
insert into fee_terms (gateway, provider, method, kind, valid_from, rate_ppm, fixed, tolerance,
    kept_by, kept_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, db_now())
"""
FEES: Final = f"""
select distinct on (provider, method, kind) provider, method, kind, valid_from, rate_ppm, fixed,
       tolerance, kept_by, kept_at
  from fee_terms where gateway = $1 and valid_from <= $2
 order by provider, method, kind, valid_from desc, kept_at desc limit {FEE_TERMS_MAX}
"""


class FeeTerm(msgspec.Struct, frozen=True):
    """The agreed fee of a line type, by provider and payment method ('*' is any other)."""

    provider: str
    method: str
    kind: str
    valid_from: date
    rate_ppm: int
    fixed: int
    tolerance: int
    kept_by: str
    kept_at: datetime


class ReportTerms:
    """The tables of mappings and fee terms."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def keep_mapping(
        self, name: str, mapping: dict[str, Any], *, by: str, retired: bool = False
    ) -> KeptMapping:
        """Store a mapping as the newest version of its name."""
        row = await self._database.fetchrow(KEEP_MAPPING, name, mapping, by, retired)
        assert row is not None, "an insert returns its row"
        return row_as(KeptMapping, row)

    async def mappings(self) -> list[KeptMapping]:
        """Return the newest version of each mapping, by name."""
        return await read_all(KeptMapping, self._database, MAPPINGS)

    async def keep_fee(  # noqa: PLR0913  # the columns of a fee, by name
        self,
        gateway: str,
        method: str,
        kind: str,
        valid_from: date,
        amounts: tuple[int, int, int],
        *,
        provider: str,
        by: str,
    ) -> None:
        """Store a fee: parts per million of the amount, a fixed part and a tolerance."""
        await self._database.fetch(
            KEEP_FEE, gateway, provider, method, kind, valid_from, *amounts, by
        )

    async def today(self, zone: str) -> date:
        """Return the current date in a time zone."""
        row = await self._database.fetchrow(TODAY, zone)
        assert row is not None, "there is always a today"
        today: date = row["today"]
        return today

    async def fees(self, gateway: str, day: date) -> list[FeeTerm]:
        """Return the fees in force on a date."""
        return await read_all(FeeTerm, self._database, FEES, gateway, day)
