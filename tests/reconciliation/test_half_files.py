"""Files that are cut off or damaged: a sentence at every door, and nothing else waits for them."""

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from caas.billing_database.job_rows import Job
from caas.billing_database.reconciliation_days import DayNotFoundError
from caas.external_systems.report_files import BadReportError
from caas.reconciliation.drop_folder import DROPPED
from caas.reconciliation.finance_terms import Preview
from caas.reconciliation.validation import ResolutionNotAllowedError
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.people import COMMAND_LINE
from tests.reconciliation.office import Office
from tests.reconciliation.test_drop_folder import Watched
from tests.reconciliation.test_provider_files import ADYEN_HEADER
from tests.reconciliation.test_published_samples import BALANCES, PAYPAL
from tests.reconciliation.test_rows_booked_once import DAY, Operation, row, stripe

PAYPAL_AT = f"{DAY:%Y/%m/%d} 10:00:00 +0000"


@pytest.fixture
def investigation(office: Office, tmp_path: Path) -> Operation:
    """A clerk at a desk."""
    return Operation(office, tmp_path)


def adyen(*amounts: str) -> str:
    """Write an Adyen file of fees, and of what is carried over for them."""
    begin = f"CaaS,CaaSES,,,,{DAY} 10:21:32,CET"
    rows = [f"{begin},Fee,F{n},,,,,EUR,{it},,,,,,,,1777," for n, it in enumerate(amounts)]
    carried = f"{begin},Balancetransfer,x,,,,,EUR,,0.{24 * len(amounts)},,,,,,,1777,"
    return "\n".join([ADYEN_HEADER, *rows, carried]) + "\n"


Movement = tuple[str, str, str, str, str, int]
"""A row of PayPal: transaction, invoice, original, code, way, amount."""


def paypal(*rows: Movement, count: int | None = None, end: str = '"RC"') -> str:
    """Write a PayPal report of rows; up to the row before `end` where it is cut off."""
    total, counted = footer(*rows), count or len(rows)
    lines = [
        f'"RH",{PAYPAL_AT},"A","PP9",011', '"FH",01', *section(*rows, count=count),
        f'"RF",{total}', f'"RC",{counted}', f'"FF",{counted}',
    ]  # fmt: skip
    cut = [at for at, line in enumerate(lines) if end != '"RC"' and line.startswith(end)]
    return "\n".join(lines[: cut[0]] if cut else lines) + "\n"


def section(*rows: Movement, count: int | None = None) -> list[str]:
    """Write one section: its columns, its rows, their totals and their number."""
    at = PAYPAL_AT
    body = [
        f'"SB","{own}","{invoice}","{original}","TXN","{code}",{at},{at},"{way}",{amount},"EUR",'
        '"DR",0,"EUR","",""'
        for own, invoice, original, code, way, amount in rows
    ]
    return [PAYPAL, *body, f'"SF",{footer(*rows)}', f'"SC",{count or len(rows)}']


def footer(*rows: Movement) -> str:
    """Write the totals of rows: what adds, what takes away, the same of fees, and balances."""
    added, taken = (
        sum(amount for *_, way, amount in rows if way == wanted) for wanted in ("CR", "DR")
    )
    return f'"EUR",{added},{taken},0,0,{BALANCES},{len(rows)}'


async def test_a_file_cut_inside_a_row_is_a_sentence_at_every_door(
    investigation: Operation, office: Office, tmp_path: Path
) -> None:
    """DuckDB's error escaped where Adyen's totals are held; the folder's job was parked by it."""
    for text in (adyen("0.24", "0.24")[:-70], stripe(row(1, "topup", "1,0,1"))[:-30]):
        with pytest.raises(BadReportError, match="is broken or cut off"):
            await office.reconciliation.preview_content(text.encode())
        await investigation.is_refused(text, DAY, "is broken or cut off")
    folder = tmp_path / "reports"
    folder.mkdir()
    watched = Watched(office, folder)
    (folder / "1 half.csv").write_text(adyen("0.24", "0.24")[:-70])
    (folder / "2 cells.csv").write_bytes(b"a\rb,c\n1,2\n")
    (folder / "3 wide.csv").write_bytes(stripe(row(1, "topup", "1,0,1")).encode("utf-16-le"))
    (folder / "4 good.csv").write_text(adyen("0.24", "0.24"))
    await watched.look()

    assert [it for it in watched.lies("done") if it.endswith(".csv")] == ["4 good.csv"]
    assert [it for it in watched.lies("refused") if it.endswith(".csv")] == [
        "1 half.csv", "2 cells.csv", "3 wide.csv",
    ]  # fmt: skip
    assert "UTF-16" in (folder / "refused" / "3 wide.csv.txt").read_text()


async def test_what_nobody_foresaw_of_one_file_stops_no_other(
    office: Office, tmp_path: Path
) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    watched = Watched(office, folder)
    preview = watched._desk._preview

    async def fails_for_one(path: Path) -> Preview:
        if path.name == "1.csv":
            raise ZeroDivisionError
        return await preview(path)

    watched._desk._preview = fails_for_one
    (folder / "1.csv").write_text(adyen("0.24"))
    (folder / "2.csv").write_text(adyen("0.24"))
    await watched.look()

    assert (watched.lies("refused")[0], watched.lies("done")[0]) == ("1.csv", "2.csv")
    assert "ZeroDivisionError" in (folder / "refused" / "1.csv.txt").read_text()


async def test_a_job_that_comes_round_again_is_not_nearer_to_being_parked(office: Office) -> None:
    rows = office.installation.platform.tables.jobs
    subject = uuid4()
    await rows.add_all([(DROPPED, subject, 0.0, {})])
    for begins_anew in (False, True):
        [job] = (await rows.claim([DROPPED], lease_seconds=60.0)).jobs
        await rows.reschedule(job, due_in=0.0, begins_anew=begins_anew)
    [job] = (await rows.claim([DROPPED], lease_seconds=60.0)).jobs

    assert isinstance(job, Job)
    assert job.attempts == 1


async def test_the_line_whose_amount_cannot_be_read_is_named(investigation: Operation) -> None:
    await investigation.is_refused(
        adyen("0.24", "0.2x"), DAY, r"Line 3: '0.2x' in the column 'Net Debit \(NC\)'"
    )


async def test_paypal_s_own_count_finds_half_a_file(
    investigation: Operation, office: Office
) -> None:
    first, second = await office.capturing(), await office.capturing()
    rows = [
        (it.gateway_transaction_id or "", str(it.id), "", "T0006", "CR", 1299)
        for it in (first, second)
    ]

    for end in ('"SC"', '"SF"', '"RF"', '"FF"'):
        await investigation.is_refused(paypal(rows[0], end=end), DAY, "no row '..'.*it is cut off")
    await investigation.is_refused(paypal(rows[0], count=2), DAY, "It has 1 rows 'SB'.*'SC' says 2")
    await investigation.is_refused(paypal(*rows, rows[1], count=2), DAY, "It has 3 rows")
    assert await office.balance("bank") == 0
    with pytest.raises(DayNotFoundError):
        await office.reconciliation.verdict(DAY)
    assert (await investigation.gives(paypal(*rows), DAY)).run.lines == 2


async def test_paypal_s_own_totals_find_a_row_that_is_another(
    investigation: Operation, office: Office
) -> None:
    """As many rows as its counts say, and a report of two accounts that ends after the first."""
    payment = await office.capturing()
    row = (payment.gateway_transaction_id or "", str(payment.id), "", "T0006", "CR", 1299)
    refund = ("RF1", str(payment.id), "", "T1107", "DR", 300)
    whole = paypal(row, refund)
    first, rest = "\n".join(section(row)), "\n".join(section(refund)[1:])
    two = whole.replace("\n".join(section(row, refund)), f"{first}\n{rest}")

    for wrong in (
        whole.replace('"CR",1299', '"CR",1298'), whole.replace('"DR",300', '"CR",300'),
        whole.replace('"EUR","DR",0', '"EUR","DR",7', 1), whole.replace('300,"EUR"', '300,"USD"'),
        whole.replace(f'"SF",{footer(row, refund)}\n', f'"SF",{footer(row)}\n'),
        two.replace(f"{rest}\n", ""),
    ):  # fmt: skip
        await investigation.is_refused(wrong, DAY, "it is not whole")
    await investigation.is_refused(
        whole.replace('"CR",1299', '"CR",1298'), DAY,
        r"'SF' say \+1299 -300, fees \+0 -0 EUR, and its rows come to \+1298 -300",
    )  # fmt: skip

    assert (await investigation.gives(two, DAY)).run.lines == 2


async def test_a_file_of_another_day_makes_that_day_no_day(
    investigation: Operation, office: Office
) -> None:
    """A refused upload left the day it was asked for incomplete for ever."""
    await investigation.is_refused(adyen("0.24"), DAY - timedelta(days=200))

    assert await office.reconciliation.listed() == []
    await investigation.gives(adyen("0.24"), DAY)
    assert [it.day for it in await office.reconciliation.listed()] == [DAY]


async def test_paypal_names_what_a_refund_or_chargeback_is_about(
    investigation: Operation, office: Office
) -> None:
    """A refund of ours was known by its own transaction, and so missing in our books."""
    payment = await office.installation.settled()
    await office.refund_order(payment, 300)
    about, invoice = payment.gateway_transaction_id or "", str(payment.id)

    done = await investigation.gives(
        paypal(
            ("RF1", invoice, about, "T1107", "DR", 300),
            ("CB1", invoice, about, "T1201", "DR", 500),
            ("CB2", "", "UNKNOWN", "T1201", "DR", 5),
            ("CB3", invoice, "", "T1106", "DR", 7),
        ),
        DAY,
    )

    assert done.run.counts == {"matched": 1, "chargeback": 2, "missing_in_book": 1}
    found = await office.found(unresolved=True)
    assert {it.payment_id for it in found if it.kind is Kind.CHARGEBACK} == {payment.id}


async def test_lines_that_come_right_are_not_kept_aside_any_more(
    investigation: Operation, office: Office
) -> None:
    """With every date unreadable, the right file was filed as another report of the day."""
    right = stripe(*(row(n, "topup", f"{n},0,{n}", payout="po_1") for n in (1, 2, 3)))

    unread = await investigation.gives(right.replace(f"{DAY} 14", f"{DAY:%d/%m/%Y} 14"), DAY)
    read = await investigation.gives(right, DAY)
    contradicting = await investigation.gives(right.replace("3,0,3", "30,0,30"), DAY)
    again = await investigation.gives(right, DAY)
    beside = stripe(row(4, "topup", "4x,0,4", payout="po_2"), row(5, "topup", "5,0,5"))
    await investigation.gives(beside, DAY)
    other = await investigation.gives(stripe(row(4, "topup", "4,0,4", payout="po_3")), DAY)
    known = await investigation.gives(beside.replace("4x", "4"), DAY)

    assert (unread.run.lines, unread.day.verdict) == (0, "incomplete")
    assert (read.run.lines, read.day.verdict) == (3, "closed")
    assert (contradicting.run.lines, contradicting.day.verdict) == (0, "incomplete")
    assert (again.run.lines, again.day.verdict) == (0, "closed")
    assert (other.run.lines + known.run.lines, known.day.verdict) == (1, "closed")
    assert await office.balance("bank") == 1500


async def test_stripe_s_payouts_are_no_report_of_a_day(
    investigation: Operation, office: Office
) -> None:
    """It was read as Stripe's, closed a day with no line, and the day could be sealed."""
    payouts = (
        "payout_id,effective_at_utc,effective_at,currency,gross,fee,net,reporting_category,"
        "balance_transaction_id,description,payout_expected_arrival_date,payout_status\n"
        f"po_1,{DAY} 00:00:00,{DAY} 00:00:00,eur,-12.56,0,-12.56,payout,txn_po1,PAYOUT,{DAY},paid\n"
    )

    await investigation.is_refused(
        payouts, DAY, "Export the itemized Balance or Payout reconciliation"
    )

    assert await office.reconciliation.listed() == []


async def test_a_dropped_file_for_a_sealed_day_says_that_it_is_late(
    investigation: Operation, office: Office, tmp_path: Path
) -> None:
    await investigation.gives(stripe(row(1, "topup", "1,0,1")), DAY)
    await office.reconciliation.seal(DAY, by="Ana")
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "late.csv").write_text(stripe(row(1, "topup", "1,0,1"), row(2, "topup", "2,0,2")))
    watched = Watched(office, folder)
    await watched.look()

    reported = (folder / "done" / "late.csv.txt").read_text()
    assert f"The day {DAY} is sealed; new lines are late lines." in reported


async def test_what_is_found_of_an_old_day_is_due_from_today(
    investigation: Operation, office: Office
) -> None:
    """It was born overdue; a fee below the terms was claimed, with a minus; and a charge that the
    gateway does not know was given back until the job was parked.
    """
    payment = await office.capturing()
    who = f"ch_1,{payment.gateway_transaction_id},{payment.id}"
    alien = "ch_2,txn_nobody,nobody"
    done = await investigation.gives(
        stripe(
            row(1, "charge", "12.99,0.37,12.62", who=who),
            row(2, "charge", "12.99,0.43,12.56", who=alien),
        ),
        DAY,
    )

    assert done.run.counts == {"fee_drift": 1, "missing_in_book": 1}
    found = {it.kind: it for it in await office.found(unresolved=True)}
    fee, stranger = found[Kind.FEE_DRIFT], found[Kind.MISSING_IN_BOOK]
    assert {it.due_on for it in found.values()} == {office.later(10), office.later(2)}
    looked = await office.reconciliation.investigation.check(fee.id)
    assert looked.allowed == (Resolution.CORRECT_BY_ENTRY,)
    looked = await office.reconciliation.investigation.check(stranger.id)
    assert set(looked.allowed) == {Resolution.CORRECT_BY_ENTRY, Resolution.WAIT}
    with pytest.raises(ResolutionNotAllowedError, match="does not know this line"):
        await office.reconciliation.investigation.resolve(
            stranger.id, resolution=Resolution.REFUND_THE_CUSTOMER, note="x", by=COMMAND_LINE
        )
    after = await office.reconciliation.investigation.check(stranger.id)
    assert (after.discrepancy.status, after.resolutions) == ("open", [])


async def test_a_line_that_is_gone_is_named_as_it_was(investigation: Operation) -> None:
    begin = f"CaaS,CaaSES,,,,{DAY} 10:21:3"
    rows = [f"{begin}{n},CET,Fee,F{n},,,,,EUR,0.1{n},,,,,,,,1777," for n in range(5)]

    def file(kept: list[str], total: str) -> str:
        last = f"{begin}9,CET,MerchantPayout,x,,,,,EUR,,{total},,,,,,,1777,"
        return "\n".join([ADYEN_HEADER, *kept, last]) + "\n"

    await investigation.gives(file(rows, "0.60"), DAY)
    await investigation.is_refused(file(rows[:2] + rows[3:], "0.48"), DAY, r"\(line 4\)")
    named = stripe(*(row(n, "topup", f"{n},0,{n}") for n in (6, 7)))
    await investigation.gives(named, DAY)
    await investigation.is_refused(stripe(row(7, "topup", "7,0,7")), DAY, r"\(txn_7O6\)")
