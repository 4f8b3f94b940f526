"""A provider's row is booked once, whatever report or day it is given in."""

from datetime import date, timedelta
from pathlib import Path

import asyncpg
import pytest

from caas.billing_database.invariants import INVARIANTS
from caas.external_systems.report_files import BadReportError
from caas.reconciliation import Reconciled
from tests.business_day import business_day
from tests.databases import over_everything
from tests.reconciliation.crowd import HEADER, line_of
from tests.reconciliation.office import Office
from tests.reconciliation.test_drop_folder import Watched
from tests.reconciliation.test_provider_files import ADYEN_HEADER
from tests.reconciliation.test_report_formats import STRIPE

DAY = business_day() - timedelta(days=40)
AVAILABLE = DAY + timedelta(days=7)
OWN_MONEY = (
    ("risk_reserved_funds", "-5,0,-5"), ("network_cost", "-0.31,0,-0.31"), ("tax", "-0.21,0,-0.21"),
    ("topup", "100,0,100"),
)  # fmt: skip


def row(
    number: int,
    category: str,
    amounts: str,
    *,
    payout: str = "",
    created: date = DAY,
    who: str = "",
) -> str:
    """Write a row of Stripe's itemized report that is available a week after it was created."""
    facing = "12.99,eur" if who else ","
    return (
        f"{payout},{AVAILABLE} 00:00:00,txn_7O{number},{created} 14:00:01,{created} 14:00:01,"
        f"{AVAILABLE} 00:00:00,{AVAILABLE} 00:00:00,eur,{amounts},{category},src_{number},"
        f"Heated seats,{facing},{who or ',,'}"
    )


def stripe(*rows: str) -> str:
    """Write a Stripe file."""
    return "\n".join([STRIPE, *rows]) + "\n"


def adyen(day: date, fee: str = "Fee,", batch: int = 1777) -> str:
    """Write an Adyen file of one fee, shortly after midnight of a day in its own zone."""
    begin = f"CaaS,CaaSES,,,,{day} 00:21:32,CET"
    end = f"EUR,0.24,,,,,,,,{batch},"
    carried = f"{begin},Balancetransfer,x,,,,,EUR,,0.24,,,,,,,{batch},"
    return f"{ADYEN_HEADER}\n{begin},{fee},,,,,{end}\n{carried}\n"


class Operation:
    """A clerk who gives files."""

    def __init__(self, office: Office, folder: Path) -> None:
        self.office = office
        self._path = folder / "given.csv"

    async def gives(self, text: str, day: date) -> Reconciled:
        """Give a file for a day."""
        self._path.write_text(text)
        return await self.office.reconciliation.reconcile(day, file=self._path)

    async def is_refused(
        self, text: str, day: date, sentence: str = "report of another day"
    ) -> None:
        """Give a file for a day that is not its own."""
        with pytest.raises(BadReportError, match=sentence):
            await self.gives(text, day)


@pytest.fixture
def investigation(office: Office, tmp_path: Path) -> Operation:
    """A clerk at a desk."""
    return Operation(office, tmp_path)


async def lawful(office: Office) -> bool:
    """Say whether no row is booked twice."""
    [invariant] = [it for it in INVARIANTS if it.name == "provider_rows_are_posted_once"]
    return not await office.installation.database.fetch(over_everything(invariant.query))


async def test_money_of_no_payment_is_booked_once_whichever_day_and_report_it_comes_in(
    investigation: Operation, office: Office, tmp_path: Path
) -> None:
    who = f"ch_1,{(payment := await office.capturing()).gateway_transaction_id},{payment.id}"
    balance = [row(9, "charge", "12.99,0.43,12.56", who=who)]
    balance += [row(n, *reported) for n, reported in enumerate(OWN_MONEY, 1)]
    payout = [it.replace(",", "po_77,", 1) for it in balance]

    first = await investigation.gives(stripe(*balance), DAY)
    booked = 9448 + 1256
    for other in (DAY + timedelta(days=1), DAY + timedelta(days=4), AVAILABLE):
        await investigation.is_refused(stripe(*balance), other)
    again = await investigation.gives(stripe(*balance), DAY)
    as_payout = await investigation.gives(stripe(*payout), DAY)
    of_payout_day = await investigation.gives(stripe(*payout), AVAILABLE)
    twice = row(6, "topup", "1,0,1")
    in_one_file = await investigation.gives(stripe(twice, twice), DAY)

    assert (first.run.lines, first.day.verdict) == (5, "closed")
    assert [it.run.lines for it in (again, as_payout, of_payout_day)] == [0, 0, 0]
    for known in (as_payout, of_payout_day):
        assert f"not applied again: 5 for {DAY}" in (known.run.because or "")
    assert in_one_file.run.lines == 1
    assert await office.balance("bank") == booked + 100
    otherwise = await investigation.gives(
        stripe(row(4, "topup", "99,0,99", payout="po_8")), AVAILABLE
    )
    assert (otherwise.run.lines, otherwise.day.verdict) == (0, "incomplete")
    assert await office.balance("bank") == booked + 100
    assert await lawful(office)
    folder = tmp_path / "reports"
    folder.mkdir()
    watched = Watched(office, folder)
    (folder / "own.csv").write_text(stripe(*balance))
    await watched.look()
    reported = (folder / "done" / "own.csv.txt").read_text()
    assert reported.startswith(f"stripe, applied for {DAY}: 0 new lines.")


async def test_a_row_is_of_the_day_its_format_dates_it_with_in_its_own_zone(
    investigation: Operation, office: Office
) -> None:
    eve = DAY - timedelta(days=1)
    await investigation.is_refused(adyen(DAY), eve)
    await investigation.gives(adyen(DAY), DAY)
    await investigation.is_refused(adyen(DAY), eve)
    payment = await office.capturing()
    who = f"ch_1,{payment.gateway_transaction_id},{payment.id}"
    charge = stripe(row(1, "charge", "12.99,0.43,12.56", who=who))
    await investigation.is_refused(charge, DAY + timedelta(days=4))
    done = await investigation.gives(charge, DAY)

    assert done.run.counts == {"matched": 1}
    preview = await office.reconciliation.preview_content(adyen(DAY).encode())
    assert (preview.first_day, preview.last_day) == (DAY, DAY)
    assert await lawful(office)


async def test_rows_of_another_day_are_known_in_a_longer_export(
    investigation: Operation, office: Office
) -> None:
    following = DAY + timedelta(days=1)
    await investigation.gives(stripe(row(1, "topup", "1,0,1")), DAY)

    week = stripe(row(1, "topup", "1,0,1"), row(2, "topup", "2,0,2", created=following))
    done = await investigation.gives(week, following)

    assert (done.run.lines, done.day.verdict) == (1, "closed")
    assert f"1 for {DAY}" in (done.run.because or "")
    assert await office.balance("bank") == 300
    assert await lawful(office)


async def test_files_of_a_day_are_told_apart_by_their_rows(
    investigation: Operation, office: Office
) -> None:
    one, two, three, four = (row(n, "topup", f"{n},0,{n}") for n in range(1, 5))
    unreadable = one.replace("1,0,1,topup", "1x,0,1,topup")

    await investigation.gives(stripe(unreadable, two), DAY)
    beside = await investigation.gives(stripe(three), DAY)
    again = await investigation.gives(stripe(unreadable, two), DAY)
    assert (beside.run.lines, again.run.lines, again.day.verdict) == (1, 0, "incomplete")
    released = await investigation.gives(stripe(one, two), DAY)
    assert (released.run.lines, released.day.verdict) == (1, "closed")
    more = await investigation.gives(stripe(one, two, four), DAY)
    assert (more.run.lines, more.day.verdict) == (1, "closed")
    await investigation.is_refused(stripe(one, two), DAY, "has shrunk")
    known = await investigation.gives(stripe(three), DAY)

    assert (known.run.lines, known.day.verdict) == (0, "closed")
    assert await office.balance("bank") == 1000
    assert await lawful(office)


async def test_every_format_s_file_is_refused_for_another_day(
    investigation: Operation, office: Office
) -> None:
    payment = await office.capturing()
    reported = {
        "transaction_id": "",
        "reference": "",
        "gross": 0,
        "fee": 5,
        "net": -5,
        "type": "fee",
    }
    at = f"{DAY + timedelta(days=1)}T00:30:00+03:00"
    canonical = f"{HEADER}\n{line_of(1, payment, **reported, booked_at=at)}\n"
    redsys = (
        "Fecha;Hora;Tipo operación;Nº de pedido;Resultado operación;Importe;Importe Neto;"
        "Cierre de sesión;Método de pago\n"
        f'{DAY:%d/%m/%Y};00:11;Autorización;0001;Autorizada 1;"12,99 EUR";"12,56 EUR";;Visa\n'
    )
    for text in (canonical, redsys, adyen(DAY), stripe(row(1, "topup", "1,0,1"))):
        assert (await investigation.gives(text, DAY)).run.lines >= 1
        bank = await office.balance("bank")
        for other in (DAY - timedelta(days=1), DAY + timedelta(days=1), AVAILABLE):
            await investigation.is_refused(text, other)
        assert (await investigation.gives(text, DAY)).run.lines == 0
        assert await office.balance("bank") == bank
    assert await lawful(office)


async def test_a_row_that_was_booked_from_two_reports_breaks_the_invariant(
    investigation: Operation, office: Office
) -> None:
    text = stripe(row(1, "topup", "1,0,1"))
    done = await investigation.gives(text, DAY)
    [report] = await office.reconciliation.reports.of_day(office.reconciliation.of().gateway, DAY)
    columns = "line_no, batch_id, line_id, type, gross, fee, net, currency, booked_at, value_date"
    other = (await investigation.gives(adyen(DAY), DAY)).run.id
    owner = await asyncpg.connect(office.installation.database.dsn)
    undone = owner.transaction()
    await undone.start()
    await owner.execute(
        "select set_config('caas.run_id', $1, true), set_config('caas.run_at', now()::text, true)",
        str(other),
    )
    await owner.execute(
        "insert into settlement_reports select * from jsonb_populate_record("
        "null::settlement_reports, (select to_jsonb(r) from settlement_reports r where r.id = $1)"
        " || jsonb_build_object('id', $2::uuid, 'part', 'again'))",
        report.id, done.run.id,
    )  # fmt: skip
    await owner.execute(
        f"insert into settlement_lines (report_id, {columns}, class, at_stake)"
        f" select $2, {columns}, class, at_stake from settlement_lines where report_id = $1",
        report.id, done.run.id,
    )  # fmt: skip
    [invariant] = [it for it in INVARIANTS if it.name == "provider_rows_are_posted_once"]
    broken = await owner.fetch(over_everything(invariant.query))
    await undone.rollback()
    await owner.close()

    assert len(broken) == 1


async def test_what_is_known_of_a_sealed_day_opens_no_day(
    investigation: Operation, office: Office
) -> None:
    text = stripe(row(1, "topup", "1,0,1"))
    await investigation.gives(text, DAY)
    await office.reconciliation.seal(DAY, by="ana")

    known = await investigation.gives(text, DAY)
    days = [it.day for it in await office.reconciliation.listed()]
    late = await investigation.gives(
        stripe(row(1, "topup", "1,0,1"), row(2, "topup", "2,0,2")), DAY
    )

    assert (known.run.lines, known.day.day, days) == (0, DAY, [DAY])
    assert (late.run.lines, late.day.day) == (1, DAY + timedelta(days=1))
    assert [it.day for it in await office.reconciliation.listed()] == [DAY + timedelta(days=1), DAY]
