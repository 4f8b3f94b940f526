"""Every list, page, search, export, timeline and report reads by index, however much is stored.

The API and the console are walked on a filled database, with every filter, and the plan of every
statement is judged. Plans are generic, because that is what a connection keeps after a few
executions of a statement.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp
import pytest

from caas.api.application import OPERATIONS
from caas.billing_database import connection, operations_counts, payment_search
from caas.console.application import ROUTES
from caas.web.router import template_of
from caas_lab.bench import fill, walked_site
from caas_lab.bench.stored_world import StoredWorld
from caas_lab.bench.walk import READ_ALL, Walk, WalkStep
from tests.databases import fresh_database
from tests.filled import plans
from tests.filled.conftest import SILENT, stored
from tests.filled.plans import Plans

COPIES = 500
WINDOW_ROWS = 500
OK = 200


class Walked(NamedTuple):
    """The steps of a walk, and the plans meanwhile."""

    steps: list[WalkStep]
    plans: Plans


@pytest.fixture(scope="module")
async def large_dsn(server_dsn: str, world: StoredWorld) -> AsyncIterator[str]:
    """Fill a database with enough payments that the planner does not prefer to read all of them."""
    async with fresh_database(server_dsn) as dsn:
        await fill.multiply(dsn, world, payments=COPIES * stored(world), console=SILENT)
        yield dsn


@pytest.fixture(scope="module")
async def walked(large_dsn: str) -> AsyncIterator[Walked]:
    """Walk once, with windows and counts that are small beside what is stored."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payment_search, "WINDOW_ROWS_MAX", WINDOW_ROWS)
        patch.setattr(payment_search, "EXPORT_ROWS_MAX", WINDOW_ROWS)
        patch.setattr(operations_counts, "COUNTED_MAX", WINDOW_ROWS)
        async with (
            plans.heard(large_dsn, patch) as heard,
            walked_site.served(large_dsn) as site,
            aiohttp.ClientSession() as session,
        ):
            heard.forget()
            yield Walked(await Walk(site, session).everywhere(), heard)


async def test_nothing_that_is_read_takes_longer_the_more_is_stored(walked: Walked) -> None:
    assert len(walked.plans.statements) > 100
    assert not walked.plans.faults, f"\n{walked.plans}"


async def test_every_get_operation_was_walked(walked: Walked) -> None:
    visited = {step.route for step in walked.steps if step.visitor == "operator"}
    asked = {
        template_of(one.path)
        for one in OPERATIONS
        if one.method == "GET" and one.id not in READ_ALL
    }

    assert asked - visited == set()


async def test_every_page_was_walked(walked: Walked) -> None:
    visited = {step.route for step in walked.steps}
    asked = {template_of(one.path) for one in ROUTES if one.method == "GET" and one.roles}

    assert asked - visited == set()


async def test_most_requests_find_something_and_none_ends_in_an_error(walked: Walked) -> None:
    operators = [step for step in walked.steps if step.visitor in ("operator", "operations")]

    assert not [step for step in walked.steps if step.status >= 500]
    assert sum(step.status == OK for step in operators) > 0.9 * len(operators)


FOR_ALL_FILTERS = """
select id from payments where ($1::uuid is null or customer = $1)
   and ($2::text is null or state = $2) order by id desc limit 50
"""
OF_A_RARE_STATE = "select id from payments where state = $1 order by id desc limit 50"


@pytest.mark.parametrize(
    ("statement", "arguments", "table"),
    [
        (FOR_ALL_FILTERS, (None, "Voided"), "payments"),
        (OF_A_RARE_STATE, ("Initiated",), "payments"),
        ("select count(*) from invoices where currency = $1", ("EUR",), "invoices"),
    ],
)
async def test_a_statement_that_reads_all_of_a_table_is_found(
    large_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    arguments: tuple[object, ...],
    table: str,
) -> None:
    async with plans.heard(large_dsn, monkeypatch) as heard:
        database = await connection.connect(large_dsn)
        await database.fetch(statement, *arguments)
        await database.close()

    assert table in heard.faults[" ".join(statement.split())]
    assert table in str(heard)
