"""A refund that reconciliation asks of a gateway that remembers no keys goes out once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from caas.billing_database.connection import Database
from caas.billing_database.payments import Payment
from caas.external_systems.seed_contract_gateway import CAPABILITIES
from caas.rules.discrepancies import Resolution
from caas_simulators.gateway_store import Terms
from caas_simulators.gateway_world import GatewaySettings
from tests.installation import TIME_SCALE, standing
from tests.reconciliation.conftest import FEES, SILENCE
from tests.reconciliation.office import Office

PAUSED = "select subject from jobs where kind = 'carry_out_resolution' and paused_at is not null"
TAKEN_UP = """
update jobs set due_at = db_now(), attempts = attempts + 1
 where kind = 'carry_out_resolution' and paused_at is null
"""


@asynccontextmanager
async def office_of(database: Database, *, lookup: bool) -> AsyncIterator[Office]:
    """A desk of reconciliation at a gateway that remembers no keys."""
    silent = Terms(settlement_seconds=SILENCE, late_settlement_seconds=SILENCE)
    async with standing(
        database,
        settings=GatewaySettings(seed=1, time_scale=TIME_SCALE, terms=silent),
        fees=FEES,
        capabilities=replace(CAPABILITIES, idempotency_key_lifetime=None, lookup_of_refunds=lookup),
    ) as installation:
        await installation.car()
        await installation.offer_heated_seats()
        yield Office(installation, installation.platform.reconciliation)


async def paid_too_much(office: Office) -> Payment:
    """Let the gateway report a hundred more for a payment than it was."""
    payment = await office.installation.settled()
    [report] = office.installation.gateway.reports._reports.values()
    line = report.lines[0]
    line.gross, line.net = line.gross + 100, line.net + 100
    report.gross_total, report.net_total = report.gross_total + 100, report.net_total + 100
    office.gateway_took(payment, 1399)
    await office.closed()
    return payment


async def decided(office: Office, **action: object) -> None:
    """Decide that it goes back, at a gateway in trouble; then let workers come to it twice."""
    await office.installation.gateway_does(
        "faults", match={"operation": "refund", "times": 1}, action=action
    )
    await office.resolved(Resolution.REFUND_THE_CUSTOMER)
    for _ in range(2):
        await office.installation.database.fetch(TAKEN_UP)
        await office.installation.rest()


async def sent(office: Office, payment: Payment) -> list[int]:
    return [one["amount"] for one in await office.refunds_at_gateway(payment)]


async def test_a_refund_whose_answer_was_lost_is_found_at_the_gateway(database: Database) -> None:
    async with office_of(database, lookup=True) as office:
        payment = await paid_too_much(office)

        await decided(office, status=503, apply_first=True)

        assert await sent(office, payment) == [100]
        assert await office.balance("refunds_payable") == 0
        assert await database.fetch(PAUSED) == []


@pytest.mark.parametrize("lookup", [True, False])
async def test_what_nobody_can_know_is_parked_until_a_person_has_looked(
    database: Database,
    *,
    lookup: bool,
) -> None:
    async with office_of(database, lookup=lookup) as office:
        payment = await paid_too_much(office)
        await decided(office, status=503, apply_first=not lookup)
        before = await sent(office, payment)
        [paused] = await database.fetch(PAUSED)
        cases = [case.kind for case in await office.installation.platform.tables.cases.listed()]

        if lookup:
            work = office.installation.platform.jobs
            await work.release("carry_out_resolution", paused["subject"], by="Ana")
            await office.installation.rest()

        assert cases == ["jobs_parked"]
        assert before == ([] if lookup else [100])
        assert await sent(office, payment) == [100]
        assert len(await database.fetch(PAUSED)) == (0 if lookup else 1)
