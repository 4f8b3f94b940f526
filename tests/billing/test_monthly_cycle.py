"""The run of a month: once for everybody, in any number of pieces, on any number of machines."""

import asyncio
import random
import signal
import sys
from datetime import UTC, datetime
from uuid import UUID

import pytest

from caas.billing import BILL_MONTH, BillingRunNotFoundError, MonthNotOverError
from caas.billing_database import connection
from caas.billing_database.billing_runs import BillingRun
from caas.billing_database.connection import Database
from caas.billing_database.tables import opened
from caas.rules.mes_vencido import Month
from tests.billing.months import MADRID, Past, put
from tests.billing.one_host import billing_of
from tests.databases import jobs_left
from tests.subscription_installation import SubscriptionInstallation, set_clock

MARCH = Month.parse("2030-03")
LONG_AGO = datetime(2029, 5, 5, tzinfo=UTC)
COUNTS = """
select (select count(*) from invoices where month = $1) as invoices,
       (select count(distinct subscription) from invoices where month = $1) as subscriptions,
       (select count(*) from payments where type = 'subscription') as payments,
       (select count(*) from jobs where kind = 'authorize') as work,
       (select max(number) from invoices) as last
"""


async def counted(database: Database) -> dict[str, int]:
    """Count everything a run makes."""
    row = await database.fetchrow(COUNTS, str(MARCH))
    assert row is not None
    return dict(row)


async def march_is_over(database: Database, subscriptions: int) -> list[UUID]:
    """Put subscriptions there and let the March of 2030 be over."""
    ids = await put(database, [Past(activated_at=LONG_AGO) for _ in range(subscriptions)])
    await set_clock(database, datetime(2030, 4, 1, 0, 0, 1, tzinfo=MADRID))
    return ids


async def test_a_month_is_billed_when_it_is_over_in_the_market(
    installation: SubscriptionInstallation,
) -> None:
    await put(installation.database, [Past(activated_at=LONG_AGO)])
    await set_clock(installation.database, datetime(2030, 3, 31, 23, 59, 59, tzinfo=MADRID))

    with pytest.raises(MonthNotOverError, match=r"2030-03 ends at 2030-03-31T22:00:00\+00:00"):
        await installation.billing.run_month(MARCH)
    await set_clock(installation.database, datetime(2030, 4, 1, tzinfo=MADRID))
    run = await installation.billing.run_month(MARCH)

    assert (run.invoices, run.charges) == (1, 1)


async def test_every_subscription_has_one_invoice_and_one_charge(
    installation: SubscriptionInstallation,
) -> None:
    await march_is_over(installation.database, 300)

    run = await installation.billing.run_month(MARCH)

    assert (run.subscriptions, run.seen, run.invoices, run.charges) == (300, 300, 300, 300)
    assert await counted(installation.database) == {
        "invoices": 300, "subscriptions": 300, "payments": 300, "work": 300, "last": 300,
    }  # fmt: skip


async def test_running_a_month_again_changes_nothing(
    installation: SubscriptionInstallation,
) -> None:
    await march_is_over(installation.database, 50)
    first = await installation.billing.run_month(MARCH)

    again = await installation.billing.run_month(MARCH)

    assert again == first
    assert (await counted(installation.database))["payments"] == 50


async def test_a_declined_month_is_not_charged_again_by_a_second_run(
    installation: SubscriptionInstallation,
) -> None:
    (subscription,) = await put(
        installation.database, [Past(activated_at=LONG_AGO)], method="pm_declined"
    )
    await set_clock(installation.database, datetime(2030, 4, 1, tzinfo=MADRID))
    await installation.billing.run_month(MARCH)
    (invoice,) = await installation.invoices.listed(subject=subscription)
    await installation.charged(invoice)

    await installation.billing.run_month(MARCH)

    assert len(await installation.tables.payments.listed(subject=invoice.id)) == 1


async def test_ten_runs_at_once_on_two_machines_bill_everybody_once(
    installation: SubscriptionInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caas.billing.INVOICED_AT_ONCE", 37)
    monkeypatch.setattr("caas.billing.CHARGED_AT_ONCE", 41)
    await march_is_over(installation.database, 400)
    other = await connection.connect(installation.database.dsn)
    machines = [billing_of(opened(database)) for database in (installation.database, other)]

    runs = await asyncio.gather(*(machines[i % 2].run_month(MARCH) for i in range(10)))

    await other.close()
    assert {(run.invoices, run.charges) for run in runs} == {(400, 400)}
    assert await counted(installation.database) == {
        "invoices": 400, "subscriptions": 400, "payments": 400, "work": 400, "last": 400,
    }  # fmt: skip


async def test_a_run_that_is_stopped_anywhere_goes_on_where_it_was(
    installation: SubscriptionInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caas.billing.INVOICED_AT_ONCE", 20)
    monkeypatch.setattr("caas.billing.CHARGED_AT_ONCE", 20)
    await march_is_over(installation.database, 200)
    chance = random.Random(7)
    stops = 0

    while True:
        running = asyncio.create_task(installation.billing.run_month(MARCH))
        await asyncio.sleep(chance.uniform(0.001, 0.08))
        if running.done():
            break
        running.cancel()
        stops += 1
        with pytest.raises(asyncio.CancelledError):
            await running

    run = await running
    assert stops > 0
    assert (run.invoices, run.charges) == (200, 200)
    assert (await counted(installation.database))["last"] == 200


async def test_a_run_whose_process_is_killed_is_finished_by_another(
    installation: SubscriptionInstallation,
) -> None:
    await march_is_over(installation.database, 600)

    for after in (2, 25):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.billing.one_host", installation.database.dsn, str(MARCH),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(after):
            assert await process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        await process.wait()
        half = await installation.billing.run(MARCH)
        assert half.finished_at is None

    run = await installation.billing.run_month(MARCH)
    assert (run.invoices, run.charges) == (600, 600)
    assert await counted(installation.database) == {
        "invoices": 600, "subscriptions": 600, "payments": 600, "work": 600, "last": 600,
    }  # fmt: skip


async def test_a_run_says_how_far_it_is(
    installation: SubscriptionInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caas.billing.INVOICED_AT_ONCE", 40)
    await march_is_over(installation.database, 100)
    stated: list[BillingRun] = []

    await installation.billing.run_month(MARCH, progress=stated.append)

    assert [run.seen for run in stated][:3] == [40, 80, 100]
    assert stated[-1].finished_at is not None
    assert await installation.billing.runs() == [stated[-1]]


async def test_a_month_that_nobody_billed_has_no_run(
    installation: SubscriptionInstallation,
) -> None:
    with pytest.raises(BillingRunNotFoundError):
        await installation.billing.run(MARCH)


async def test_months_are_billed_by_themselves_one_after_the_other(
    installation: SubscriptionInstallation,
) -> None:
    (subscription,) = await put(installation.database, [Past(activated_at=LONG_AGO)])
    await set_clock(installation.database, datetime(2030, 3, 9, tzinfo=MADRID))

    scheduled = await installation.billing.schedule()
    await installation.rest()
    before = await installation.invoices.listed(subject=subscription)
    await set_clock(installation.database, datetime(2030, 6, 2, tzinfo=MADRID))
    async with asyncio.timeout(120):
        while len(await installation.billing.runs()) < 3:
            await installation.jobs.run_due()
    await installation.rest()

    invoices = await installation.invoices.listed(subject=subscription)
    assert (scheduled, before) == (MARCH, [])
    assert sorted(str(invoice.month) for invoice in invoices) == ["2030-03", "2030-04", "2030-05"]
    assert await jobs_left(installation.database, BILL_MONTH)


async def test_scheduling_again_adds_nothing(installation: SubscriptionInstallation) -> None:
    await asyncio.gather(*(installation.billing.schedule() for _ in range(5)))

    rows = await installation.database.fetch("select 1 from jobs where kind = $1", BILL_MONTH)
    assert len(rows) == 1


async def test_invoice_numbers_begin_anew_with_the_year_they_are_issued_in(
    installation: SubscriptionInstallation,
) -> None:
    await put(installation.database, [Past(activated_at=LONG_AGO)])
    for moment in (datetime(2030, 12, 31, 23, tzinfo=MADRID), datetime(2031, 1, 1, tzinfo=MADRID)):
        await set_clock(installation.database, moment)
        month = Month.containing(moment, MADRID).previous()
        await installation.billing.run_month(month)

    invoices = await installation.invoices.listed()
    assert [(one.month, one.full_number) for one in invoices] == [
        ("2030-12", "2031-000001"),
        ("2030-11", "2030-000001"),
    ]


async def test_a_month_without_delivery_has_no_invoice(
    installation: SubscriptionInstallation,
) -> None:
    april = datetime(2030, 4, 1, tzinfo=MADRID)
    await put(
        installation.database,
        [
            Past(activated_at=april),
            Past(activated_at=LONG_AGO, cancelled_at=datetime(2030, 3, 1, tzinfo=MADRID)),
        ],
    )
    await set_clock(installation.database, april)

    run = await installation.billing.run_month(MARCH)

    assert (run.seen, run.invoices, run.charges) == (2, 0, 0)


async def test_what_costs_nothing_is_invoiced_and_not_charged(
    installation: SubscriptionInstallation,
) -> None:
    past = Past(activated_at=datetime(2030, 3, 31, 12, tzinfo=MADRID), fee=1)
    await put(installation.database, [past])
    await set_clock(installation.database, datetime(2030, 4, 1, tzinfo=MADRID))

    run = await installation.billing.run_month(MARCH)

    (invoice,) = await installation.invoices.listed(subject=past.id)
    assert (run.invoices, run.charges) == (1, 0)
    assert (invoice.gross, invoice.state) == (0, "nothing to pay")


async def test_an_invoice_never_changes(installation: SubscriptionInstallation) -> None:
    await march_is_over(installation.database, 1)
    await installation.billing.run_month(MARCH)

    with pytest.raises(Exception, match=r"append-only|permission denied"):
        await installation.database.fetch("update invoices set net = 0, iva = 0, gross = 0")
