"""A refund that no report listed yet: its line ends the alarm, and what was booked for it."""

from datetime import date

from caas.billing_database.identifiers import new_id
from caas.billing_database.invariants import INVARIANTS
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.billing_database.reconciliation_days import AlreadyReconcilingError
from caas.jobs import RetryIn
from caas.reconciliation import INCREMENTAL
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.databases import over_everything
from tests.people import COMMAND_LINE
from tests.reconciliation.office import Office

BOOKED_TWICE = "refunds_are_explained_once"


async def settled_for(office: Office, payment: Payment) -> int:
    """Return what stands on the account of settled funds for a payment."""
    row = await office.installation.database.fetchrow(
        "select coalesce(sum(amount), 0)::bigint as sum from ledger_lines"
        " where account = 'settled_funds' and payment_id = $1",
        payment.id,
    )
    assert row is not None
    return int(row["sum"])


async def broken(office: Office) -> list[object]:
    """Return what breaks the invariant about refunds that are explained twice."""
    [invariant] = [it for it in INVARIANTS if it.name == BOOKED_TWICE]
    return list(await office.installation.database.fetch(over_everything(invariant.query)))


async def unlisted_refund(office: Office) -> Payment:
    """Refund 300 of a settled payment, without a line of it until long after it was due."""
    payment = await office.installation.settled()
    await office.closed()
    await office.refund_order(payment, 300)
    await office.forget_lines_of("refund")
    await office.days_pass(9)
    await office.closed(office.later(-1))
    [found] = await office.found(unresolved=True)
    assert (found.kind, found.amount) == (Kind.REFUND_MISMATCH, 300)
    return payment


async def test_the_line_of_a_refund_ends_its_alarm_and_the_next_refund_has_its_own(
    office: Office,
) -> None:
    payment = await unlisted_refund(office)
    await office.line(payment, type="refund", gross=-300, fee=0)

    done = await office.closed()

    assert done.run.counts == {"matched": 1}
    assert await office.kinds() == []
    [ended] = await office.found(kind=Kind.REFUND_MISMATCH)
    assert (ended.status, ended.resolution) == ("resolved", "itself")
    assert await settled_for(office, payment) == 0
    await office.days_pass(1)
    await office.installation.platform.payment_processing.refund_payment(
        payment.id, amount=300, reason="desistimiento", key="twice", requested_by="ops"
    )
    await office.installation.until(payment.id, lambda p: p.refunded_amount == 600)
    await office.forget_lines_of("refund")
    await office.days_pass(9)
    await office.closed(office.later(-1))
    [second] = await office.found(unresolved=True)
    assert (second.kind, second.amount, second.id != ended.id) == (Kind.REFUND_MISMATCH, 300, True)


async def test_the_line_of_a_refund_takes_back_what_a_person_had_booked(office: Office) -> None:
    payment = await unlisted_refund(office)
    await office.resolved(Resolution.CORRECT_BY_ENTRY)
    assert await settled_for(office, payment) == 0

    await office.line(payment, type="refund", gross=-300, fee=0)
    await office.closed()

    assert await office.kinds() == []
    [ended] = await office.found(kind=Kind.REFUND_MISMATCH)
    assert ended.resolution == "itself"
    assert await settled_for(office, payment) == 0
    assert await broken(office) == []


async def test_an_alarm_that_outlived_its_line_ends_with_the_day_s_next_run(
    office: Office,
) -> None:
    """As they were left by runs that did not see the line; deciding one booked a second entry."""
    payment = await unlisted_refund(office)
    alarm = office.later(-1)
    await office.line(payment, type="refund", gross=-300, fee=0)
    await office.closed()
    [ended] = await office.found(kind=Kind.REFUND_MISMATCH)
    await office.reconciliation.investigation.reopen(ended.id, note="As it was left.", by="Ana")
    await office.reconciliation.investigation.resolve(
        ended.id, resolution=Resolution.CORRECT_BY_ENTRY, note="Seen.", by=COMMAND_LINE
    )
    assert await settled_for(office, payment) == 300
    assert len(await broken(office)) == 1

    await office.reconciliation.reconcile(alarm)

    assert await settled_for(office, payment) == 0
    assert await broken(office) == []


async def test_a_line_after_the_seal_of_its_alarm_is_for_a_person(office: Office) -> None:
    payment = await unlisted_refund(office)
    await office.resolved(Resolution.CORRECT_BY_ENTRY)
    await office.reconciliation.seal(office.later(-1), by="Ana")

    await office.line(payment, type="refund", gross=-300, fee=0)
    done = await office.closed()

    assert done.run.counts == {"refund_mismatch": 1}
    assert await settled_for(office, payment) == 0
    assert await broken(office) == []


async def test_a_catch_up_judges_the_oldest_day_first_when_another_run_is_in_its_way(
    office: Office,
) -> None:
    """It went on with the newer days, and found missing what the oldest day's report told."""
    await office.reconciliation.reconcile(office.today, mode=INCREMENTAL)
    await office.days_pass(3)
    schedule, judged = office.reconciliation.of().schedule, list[date]()
    reconcile = schedule._reconcile

    async def busy_at_first(day: date, mode: str) -> object:
        judged.append(day)
        if len(judged) == 1:
            raise AlreadyReconcilingError
        return await reconcile(day, mode)

    schedule._reconcile = busy_at_first
    answer = await schedule.daily(Job("reconcile", new_id(), {}, 1, 1))
    assert isinstance(answer, RetryIn)
    assert (judged, answer.due_in) == ([office.later(-3)], 30.0)
    await schedule.daily(Job("reconcile", new_id(), {}, 1, 1))

    assert judged[1:] == [office.later(-days) for days in (3, 2, 1)]


async def test_a_line_that_waits_for_a_person_is_no_missing_line(office: Office) -> None:
    """It was reopened and counted for nothing, so that its refund had no line either."""
    payment = await office.installation.settled()
    await office.closed()
    await office.refund_order(payment, 300)
    await office.forget_lines_of("refund")
    await office.days_pass(1)
    await office.line(payment, type="refund", gross=-400, fee=0)
    await office.closed()
    investigation = office.reconciliation.investigation
    found = await office.resolved(Resolution.ACCEPT_LOSS)
    await investigation.reopen(found.id, note="Look.", by="Luis")

    await office.days_pass(12)
    await office.closed()

    assert [it.id for it in await office.found(unresolved=True)] == [found.id]
