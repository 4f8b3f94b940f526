"""A day that was begun and is not complete is closed one night, however old it is by then."""

from caas.billing_database.identifiers import new_id
from caas.billing_database.job_rows import Job
from caas.reconciliation.runs import INCREMENTAL
from tests.reconciliation.office import Office


async def test_a_day_older_than_a_month_is_closed(office: Office) -> None:
    payment = await office.capturing()
    await office.line(payment)
    first = office.today
    await office.reconciliation.reconcile(first, mode=INCREMENTAL)
    await office.days_pass(40)

    await office.reconciliation.of().schedule.daily(Job("reconcile_daily", new_id(), {}, 1, 1))

    assert (await office.reconciliation.verdict(first)).verdict == "closed"
