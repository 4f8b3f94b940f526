"""Files that are no settlement report: a clear error that names the line, and nothing applied."""

import codecs
import zipfile
from pathlib import Path

import pytest

from caas.external_systems.report_files import BadReportError, examine
from caas.rules.payment_states import PaymentState
from tests.reconciliation.crowd import HEADER, line_of, report_file, settlements
from tests.reconciliation.office import Office


async def refused(office: Office, path: Path) -> BadReportError:
    """Give a file in, see it refused, and see that nothing was applied."""
    with pytest.raises(BadReportError) as error:
        await office.reconciliation.reconcile(office.today, file=path)
    assert error.value.sentence.endswith("Nothing was applied.")
    assert await office.balance("bank") == 0
    assert await office.found() == []
    return error.value


async def test_an_empty_file(office: Office, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")

    error = await refused(office, tmp_path / "empty.csv")

    assert "empty" in error.sentence


async def test_a_file_that_is_not_there(office: Office, tmp_path: Path) -> None:
    error = await refused(office, tmp_path / "nowhere.csv")

    assert "There is no file" in error.sentence


async def test_a_header_without_lines(office: Office, tmp_path: Path) -> None:
    error = await refused(office, report_file(tmp_path / "bare.csv", []))

    assert "no line after it" in error.sentence


async def test_a_file_that_breaks_off_in_a_line(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    path = report_file(tmp_path / "cut.csv", settlements([payment, payment]))
    path.write_bytes(path.read_bytes()[:-20])

    error = await refused(office, path)

    assert error.facts["line"] == 3
    assert (await office.payment(payment)).state is PaymentState.CAPTURING


async def test_a_line_with_too_few_columns(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    path = report_file(tmp_path / "short.csv", [*settlements([payment]), "2,bat_1,txn"])

    error = await refused(office, path)

    assert error.facts["line"] == 3
    assert "Line 3" in error.sentence


async def test_a_file_that_lacks_a_line_in_the_middle(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    path = report_file(tmp_path / "gap.csv", [line_of(1, payment), line_of(3, payment)])

    error = await refused(office, path)

    assert "Line number 2 is missing" in error.sentence


async def test_two_lines_with_one_number(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    path = report_file(tmp_path / "two.csv", [line_of(1, payment), line_of(1, payment, gross=5)])

    error = await refused(office, path)

    assert "Line number 1 is there twice" in error.sentence


async def test_a_file_in_another_encoding(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    path = tmp_path / "latin.csv"
    text = "\n".join([HEADER, line_of(1, payment), line_of(2, payment, batch_id="Núñez")]) + "\n"
    path.write_bytes(text.encode("latin-1"))

    error = await refused(office, path)

    assert error.facts["line"] == 3
    assert "UTF-8" in error.sentence


async def test_a_file_in_utf_16(office: Office, tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_bytes(codecs.BOM_UTF16_LE + HEADER.encode("utf-16-le"))

    error = await refused(office, path)

    assert "UTF-16" in error.sentence


async def test_a_zip_archive(office: Office, tmp_path: Path) -> None:
    path = tmp_path / "report.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("report.csv", HEADER)

    error = await refused(office, path)

    assert "zip archive" in error.sentence


async def test_another_bank_s_format(office: Office, tmp_path: Path) -> None:
    path = tmp_path / "bank.csv"
    path.write_text("Buchungstag;Betrag;Waehrung\n01.01.2026;12,99;EUR\n")

    error = await refused(office, path)

    assert "has such a header" in error.sentence
    assert error.facts["line"] == 1


async def test_ten_million_columns(office: Office, tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("a," * 10_000_000 + "\n" + "1," * 10_000_000 + "\n")

    error = await refused(office, path)

    assert error.facts["line"] == 1


@pytest.mark.parametrize("cell", ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-A1"])
async def test_a_cell_that_is_a_formula(office: Office, tmp_path: Path, cell: str) -> None:
    payment = await office.capturing()
    path = report_file(
        tmp_path / "formula.csv", [line_of(1, payment), line_of(2, payment, batch_id=cell)]
    )

    error = await refused(office, path)

    assert "is a formula" in error.sentence
    assert error.facts["line"] == 3


async def test_a_zero_byte(office: Office, tmp_path: Path) -> None:
    path = tmp_path / "zero.csv"
    path.write_bytes(HEADER.encode() + b"\n1,\0\n")

    error = await refused(office, path)

    assert error.facts["line"] == 2


async def test_a_column_that_is_there_twice(office: Office, tmp_path: Path) -> None:
    path = tmp_path / "double.csv"
    path.write_text(f"{HEADER},gross\n")

    error = await refused(office, path)

    assert "'gross' is there twice" in error.sentence


async def test_the_report_of_another_account(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    lines = [
        line_of(number, payment, transaction_id=f"txn_{number}", reference=f"order-{number}")
        for number in range(1, 151)
    ]

    error = await refused(office, report_file(tmp_path / "alien.csv", lines))

    assert error.code == "not_our_report"


@pytest.mark.parametrize(
    ("reported", "reason"),
    [
        ({"gross": "12.99"}, "its gross is no amount"),
        ({"gross": 5, "fee": 1, "net": 5}, "gross - fee is not net"),
        ({"type": "gift"}, "nothing is known of its type"),
        ({"currency": "XYZ"}, "its currency is unknown"),
        ({"booked_at": "yesterday"}, "the time it was booked at"),
        ({"booked_at": "2026-11-19T10:00:00"}, "the time it was booked at"),
        ({"value_date": "19/11/2026"}, "its value date is none"),
        ({"transaction_id": "txn 1; drop table"}, "its transaction is no identifier"),
        ({"line_no": "two"}, "its line number"),
        ({"gross": 10**16, "fee": 0, "net": 10**16}, "its gross is no amount"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_one_bad_line_is_kept_aside_and_the_rest_goes_on(
    office: Office, tmp_path: Path, reported: dict[str, object], reason: str
) -> None:
    payment = await office.capturing()
    net = {} if "net" in reported else {"net": 1, "fee": 1} if "gross" in reported else {}
    lines = [line_of(1, payment), line_of(2, payment, **net, **reported)]

    done = await office.reconciliation.reconcile(
        office.today, file=report_file(tmp_path / "bad.csv", lines)
    )

    [aside] = await office.reconciliation.quarantined(office.today)
    assert (aside.place, reason in aside.reason) == (3, True)
    assert done.run.counts == {"matched": 1}
    assert done.day.verdict == "incomplete"
    assert (await office.payment(payment)).state is PaymentState.SETTLED


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "windows.csv"
    path.write_bytes(codecs.BOM_UTF8 + f"{HEADER}\r\n1,x\r\n".encode())

    file = examine(path, tmp_path)

    assert (file.format.name, file.columns[0], file.columns[-1]) == (
        "canonical", "line_no", "value_date",
    )  # fmt: skip
