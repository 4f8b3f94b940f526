"""Checks the invariants, each on its own, and keeps what was found (decisions 42, 192).

In operation a check reads what was touched since the invariant's mark; at night and from the
command line everything is read, slice by slice. After every database test both are asked.

Rules a change must keep: an invariant that fails or takes too long is reported as not finished and
keeps no other from being checked; results are kept as found, with their times; what was found
broken is checked over everything next time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import asyncpg
import msgspec
from msgspec.structs import replace

from caas.billing_database import invariant_scopes, stored_card_numbers
from caas.billing_database.connection import (
    STATEMENT_TIMEOUT_SECONDS,
    UNREACHABLE,
    Connection,
    Database,
)
from caas.billing_database.invariant_scopes import EVERYTHING, Part, Scope, Slice, Touched
from caas.billing_database.invariants import (
    EVERY_INVARIANT,
    EVERY_MESSAGE_IS_SIGNED,
    NO_CARD_NUMBER,
    ONLY_AS_A_WHOLE,
    Invariant,
)
from caas.billing_database.rows import columns, read_all
from caas.rules.vehicle_signatures import SignedMessage, signed_with

BROKEN_ROWS_SHOWN_MAX: Final = 20
OVERLAP: Final = timedelta(seconds=60)
"""Read again before each mark, for times that are taken before their transaction begins."""
MARK_AGE_MAX: Final = timedelta(days=2)
ALONE: Final = """
select set_config('max_parallel_workers_per_gather', '0', false),
       set_config('plan_cache_mode', 'force_custom_plan', false),
       set_config('random_page_cost', '1', false)
"""
READS_TABLES: Final = "select set_config('enable_seqscan', $1, false)"
"""A part is read by indexes: the planner would rather read some tables as a whole for each."""


class CheckState(StrEnum):
    """The state of an invariant's last check."""

    HELD = "held"
    BROKEN = "broken"
    NOT_FINISHED = "not finished"
    NOT_CHECKED = "not checked"


class Finding(msgspec.Struct, frozen=True):
    """The number of rows that violate an invariant and the first of them, or why it is unknown."""

    invariant: Invariant
    broken: int
    examples: tuple[str, ...]
    unfinished_because: str | None = None


class InvariantCheck(msgspec.Struct, eq=False):
    """One invariant that is being checked, and what was found before it was interrupted."""

    invariant: Invariant
    before: int = 0
    examples: tuple[str, ...] = ()
    found: dict[str, None] = msgspec.field(default_factory=dict)
    unfinished_because: str | None = None

    def finding(self) -> Finding:
        """Return what was found so far."""
        examples = (*self.examples, *self.found)[:BROKEN_ROWS_SHOWN_MAX]
        broken = self.before + len(self.found)
        return Finding(self.invariant, broken, examples, self.unfinished_because)


class CheckLimits(msgspec.Struct, frozen=True):
    """The time limit of a statement, and the rest after it as a multiple of the time it took."""

    statement_seconds_max: float = STATEMENT_TIMEOUT_SECONDS
    rests: float = 0.0


RESTS_AFTER_SECONDS: Final = 0.5
"""Less work than this is done without rests: a small database is checked at once."""
RESTS_PER_STEP: Final = 10.0
"""With this, checks take a tenth of the time, and purchases do not feel them."""


class Checker:
    """Checks invariants on one connection."""

    def __init__(self, connection: Connection, limits: CheckLimits) -> None:
        """Check within these limits."""
        self._connection = connection
        self._limits = limits
        self._slices: list[Slice] | None = None
        self._reads_tables: bool | None = None
        self._worked = 0.0

    async def look(self, check: InvariantCheck, scope: Scope) -> None:
        """Check an invariant over a scope; a failure is noted in the check and ends it."""
        if check.unfinished_because is not None:
            return
        began = time.monotonic()
        limit = self._limits.statement_seconds_max
        try:
            await self._plan_for(scope)
            rows = await _violating(self._connection, check.invariant, scope, limit)
            check.found.update(dict.fromkeys(rows))
        except (TimeoutError, asyncpg.QueryCanceledError):
            check.unfinished_because = f"A statement took longer than {limit:g} s."
        except UNREACHABLE:
            raise
        except asyncpg.PostgresError as error:
            check.unfinished_because = f"{type(error).__name__}: {error}"
        took = time.monotonic() - began
        self._worked += took
        if self._worked > RESTS_AFTER_SECONDS:
            await asyncio.sleep(self._limits.rests * took)

    async def _plan_for(self, scope: Scope) -> None:
        reads_tables = not isinstance(scope, Slice | Touched)
        if reads_tables is not self._reads_tables:
            await self._connection.fetch(READS_TABLES, "on" if reads_tables else "off")
            self._reads_tables = reads_tables

    async def parts(self, invariant: Invariant) -> Sequence[Part]:
        """Return the scopes that together are everything."""
        if invariant is NO_CARD_NUMBER:
            return await stored_card_numbers.pages(self._connection)
        if not invariant_scopes.has_slices(invariant.text):
            return (EVERYTHING,)
        if self._slices is None:
            self._slices = await invariant_scopes.slices(self._connection)
        return self._slices

    async def check_whole(self, check: InvariantCheck, *, after: str = "") -> AsyncIterator[str]:
        """Check an invariant over everything after a part; yield the key of each part read."""
        parts = await self.parts(check.invariant)
        keys = [part.key for part in parts]
        for part in parts[keys.index(after) + 1 :] if after in keys else parts:
            await self.look(check, part)
            yield part.key

    async def check_touched(
        self, invariants: Iterable[Invariant], mark: datetime
    ) -> AsyncIterator[Finding]:
        """Check invariants over what was touched since a mark; those without keys as a whole."""
        checks = [InvariantCheck(invariant) for invariant in invariants]
        async for scope in invariant_scopes.touched_since(self._connection, mark - OVERLAP):
            for check in checks:
                if has_marks(check.invariant):
                    await self.look(check, scope)
        for check in checks:
            for beside in await self._beside_marks(check.invariant):
                await self.look(check, beside)
            yield check.finding()

    async def _beside_marks(self, invariant: Invariant) -> Sequence[Scope]:
        """Return what is read each time, because it is small and has no marks."""
        if invariant is NO_CARD_NUMBER:
            return await stored_card_numbers.pages(self._connection, small_tables=True)
        return () if has_marks(invariant) else (EVERYTHING,)


def is_checked_often(invariant: Invariant) -> bool:
    """Return whether an invariant can be checked without reading a large table as a whole."""
    return invariant.name not in ONLY_AS_A_WHOLE


def has_marks(invariant: Invariant) -> bool:
    """Return whether an invariant can be checked over what was touched."""
    return invariant is NO_CARD_NUMBER or invariant_scopes.has_marks(invariant.text)


async def _violating(
    connection: Connection, invariant: Invariant, scope: Scope, limit: float
) -> list[str]:
    if invariant is NO_CARD_NUMBER:
        return await stored_card_numbers.found(connection, scope, seconds_max=limit)
    query, arguments = invariant_scopes.scoped(invariant.text, scope)
    rows = await connection.fetch(query, *arguments, timeout=limit)
    if invariant is EVERY_MESSAGE_IS_SIGNED:
        return await _unsigned(rows)
    return [str(row[0]) for row in rows]


async def _unsigned(rows: Sequence[asyncpg.Record]) -> list[str]:
    """Return the acknowledgements that their vehicle's key did not sign."""
    found: list[str] = []
    for row in rows:
        evidence, vin, command_id, epoch, subject, service, action, status, at, *proof = row
        signature, key = proof
        word = SignedMessage(
            vin=vin, command_id=command_id, epoch=epoch, payment_id=subject, service=service,
            action=action, status=status, at=at,
        )  # fmt: skip
        if key is None or not signed_with(key, signature=signature, text=word.text):
            found.append(evidence)
        await asyncio.sleep(0)  # other work of this process goes on meanwhile
    return found


async def self_check(database: Database) -> list[Finding]:
    """Check every invariant over everything, at once, and return the finding for each."""
    async with database.connection() as connection:
        checker = Checker(connection, CheckLimits())
        checks = [InvariantCheck(invariant) for invariant in EVERY_INVARIANT]
        for check in checks:
            await checker.look(check, EVERYTHING)
    return [check.finding() for check in checks]


async def checked_now(database: Database) -> list["InvariantResult"]:
    """Check every invariant over everything, at once, and return results as those that are kept."""
    return [_result_of(finding) for finding in await self_check(database)]


async def full_check(
    database: Database, limits: CheckLimits, *, progress: Callable[[int, int], None]
) -> list["InvariantResult"]:
    """Check every invariant over everything, slice by slice; report how many steps are done."""
    async with database.connection() as connection:
        await connection.execute(ALONE)
        checker = Checker(connection, limits)
        checks = [InvariantCheck(invariant) for invariant in EVERY_INVARIANT]
        steps = sum([len(await checker.parts(it)) for it in EVERY_INVARIANT])
        done = 0
        for check in checks:
            async for _ in checker.check_whole(check):
                done += 1
                progress(done, steps)
    return [_result_of(check.finding()) for check in checks]


BEGIN: Final = """
insert into invariant_checks (invariant, since) select name, db_now() from unnest($1::text[]) name
on conflict (invariant) do nothing
"""
FORGET: Final = "delete from invariant_checks where invariant <> all ($1)"
KEEP: Final = """
update invariant_checks
   set broken = case when $4::text is null then $2 else greatest(broken, $2) end,
       examples = case when $4 is null or $2 > 0 then $3 else examples end,
       unfinished_because = $4, tried_at = db_now(),
       checked_at = case when $4 is null then db_now() else checked_at end,
       fully_checked_at = case when $4 is null and $5 then db_now() else fully_checked_at end,
       checked_through = case when $2 > 0 then null
                              when $4 is null then $6::timestamptz else checked_through end
 where invariant = $1
"""


class KeptCheck(msgspec.Struct, frozen=True):
    """A kept result: `checked_at` of the last finished check, `fully_checked_at` of everything.

    `tried_at` is the time of the last attempt, and `checked_through` the mark for the next one;
    None if everything must be read.
    """

    invariant: str
    broken: int
    examples: tuple[str, ...]
    unfinished_because: str | None
    since: datetime
    checked_at: datetime | None
    fully_checked_at: datetime | None
    tried_at: datetime | None
    checked_through: datetime | None


KEPT: Final = f"select {columns(KeptCheck)} from invariant_checks"


class InvariantResult(msgspec.Struct, frozen=True):
    """An invariant and its last check."""

    name: str
    sentence: str
    state: CheckState
    broken: int
    examples: tuple[str, ...]
    unfinished_because: str | None
    checked_at: datetime | None
    fully_checked_at: datetime | None


async def begin(database: Database) -> None:
    """Make a row for each invariant, from which its age counts until it is checked."""
    names = [invariant.name for invariant in EVERY_INVARIANT]

    async def begun(connection: Connection) -> None:
        await connection.execute(BEGIN, names)
        await connection.execute(FORGET, names)

    await database.in_transaction(begun)


async def keep(database: Database, finding: Finding, *, whole: bool, through: datetime) -> None:
    """Keep a finding; `through` is the next mark if nothing is wrong."""
    name, examples = finding.invariant.name, list(finding.examples)
    because = finding.unfinished_because

    async def kept(connection: Connection) -> None:
        await connection.execute(KEEP, name, finding.broken, examples, because, whole, through)

    await database.in_transaction(kept)


async def kept_checks(database: Database) -> dict[str, KeptCheck]:
    """Return the kept result of each invariant by its name."""
    return {it.invariant: it for it in await read_all(KeptCheck, database, KEPT)}


async def last_checks(database: Database) -> list[InvariantResult]:
    """Return every invariant with its last result."""
    kept = await kept_checks(database)
    return [_result(invariant, kept.get(invariant.name)) for invariant in EVERY_INVARIANT]


def _result(invariant: Invariant, kept: KeptCheck | None) -> InvariantResult:
    if kept is None or kept.tried_at is None:
        return InvariantResult(
            invariant.name, invariant.sentence, CheckState.NOT_CHECKED, 0, (), None, None, None
        )
    found = Finding(invariant, kept.broken, tuple(kept.examples), kept.unfinished_because)
    return replace(
        _result_of(found), checked_at=kept.checked_at, fully_checked_at=kept.fully_checked_at
    )


def _result_of(found: Finding) -> InvariantResult:
    if found.broken:
        state = CheckState.BROKEN
    else:
        state = CheckState.NOT_FINISHED if found.unfinished_because else CheckState.HELD
    return InvariantResult(
        found.invariant.name, found.invariant.sentence, state, found.broken, found.examples,
        found.unfinished_because, None, None,
    )  # fmt: skip
