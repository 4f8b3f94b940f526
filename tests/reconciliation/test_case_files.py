"""Files in the shape that providers write them, each given three times and booked once.

The first time for its day, then for the next day, then once more for its own under another name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from caas.billing_database import self_check
from caas.billing_database.payments import Payment
from caas.external_systems.report_files import BadReportError
from caas.reconciliation import Reconciled
from tests.business_day import business_day
from tests.reconciliation.crowd import HEADER, line_of, today
from tests.reconciliation.office import Office
from tests.reconciliation.test_provider_files import ADYEN_HEADER
from tests.reconciliation.test_report_formats import STRIPE, adyen, stripe

CHARGE = ("charge", "12.99,0.43,12.56")
REDSYS = (
    "Fecha;Hora;Tipo operación;Nº de pedido;Resultado operación;Importe;Importe Neto;"
    "Cierre de sesión;Método de pago"
)
OPEN = "open discrepancies"

Rows = Callable[[list[Payment], int, date], list[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """A file, and what is right for it; without counts it is refused, and moves nothing."""

    rows: Rows
    payments: int = 1
    counts: dict[str, int] = field(default_factory=dict)
    verdict: str = "closed"
    bank: int = 1256
    end: str = "\n"
    last: str = "\n"
    encoding: str = "utf-8"


def of_adyen(*reported: tuple[str, str, str, int | None]) -> Rows:
    """Rows of Adyen: type, gross, net, and whose payment it is."""
    return lambda payments, _, __: [
        ADYEN_HEADER,
        *(adyen(type_, gross, net, None if of is None else payments[of])
          for type_, gross, net, of in reported),
    ]  # fmt: skip


def of_stripe(*reported: tuple[str, str], **more: str) -> Rows:
    """Rows of Stripe; the charges are of the payments in turn."""

    def rows(payments: list[Payment], place: int, _: date) -> list[str]:
        turn = iter(payments)
        return [STRIPE] + [
            stripe(place * 10 + n, kind, amounts, next(turn) if kind == "charge" else None, **more)
            for n, (kind, amounts) in enumerate(reported)
        ]

    return rows


def saved_by_a_spreadsheet(payments: list[Payment], place: int, day: date) -> list[str]:
    """Semicolons between columns, commas in amounts."""
    rows = [it.replace(",", ";") for it in of_stripe(CHARGE)(payments, place, day)]
    for amount in ("12.99", "0.43", "12.56"):
        rows[1] = rows[1].replace(f";{amount}", f";{amount.replace('.', ',')}")
    return rows


def history(_: list[Payment], __: int, ___: date) -> list[str]:
    """Stripe's balance history, which is no report of ours."""
    return [
        "id,Type,Source,Amount,Fee,Destination Platform Fee,Net,Currency,Created (UTC),"
        "Available On (UTC),Description,Customer Facing Amount,Customer Facing Currency,Transfer",
        "txn_1,charge,ch_1",
    ]


def of_redsys(payments: list[Payment], _: int, day: date) -> list[str]:
    """A payment, and one that was denied."""
    begin = f"{day:%d/%m/%Y};10:11;Autorización"
    order = payments[0].gateway_transaction_id
    return [
        REDSYS,
        f'{begin};{order};Autorizada 123456;"12,99 EUR";"12,56 EUR";;Visa',
        f'{begin};0002;Denegada 0190;"12,99 EUR";"0,00 EUR";;Visa',
    ]


def with_an_offset(payments: list[Payment], _: int, day: date) -> list[str]:
    """One instant, written in two ways."""
    at = (f"{day}T14:00:00+00:00", f"{day}T15:00:00+01:00")
    reported = enumerate(zip(payments, at, strict=True), 1)
    return [HEADER, *(line_of(n, it, booked_at=when) for n, (it, when) in reported)]


SETTLED = ("Settled", ",12.99", ",12.56")
OWN_MONEY = (
    ("network_cost", "-0.31,0,-0.31"), ("tax", "-0.21,0,-0.21"),
    ("risk_reserved_funds", "-5,0,-5"), ("topup", "100,0,100"),
)  # fmt: skip
CASES: dict[str, Case] = {
    "adyen, a fee row": Case(
        of_adyen((*SETTLED, 0), (*SETTLED, 1), ("Fee", ",", "0.24,", None),
                 ("MerchantPayout", ",", "24.88,", None)),
        payments=2, counts={"matched": 2, "provider_fee": 1}, bank=2488),
    "adyen, a balance carried over": Case(
        of_adyen(("Balancetransfer", ",", ",4543.99", None), (*SETTLED, 0),
                 ("Balancetransfer", ",", "4556.55,", None)),
        counts={"matched": 1, "carried_balance": 2}, bank=0),
    "adyen, a reserve and an invoice": Case(
        of_adyen((*SETTLED, 0), ("DepositCorrection", ",", "1.00,", None),
                 ("InvoiceDeduction", ",", "2.00,", None), ("MerchantPayout", ",", "9.56,", None)),
        counts={"matched": 1, "reserve": 1, "provider_invoice": 1}, bank=956),
    "adyen, reversals": Case(
        of_adyen((*SETTLED, 0), (*SETTLED, 1), ("SettledReversed", "12.99,", "12.99,", 0),
                 ("RefundedReversed", ",3.00", ",3.00", 1),
                 ("MerchantPayout", ",", "15.13,", None)),
        payments=2, counts={"matched": 2, "failed_settlement": 1, "refund_mismatch": 1},
        verdict=OPEN, bank=2512),
    "adyen, wrong totals": Case(
        of_adyen((*SETTLED, 0), ("MerchantPayout", ",", "13.56,", None)), bank=0),
    "stripe, costs and a reserve": Case(
        of_stripe(CHARGE, *OWN_MONEY), bank=1256 - 31 - 21 - 500 + 10_000,
        counts={"matched": 1, "provider_cost": 1, "provider_tax": 1, "reserve": 1,
                "own_transfer": 1}),
    "stripe, no final newline": Case(of_stripe(CHARGE), counts={"matched": 1}, last=""),
    "stripe, a spreadsheet": Case(saved_by_a_spreadsheet, counts={"matched": 1}),
    "stripe, carriage returns": Case(of_stripe(CHARGE), counts={"matched": 1}, end="\r", last="\r"),
    "stripe, a plus": Case(of_stripe(CHARGE, description="+34 600"), counts={"matched": 1}),
    "stripe, dollars": Case(
        of_stripe(("charge", "14.07,0.43,13.64"), currency="usd"),
        counts={"matched": 1, "conversion": 2}, bank=1364),
    "stripe, balance history": Case(history, payments=0, bank=0),
    "redsys": Case(of_redsys, counts={"matched": 1}, encoding="iso-8859-1"),
    "canonical, offsets": Case(with_an_offset, payments=2, counts={"matched": 2}, bank=2512),
}  # fmt: skip


async def take(office: Office, path: Path, day: date) -> Reconciled | None:
    """Give a file for a day; None when it is refused."""
    try:
        return await office.reconciliation.reconcile(day, file=path)
    except BadReportError:
        return None


async def test_each_file_is_booked_once_however_often_and_for_whatever_day_it_is_given(
    office: Office, tmp_path: Path
) -> None:
    wrong = {}
    for place, (name, case) in enumerate(CASES.items(), 1):
        day = business_day() - timedelta(days=3 * place)
        payments = [await office.capturing() for _ in range(case.payments)]
        text = case.end.join(case.rows(payments, place, day)) + case.last
        files = [tmp_path / f"{place}-{turn}.csv" for turn in ("first", "second", "third")]
        for path in files:
            path.write_bytes(text.replace(str(today()), str(day)).encode(case.encoding))
        before = await office.balance("bank")

        first = await take(office, files[0], day)
        next_day = await take(office, files[1], day + timedelta(days=1))
        again = await take(office, files[2], day)

        reported = {
            "counts": first.run.counts if first else {},
            "verdict": first.day.verdict if first else "closed",
            "lines of the next day": next_day.run.lines if next_day else 0,
            "lines again": again.run.lines if again else 0,
            "verdict again": again.day.verdict if again else "closed",
            "bank": await office.balance("bank") - before,
        }
        right = {
            "counts": case.counts, "verdict": case.verdict, "lines of the next day": 0,
            "lines again": 0, "verdict again": case.verdict, "bank": case.bank,
        }  # fmt: skip
        if reported != right:
            wrong[name] = {it: reported[it] for it in reported if reported[it] != right[it]}

    broken = [
        it.invariant.name
        for it in await self_check.self_check(office.installation.database)
        if it.broken
    ]
    assert (wrong, broken) == ({}, [])
