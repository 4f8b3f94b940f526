"""A small world of finished payments, lived on the whole platform, whose rows `--fill` multiplies.

It is a simulation without faults: purchases over HTTP, simulators as gateway, partners and
vehicles, the end of a month, a reconciled day. What it leaves in the database is what payments of
these kinds leave in operation.

Rule a change must keep: nothing is written here except by the platform.
"""

import asyncio
import base64
import tempfile
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

import asyncpg
import msgspec

from caas import process_environment
from caas.billing_database.cases import Cases
from caas.billing_database.connection import connect
from caas.billing_database.identifiers import new_id
from caas.rules.mes_vencido import Month
from caas_lab.demo import own_platform
from caas_lab.demo.http_client import require_success
from caas_lab.demo.testbed import Testbed
from caas_lab.simulation import verdict
from caas_lab.simulation.plan import Afterwards, Kind, Story
from caas_lab.simulation.runner import AFTER_MIDNIGHT_SECONDS, MADRID
from caas_lab.simulation.workload import Workload

OBEYS: Final = "obeys"
MORNING_HOUR: Final = 7
PART: Final = 500
UNKNOWN_GROSS: Final = 700
OPERATIONS: Final = "operations"
SEEN: Final = "Seen."


class UnfinishedWorldError(Exception):
    """A payment of the world did not come to rest."""


def _story(
    kind: Kind,
    *,
    method: str = "pm_ok",
    second: str = "pm_ok",
    car: str = OBEYS,
    afterwards: Afterwards = Afterwards.NOTHING,
) -> Story:
    return Story(
        kind=kind, method=method, second_method=second, car=car, afterwards=afterwards, part=PART,
        twice=False,
    )  # fmt: skip


STORIES: Final = (
    *(_story(Kind.SERVICE) for _ in range(10)),
    _story(Kind.SERVICE, car="refuses"),
    _story(Kind.SERVICE, car="fails"),
    _story(Kind.SERVICE, method="pm_declined"),
    _story(Kind.SERVICE, method="pm_settlement_fails"),
    _story(Kind.SERVICE, afterwards=Afterwards.REFUND),
    _story(Kind.SERVICE, afterwards=Afterwards.WITHDRAWAL),
    *(_story(Kind.VEHICLE) for _ in range(2)),
    _story(Kind.VEHICLE, afterwards=Afterwards.WITHDRAWAL),
    *(_story(Kind.SUBSCRIPTION) for _ in range(4)),
    _story(Kind.SUBSCRIPTION, afterwards=Afterwards.END),
)
"""Mostly services; one in twelve fails, is voided or refunded, as a month of a dealership does."""

TABLES: Final = """
select c.relname as name, a.attname as column, format_type(a.atttypid, a.atttypmod) as type
  from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where c.relnamespace = 'caas'::regnamespace and c.relkind = 'r' and a.attgenerated = ''
   and a.attidentity = ''
 order by c.relname, a.attnum
"""


class StoredTable(msgspec.Struct, frozen=True):
    """A table with its columns, their types, and its rows as text."""

    name: str
    types: dict[str, str]
    rows: list[dict[str, str | None]]


class StoredWorld(msgspec.Struct, frozen=True):
    """All tables, and how far the clock was ahead while the purchases were made, and at the end."""

    tables: dict[str, StoredTable]
    morning: timedelta
    moved: timedelta


async def lived(report: Callable[[str], None]) -> StoredWorld:
    """Run the stories on a platform of their own; return the rows that they leave."""
    with tempfile.TemporaryDirectory(prefix="caas-world-", ignore_cleanup_errors=True) as folder:
        environment = {**process_environment.environment(), "CAAS_DATA_DIR": folder}
        async with own_platform.started(environment) as testbed:
            morning = await _live(testbed, report)
            tables = await stored_tables(testbed.database_url)
            return StoredWorld(tables, morning, testbed.clock_ahead)


async def stored_tables(dsn: str) -> dict[str, StoredTable]:
    """Return every table of a database with its rows; generated columns are left out.

    All as of one moment: background work writes on, and rows must not lack those they refer to.
    """
    owner = await asyncpg.connect(dsn, server_settings={"search_path": "caas,public"})
    try:
        async with owner.transaction(isolation="repeatable_read", readonly=True):
            types: dict[str, dict[str, str]] = {}
            for row in await owner.fetch(TABLES):
                types.setdefault(row["name"], {})[row["column"]] = row["type"]
            return {
                name: StoredTable(name, columns, await _rows(owner, name, columns))
                for name, columns in types.items()
            }
    finally:
        await owner.close()


async def _rows(
    owner: asyncpg.Connection, name: str, columns: Iterable[str]
) -> list[dict[str, str | None]]:
    texts = ", ".join(f'"{column}"::text' for column in columns)
    return [dict(row) for row in await owner.fetch(f"select {texts} from {name} order by ctid")]  # noqa: S608 - names of the catalogue


async def _live(testbed: Testbed, report: Callable[[str], None]) -> timedelta:
    """Buy in the morning, bill the month, and reconcile the day; return how early it began."""
    workload = Workload(testbed)
    await _in_the_morning(testbed)
    morning = testbed.clock_ahead
    await workload.add_services()
    report("purchases")
    await asyncio.gather(*(workload.run(story) for story in STORIES))
    await _rest(testbed)
    report("the month ends")
    await _month_ends(workload)
    await _rest(testbed)
    report("the day is reconciled")
    await _reconcile(testbed)
    await _rest(testbed)
    await _close_cases(testbed)
    findings = workload.findings + await verdict.database_findings(testbed)
    if findings:
        raise UnfinishedWorldError(findings)
    return morning


async def _in_the_morning(testbed: Testbed) -> None:
    """Move the clock to the next morning, so that a day's work ends on the same day."""
    local = testbed.now().astimezone(MADRID)
    morning = local.replace(hour=MORNING_HOUR, minute=0, second=0, microsecond=0)
    await testbed.advance_clock(int((morning - local).total_seconds()) % (24 * 60 * 60))


async def _month_ends(workload: Workload) -> None:
    testbed = workload.testbed
    month = Month.containing(testbed.now(), MADRID)
    left = month.interval(MADRID).end - testbed.now()
    await testbed.advance_clock(int(left.total_seconds()) + AFTER_MIDNIGHT_SECONDS)
    await workload.bill(str(month))


async def _rest(testbed: Testbed) -> None:
    unfinished = await verdict.wait_for_rest(testbed)
    if unfinished:
        raise UnfinishedWorldError(unfinished)


async def _reconcile(testbed: Testbed) -> None:
    """Reconcile the day, in which the gateway reports two lines of unknown payments."""
    for gross in (UNKNOWN_GROSS, -UNKNOWN_GROSS):
        await testbed.gateway.post(
            "lines", transaction_id=f"txn_{new_id().hex[-20:]}", reference=str(new_id()),
            type="settlement", gross=gross,
        )  # fmt: skip
    day = (await testbed.gateway.post("close-day"))["date"]
    await _post(testbed, "reconciliation/runs", day=day, mode="close")
    path = "reconciliation/discrepancies"
    reply = await testbed.platform.get(f"/v1/{path}?unresolved=true", scope=OPERATIONS)
    for found in require_success(reply, path)["data"]:
        await _post(
            testbed, f"{path}/{found['id']}/evidence", name="seen.txt", media_type="text/plain",
            content=base64.b64encode(SEEN.encode()).decode(),
        )  # fmt: skip
        reply = await testbed.platform.get(f"/v1/{path}/{found['id']}", scope=OPERATIONS)
        claims = "claim_from_gateway" in require_success(reply, path)["allowed"]
        resolution = "claim_from_gateway" if claims else "correct_by_entry"
        await _post(testbed, f"{path}/{found['id']}/resolutions", resolution=resolution, note=SEEN)
        for status in ("sent", "accepted", "paid") if claims else ():
            claim = f"reconciliation/claims/{found['id']}/steps"
            await _post(testbed, claim, status=status, note=SEEN, receipt="R-1")


async def _post(testbed: Testbed, path: str, **body: object) -> None:
    require_success(await testbed.platform.post(f"/v1/{path}", body, scope=OPERATIONS), path)


async def _close_cases(testbed: Testbed) -> None:
    """Close every case, as a person does who has seen to it."""
    database = await connect(testbed.database_url)
    cases = Cases(database)
    for case in await cases.listed():
        await cases.resolve(case.id, resolution=SEEN, owner="olga")
    await database.close()
