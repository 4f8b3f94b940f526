"""What an accountant reads: sums by currency, signs, days without movements, and named faults."""

from datetime import timedelta
from pathlib import Path

import pytest

from caas.external_systems.report_files import BadReportError
from caas.reconciliation.file_checks import Expected
from caas.reconciliation.finance_terms import FeeRefusedError
from caas.reconciliation.reporting import as_data, as_text
from tests.business_day import business_day
from tests.reconciliation.crowd import HEADER
from tests.reconciliation.office import Office
from tests.reconciliation.test_command_line import Caas, caas, installation_rows  # noqa: F401
from tests.reconciliation.test_rows_booked_once import DAY, Operation, row, stripe
from tests.reconciliation.test_rows_without_ids_of_their_own import redsys, transitioned


@pytest.fixture
def investigation(office: Office, tmp_path: Path) -> Operation:
    """A clerk at a desk."""
    return Operation(office, tmp_path)


async def test_a_report_in_several_currencies_has_its_sums_by_currency(
    investigation: Operation, office: Office
) -> None:
    """Euros and dollars were added up, in "minor units"."""
    euros, dollars = row(1, "topup", "12.56,0,12.56"), row(2, "topup", "7,0,7")
    await investigation.gives(stripe(euros, dollars.replace(",eur,", ",usd,")), DAY)

    report = await office.reconciliation.of().reporting.report(DAY)
    lines = [it.split() for it in as_text(report).splitlines()]
    text = as_text(report)

    assert "minor units" not in text
    at = text[text.index("Settlement reports") : text.index("Lines by class")]
    amounts = [it.split()[-3:] for it in at.splitlines()[2:] if it.strip()]
    assert amounts == [["12.56", "12.56", "EUR"], ["7.00", "7.00", "USD"]]
    assert [it[:2] for it in lines if it[:1] == ["own_transfer"]] == [["own_transfer", "1"]] * 2
    totals = as_data(report)["figures"]["reports"]
    assert [(it["currency"], it["lines"], it["net"]) for it in totals] == [
        ("EUR", 1, 1256), ("USD", 1, 700),
    ]  # fmt: skip


async def test_a_day_without_movements_is_closed_by_its_empty_file(
    office: Office, tmp_path: Path
) -> None:
    """A file with only a header was refused, also where a person said that it has no lines."""
    path = tmp_path / "empty.csv"
    for text in (f"{HEADER}\n", stripe()):
        path.write_text(text)
        with pytest.raises(BadReportError, match="no line after it"):
            await office.reconciliation.reconcile(DAY, file=path)
        for _ in range(2):
            done = await office.reconciliation.reconcile(DAY, file=path, expected=Expected(lines=0))
            assert (done.run.lines, done.day.verdict) == (0, "closed")


async def test_an_empty_file_closes_no_day_of_which_lines_are_stored(
    investigation: Operation, office: Office, tmp_path: Path
) -> None:
    await investigation.gives(stripe(row(1, "topup", "1,0,1")), DAY)
    path = tmp_path / "empty.csv"
    path.write_text(stripe())

    with pytest.raises(BadReportError, match="has shrunk: 1 stored lines"):
        await office.reconciliation.reconcile(DAY, file=path, expected=Expected(lines=0))
    path.write_text(stripe(row(1, "topup", "1,0,1")))
    with pytest.raises(BadReportError, match="expected 0"):
        await office.reconciliation.reconcile(DAY, file=path, expected=Expected(lines=0))


@pytest.mark.parametrize("word", ["Anulación", "Anulación de confirmación"])
async def test_what_redsys_cancels_takes_money_away(
    investigation: Operation, office: Office, word: str
) -> None:
    """It was read as an adjustment of +12.99."""
    cancelled = redsys(transitioned("0001", word, "12,99 EUR"))
    [reported] = (await office.reconciliation.preview_content(cancelled.encode())).sums

    assert (reported.type, reported.gross, reported.net) == ("adjustment", -1299, -1299)
    await investigation.gives(cancelled, DAY)
    given = redsys(transitioned("0001", "Anulación de devolución", "3,00 EUR"))
    [returned] = (await office.reconciliation.preview_content(given.encode())).sums
    assert returned.net == 300


async def test_a_fee_that_is_refused_names_its_fault(
    office: Office,
    caas: Caas,  # noqa: F811
) -> None:
    """Each fault had one and the same sentence."""
    start = ("fees", "keep", "--from", str(office.today))
    faults = {
        ("--percent", "1,4"): "'1,4' is no percentage: write it with a point, for example 1.4",
        ("--percent", "1.00001"): "'1.00001' has more than four decimals",
        ("--percent", "101"): "is not between 0 and 100 %",
        ("--percent", "1", "--kind", "foo"): "'foo' is no type of line with a fee: settlement,",
        ("--percent", "1", "--method", "Visa Card"): "'Visa Card' is no payment method",
        ("--percent", "1", "--fixed", "1000001"): "The fixed part",
    }
    for options, sentence in faults.items():
        answer = await caas(*start, *options)
        assert answer.status == 4
        assert sentence in answer.err
    terms = office.reconciliation.finance_terms
    with pytest.raises(FeeRefusedError, match="The tolerance"):
        await terms.keep_fee("*", "settlement", office.today, (1, 0, -1), by="Ana")


async def test_a_preview_says_what_there_is(
    tmp_path: Path,
    caas: Caas,  # noqa: F811
) -> None:
    """It said "None to None", and nothing of a row that is there twice."""
    path = tmp_path / "seen.csv"
    path.write_text(stripe(row(1, "topup", "1,0,1"), row(1, "topup", "1,0,1")))
    twice = await caas("preview", str(path))
    path.write_text(stripe(row(1, "topup", "1x,0,1")))
    unread = await caas("preview", str(path))

    assert twice.out.startswith(f"stripe, 2 rows, 1 lines, {DAY}\n")
    assert "1 lines would be kept aside:\nline 3: its identifier is there twice" in twice.out
    assert unread.out.startswith("stripe, 1 rows, 0 lines, without a day that can be read\n")


async def test_a_broken_header_is_no_sentence_of_a_library(office: Office) -> None:
    with pytest.raises(BadReportError) as refused:
        await office.reconciliation.preview_content(b"a\rb,c\n1,2\n")

    assert "new-line character seen" not in refused.value.sentence
    assert "inside a cell" in refused.value.sentence


async def test_showing_a_discrepancy_asks_only_the_database(
    office: Office,
    caas: Caas,  # noqa: F811
) -> None:
    """It asked the gateway, and warned that the call could not be recorded."""
    await office.line(transaction_id="txn_alien")
    await office.closed()
    [found] = await office.found(unresolved=True)
    calls = "select count(*) as calls from gateway_calls where operation = 'find'"
    [before] = await office.installation.database.fetch(calls)

    shown = await caas("discrepancies", "show", str(found.id))

    [after] = await office.installation.database.fetch(calls)
    assert (shown.status, after["calls"]) == (0, before["calls"])
    assert "not_recorded" not in shown.out + shown.err
    assert "refund_the_customer" in shown.out
    assert "not checked whether the gateway can still refund" in shown.out


async def test_the_list_of_tax_rates_says_last_days_and_what_was_withdrawn(
    caas: Caas,  # noqa: F811
) -> None:
    """A rate to come could not be corrected; the list said "until" the first day of the next."""
    begins = business_day() + timedelta(days=20)
    rate = ("ES-CN", "service", "--from", str(begins))
    terms = ("--name", "IGIC", "--category", "L", "--by", "Ana")

    first = await caas("taxes", "change", *rate, "--basis-points", "950", *terms)
    second = await caas("taxes", "change", *rate, "--basis-points", "900", *terms)
    listed = await caas("taxes", "list", "ES-CN")
    gone = await caas("taxes", "withdraw", *rate, "--by", "Eva")
    begun = await caas("taxes", "withdraw", "ES-CN", "service", "--from", "2020-01-01")

    assert first.status == 0
    assert second.out == (
        f"service in ES-CN is taxed at 9.00 % from {begins}, instead of 9.50 %.\n"
    )
    assert f"to {begins - timedelta(days=1)} " in listed.out
    assert f"from {begins}  withdrawn" in listed.out
    assert "9.50 %  by Ana, " in listed.out
    assert (gone.status, gone.out) == (
        0, f"The rate of service in ES-CN from {begins} is withdrawn.\n",
    )  # fmt: skip
    assert begun.status == 4
    assert "begins on 2020-01-01" in begun.err or "never changes" in begun.err
