"""A line that is kept aside ends by that very line, and the same file gives the same verdict."""

from datetime import timedelta
from pathlib import Path

import pytest

from caas.billing_database.quarantined_lines import QuarantinedRow
from caas.external_systems.report_files import BadReportError
from caas.reconciliation.file_checks import Expected
from tests.reconciliation.crowd import HEADER, line_of
from tests.reconciliation.office import Office
from tests.reconciliation.test_half_files import paypal
from tests.reconciliation.test_reports_that_grow import adyen_file, mollie_file
from tests.reconciliation.test_rows_booked_once import DAY, Operation, row, stripe

TWICE = "rows with an identifier that is there twice: 1"


@pytest.fixture
def investigation(office: Office, tmp_path: Path) -> Operation:
    """A clerk at a desk."""
    return Operation(office, tmp_path)


def canonical(*lines: str) -> str:
    """Write a canonical file."""
    return "\n".join([HEADER, *lines]) + "\n"


async def aside(office: Office) -> list[QuarantinedRow]:
    """Return what is kept aside of the day and not released."""
    return [it for it in await office.reconciliation.quarantined(DAY) if it.released_at is None]


async def verdicts_of(investigation: Operation, text: str, times: int = 4) -> set[tuple[str, str]]:
    """Give a file several times; return the verdicts and their reasons."""
    given = [await investigation.gives(text, DAY) for _ in range(times)]
    return {(it.day.verdict, it.day.because or "") for it in given}


async def test_the_same_file_gives_the_same_verdict_however_often_it_is_given(
    investigation: Operation, office: Office
) -> None:
    """A row that is there twice with two amounts: incomplete, incomplete, closed, incomplete."""
    payment, other = await office.capturing(), await office.capturing()
    who = f"ch_1,{payment.gateway_transaction_id},{payment.id}"
    rows = [row(1, "charge", it, who=who) for it in ("12.99,0.43,12.56", "10.99,0.43,10.56")]

    first = await verdicts_of(investigation, stripe(*rows))
    reversed_ = await verdicts_of(investigation, stripe(*rows[::-1]), 2)

    assert first == reversed_ == {("incomplete", TWICE)}
    assert len(await aside(office)) == 1
    await investigation.gives(stripe(rows[0]), DAY)
    assert await aside(office) == []
    reported = (other.gateway_transaction_id or "", str(other.id), "", "T0006", "CR")
    assert await verdicts_of(
        investigation, paypal((*reported, 1299), (*reported, 1199))
    ) == {("incomplete", TWICE)}  # fmt: skip


async def test_a_row_that_contradicts_another_report_stays_aside_until_it_agrees(
    investigation: Operation, office: Office
) -> None:
    """The reason changed each time, and the row was released as if it had come as it should."""
    await investigation.gives(stripe(row(1, "topup", "12,0,12", payout="po_A")), DAY)
    wrong = [row(1, "topup", "10,0,10", payout="po_B"), row(2, "topup", "2,0,2", payout="po_B")]

    given = await verdicts_of(investigation, stripe(*wrong))

    assert given == {("incomplete", "lines that contradict what is stored: 1")}
    right = await investigation.gives(stripe(wrong[0].replace("10,0,10", "12,0,12"), wrong[1]), DAY)
    assert (right.day.verdict, await aside(office)) == ("closed", [])


async def test_an_unreadable_line_beside_a_good_one_of_its_number_gives_one_verdict(
    investigation: Operation, office: Office
) -> None:
    payment = await office.capturing()
    lines = [line_of(1, payment, booked_at=f"{DAY}T10:00:00Z", **it) for it in ({}, {"net": 1})]
    following = DAY + timedelta(days=1)
    rows = [row(1, "topup", it, created=following) for it in ("1,0,1", "1x,0,1")]

    assert await verdicts_of(investigation, canonical(*lines), 3) == {("incomplete", TWICE)}
    given = [(await investigation.gives(stripe(*rows), following)).day.because for _ in range(3)]
    assert given == [TWICE] * 3


async def test_a_line_of_another_payment_releases_no_unreadable_line(
    investigation: Operation, office: Office
) -> None:
    """Line 1 of another batch closed the day, and the first payment's line was lost."""
    first, second = await office.capturing(), await office.capturing()
    at = {"booked_at": f"{DAY}T10:00:00Z"}
    bad = canonical(line_of(1, first, batch_id="VA", net=1, **at))
    other = canonical(line_of(1, second, batch_id="VB", **at))

    await investigation.gives(bad, DAY)
    beside = await investigation.gives(other, DAY)
    assert (beside.run.lines, beside.day.verdict) == (1, "incomplete")
    assert len(await aside(office)) == 1
    parts = {it.part for it in await office.reconciliation.reports.of_day("contract", DAY)}
    assert "canonical e3b0c44298fc1c14" not in parts
    right = await investigation.gives(canonical(line_of(1, first, batch_id="VA", **at)), DAY)

    assert (right.run.lines, right.day.verdict, await aside(office)) == (1, "closed", [])


async def test_a_line_with_the_number_but_not_the_transaction_is_another_line(
    investigation: Operation, office: Office
) -> None:
    first, second = await office.capturing(), await office.capturing()
    at = {"booked_at": f"{DAY}T10:00:00Z"}
    await investigation.gives(canonical(line_of(1, first, net=1, **at)), DAY)

    done = await investigation.gives(canonical(line_of(1, second, **at)), DAY)

    assert (done.day.verdict, len(await aside(office))) == ("incomplete", 1)


async def test_a_row_that_a_provider_counts_twice_is_kept_aside_and_counted(
    investigation: Operation, office: Office
) -> None:
    """Two lines were stored of three that PayPal's totals count, and the day closed."""
    first, second = await office.capturing(), await office.capturing()
    rows = [
        (it.gateway_transaction_id or "", str(it.id), "", "T0006", "CR", 1299)
        for it in (first, second, second)
    ]

    given = [await investigation.gives(paypal(*rows), DAY) for _ in range(3)]

    assert [it.run.lines for it in given] == [2, 0, 0]
    assert {(it.day.verdict, it.day.because) for it in given} == {("incomplete", TWICE)}
    [report] = await office.reconciliation.reports.of_day("contract", DAY)
    assert (report.line_count, report.lines_stored) == (3, 2)
    [kept] = await aside(office)
    assert kept.reason == "its identifier is there twice; both rows say the same"
    await office.reconciliation.release_quarantined(
        kept.report_id, kept.place, by="Ana", note="PayPal confirms one payment."
    )
    again = await investigation.gives(paypal(*rows), DAY)
    assert (again.day.because, await aside(office)) == ("not resolved: 2", [])  # no fee was kept


async def test_the_net_of_a_file_is_that_of_all_its_rows(office: Office, tmp_path: Path) -> None:
    """The true sum of the column was refused where a row is there twice."""
    rows = [row(1, "topup", "12.56,0,12.56")] * 2 + [row(2, "topup", "12.56,0,12.56")]
    path = tmp_path / "net.csv"
    path.write_text(stripe(*rows))

    with pytest.raises(BadReportError, match=r"37\.68 EUR instead of 25\.12 EUR"):
        await office.reconciliation.reconcile(
            DAY, file=path, expected=Expected(nets=("25.12 EUR",))
        )
    done = await office.reconciliation.reconcile(
        DAY, file=path, expected=Expected(lines=3, nets=("37.68 EUR",))
    )

    assert (done.run.lines, done.day.because) == (2, TWICE)
    preview = await office.reconciliation.preview_content(stripe(*rows).encode())
    assert preview.unreadable == ["line 3: its identifier is there twice; both rows say the same"]


async def test_a_row_without_an_id_is_released_by_the_row_of_its_transaction(
    investigation: Operation, office: Office
) -> None:
    """Adyen's rows have no ids: a row that came right was looked for by its place."""
    first, second = await office.capturing(), await office.capturing()
    rows = adyen_file((first, second)).splitlines()
    unread = [
        it.replace(f"{DAY} 10", f"{DAY:%d/%m/%Y} 10") if "Settled" in it else it for it in rows
    ]
    other = "\n".join([*rows[:1], unread[1], *rows[2:]]) + "\n"

    given = await verdicts_of(investigation, "\n".join(unread) + "\n", 3)
    assert given == {("incomplete", "lines that could not be read: 2")}
    one = await investigation.gives(other, DAY)
    assert (one.run.lines, one.day.because) == (1, "lines that could not be read: 1")
    assert {len(await office.lines_of(it)) for it in (first,)} == {0}
    both = await investigation.gives("\n".join(rows) + "\n", DAY)

    assert (both.run.lines, await aside(office)) == (1, [])


async def test_a_stored_row_without_an_id_that_is_gone_is_named_by_its_line(
    investigation: Operation, office: Office
) -> None:
    """The sentence had nothing between its brackets."""
    whole = mollie_file((await office.capturing(),)).splitlines()
    await investigation.gives("\n".join(whole) + "\n", DAY)

    await investigation.is_refused("\n".join(whole[:2]) + "\n", DAY, r"\(line 3\)")
