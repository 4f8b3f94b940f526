"""A platform in the middle of its work, and an eye on every row of its database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest

from caas.api.application import OPERATIONS
from caas.api.operation import Operation
from caas.billing_database import connection, self_check
from caas.rules.payment_states import PaymentState
from tests.api.conftest import Doors, Reply, standing_open
from tests.databases import fresh_database
from tests.installation import VIN, standing

NO_MATTER = ("idempotency_keys", "invariant_checks")
"""A refused request gives its key back; a check of the laws that was asked for is written down."""


@dataclass(frozen=True, slots=True)
class World:
    """What there is for a bad request to hurt."""

    doors: Doors
    customer: UUID
    payment: UUID
    settled: UUID

    async def rows(self, *, but: tuple[str, ...] = ()) -> dict[str, tuple[int, str]]:
        """Fingerprint every table: its rows, counted and hashed."""
        database = self.doors.installation.database
        tables = await database.fetch(
            "select tablename from pg_tables where schemaname = 'caas' and tablename <> all($1)",
            [*NO_MATTER, *but],
        )
        found = {}
        for (table,) in tables:
            row = await database.fetchrow(
                "select count(*), coalesce(md5(string_agg(t::text, '|' order by t::text)), '')"
                f' from "{table}" t'
            )
            assert row is not None
            found[table] = (row[0], row[1])
        return found


@pytest.fixture(scope="session")
async def whole_world(server_dsn: str) -> AsyncIterator[World]:
    """One platform for all: a car, a service, a payment under way and a settled one."""
    async with fresh_database(server_dsn) as dsn:
        database = await connection.connect(dsn)
        async with standing(database) as installation, standing_open(installation) as doors:
            await installation.car()
            await installation.offer_heated_seats()
            settled = await installation.settled()
            payment = await installation.buys()
            await installation.until(payment.id, lambda it: it.state is PaymentState.CAPTURING)
            await installation.rest()
            yield World(doors, payment.customer, payment.id, settled.id)
            findings = await self_check.self_check(database)
        await database.close()
    assert not [found.invariant.name for found in findings if found.broken]


@pytest.fixture
async def world(whole_world: World) -> AsyncIterator[World]:
    """The world, of which not one row may change during the test."""
    before = await whole_world.rows()
    yield whole_world
    after = await whole_world.rows()
    assert {table for table in after if after[table] != before[table]} == set()


def body_operations() -> list[Operation]:
    """Every operation that takes a body."""
    return [operation for operation in OPERATIONS if operation.body is not None]


def refused(answer: Reply, status: int, *codes: str) -> None:
    """Check that a refusal is a problem of this kind, and says what to do."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == status
    assert problem["code"] in codes, problem
    assert problem["type"] == f"/problems/{problem['code']}"
    assert len(problem["detail"].split()) > 2
    assert "Traceback" not in problem["detail"]
    assert "regex" not in problem["detail"], "a pattern is no sentence"


__all__ = ["VIN", "World", "body_operations", "refused"]
