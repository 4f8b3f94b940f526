"""A report that says the same of one payment in several lines is applied like any other."""

from datetime import date
from typing import Any

import pytest

from caas.billing_database.job_rows import Job
from caas.jobs import RetryIn
from caas.reconciliation.apply_results import ResultApplication
from caas.reconciliation.run_cases import STOPPED
from caas.reconciliation.schedule import AFTER_FAILURE_SECONDS
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.payment_states import PaymentState
from tests.reconciliation.office import Office


@pytest.mark.parametrize("parts", [[500, 799], [1299, 1299], [300, 300, 699]])
async def test_lines_that_settle_a_failed_payment_leave_the_others_posted(
    office: Office, parts: list[int]
) -> None:
    failed = await office.bought()
    await office.installation.gateway_does(
        f"transactions/{failed.gateway_transaction_id}/settlement-failure"
    )
    await office.installation.until(failed.id, lambda p: p.state is PaymentState.SETTLEMENT_FAILED)
    other = await office.capturing()
    await office.forget_lines_of("settlement_failure")
    for number, gross in enumerate(parts):
        await office.line(failed, gross=gross, fee=40 + number)
    await office.line(other, transaction_id=other.gateway_transaction_id)

    done = await office.closed()

    assert done.run.state == "done"
    assert done.run.counts == {"matched": 1, "state_conflict": len(parts)}
    assert (await office.payment(other)).state is PaymentState.SETTLED
    assert set(await office.kinds()) == {Kind.STATE_CONFLICT}


async def test_lines_that_settle_a_voided_payment_give_the_money_back(office: Office) -> None:
    payment = await office.voided_but_captured()
    again: dict[str, Any] = {"gross": 1299, "fee": 44}
    await office.line(payment, **again)

    done = await office.closed()
    await office.refunded_at_gateway(payment)

    assert done.run.state == "done"
    assert await office.kinds() == [Kind.SETTLED_THOUGH_VOIDED] * 2


async def test_a_run_that_an_error_stops_is_a_case_until_a_run_ends(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await office.capturing()
    await office.line(payment)
    cases = office.installation.platform.tables.cases

    async def fails(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(ResultApplication, "_follow", fails)
        with pytest.raises(ZeroDivisionError):
            await office.closed()
    [open_] = await cases.listed(kind=STOPPED)
    done = await office.reconciliation.reconcile(office.today)

    assert "ZeroDivisionError" in open_.sentence
    assert done.run.state == "done"
    assert await cases.listed(kind=STOPPED) == []
    assert (await office.payment(payment)).state is PaymentState.SETTLED


async def test_a_day_whose_run_stops_does_not_keep_back_the_next(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.closed(office.later(-3))
    one = office.reconciliation.of()
    asked: list[date] = []

    async def fails_at_first(day: date, _mode: str) -> None:
        asked.append(day)
        if len(asked) == 1:
            raise ZeroDivisionError

    monkeypatch.setattr(one.schedule, "_reconcile", fails_at_first)
    answer = await one.schedule.daily(Job("reconcile_daily", one.schedule.subject, {}, 1, 1))

    assert asked == [office.later(-2), office.later(-1)]
    assert answer == RetryIn(AFTER_FAILURE_SECONDS, f"ZeroDivisionError on {office.later(-2)}")
