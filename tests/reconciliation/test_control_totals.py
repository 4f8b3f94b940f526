"""Fault F-C1: what becomes of a report whose pages repeat, are missing, or do not add up."""

import pytest

from caas.external_systems.report_files import BadReportError
from caas.reconciliation.report_pages import ReportChangedError
from caas.rules.payment_states import PaymentState
from tests.reconciliation.office import Office


async def fault(office: Office, **action: object) -> None:
    """Let the gateway's report go wrong."""
    await office.installation.gateway_does(
        "faults", match={"operation": "settlements"}, action=action
    )


async def test_a_report_whose_totals_do_not_agree_is_refused_and_nothing_is_applied(
    office: Office,
) -> None:
    payment = await office.capturing()
    await office.line(payment)
    await fault(office, wrong_totals=True)

    with pytest.raises(BadReportError, match="control totals do not match"):
        await office.closed()

    assert (await office.payment(payment)).state is PaymentState.CAPTURING
    assert await office.balance("bank") == 0
    [case] = await office.installation.platform.tables.cases.listed()
    assert case.kind == "settlement_report_refused"
    assert (await office.reconciliation.verdict(office.today)).verdict == "in progress"


async def test_a_report_that_lacks_a_line_is_refused(office: Office) -> None:
    await office.line(await office.capturing())
    await office.line(await office.capturing())
    await fault(office, drop_line=2)

    with pytest.raises(BadReportError, match="reports 2 lines"):
        await office.closed()

    assert await office.balance("bank") == 0


async def test_a_line_that_is_given_twice_under_its_number_counts_once(office: Office) -> None:
    await office.line(await office.capturing())
    await fault(office, duplicate_line=1)

    done = await office.closed()

    assert (done.run.counts, done.day.verdict) == ({"matched": 1}, "closed")


async def test_pages_that_repeat_are_refused(office: Office) -> None:
    for number in range(501):
        await office.line(transaction_id=f"txn_{number}")
    await fault(office, repeat_page=True)

    with pytest.raises(BadReportError):
        await office.closed()

    assert await office.found() == []


async def test_a_report_of_many_pages_is_fetched_whole(office: Office) -> None:
    payment = await office.capturing()
    for number in range(60):
        await office.line(transaction_id=f"txn_{number}", gross=1 + number, fee=25)
    for number in range(500):
        await office.line(payment, type="adjustment", gross=number + 1, fee=0)

    done = await office.closed()

    assert done.run.lines == 560


async def test_an_open_report_that_does_not_add_up_yet_is_tried_again_later(
    office: Office,
) -> None:
    await office.line(await office.capturing())
    await fault(office, wrong_totals=True)

    with pytest.raises(ReportChangedError):
        await office.reconciliation.reconcile(office.today)

    assert await office.installation.platform.tables.cases.listed() == []


async def test_a_line_that_cannot_be_read_is_kept_aside_and_the_rest_goes_on(
    office: Office,
) -> None:
    payment = await office.capturing()
    await office.line(payment)
    office.installation.gateway.reports.book_as_asked(
        None, transaction_id="txn_x", type="settlement", gross=100, fee=1, net=100,
        currency="EUR", reference=None,
    )  # fmt: skip

    done = await office.closed()

    [aside] = await office.reconciliation.quarantined(office.today)
    assert "gross - fee is not net" in aside.reason
    assert (await office.payment(payment)).state is PaymentState.SETTLED
    assert (done.day.verdict, done.run.counts) == ("incomplete", {"matched": 1})


async def test_a_person_may_say_why_a_line_need_not_come_again(office: Office) -> None:
    office.installation.gateway.reports.book_as_asked(
        None, type="settlement", gross=100, fee=1, net=100
    )
    await office.closed()
    [aside] = await office.reconciliation.quarantined(office.today)

    await office.reconciliation.release_quarantined(
        aside.report_id, aside.place, by="Ana", note="The gateway confirms it is void."
    )

    assert (await office.reconciliation.verdict(office.today)).verdict == "closed"


async def test_a_card_number_in_a_line_is_kept_aside_and_shown_nowhere(office: Office) -> None:
    await office.line(transaction_id="4111111111111111")

    await office.closed()

    [aside] = await office.reconciliation.quarantined(office.today)
    assert "card number" in aside.reason
    assert "4111111111111111" not in aside.text


async def test_a_closed_report_that_changes_is_found_out(office: Office) -> None:
    payment = await office.capturing()
    await office.line(payment)
    await office.closed()
    report = office.installation.gateway.reports._reports[office.today.isoformat()]
    report.lines[0].batch_id = "another"

    done = await office.reconciliation.reconcile(office.today)

    assert done.day.verdict == "incomplete"
    [aside] = await office.reconciliation.quarantined(office.today)
    assert "differs from the stored line with its number" in aside.reason
