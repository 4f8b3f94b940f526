"""Files as providers really write them: their classes, totals, currencies, and their typography."""

from pathlib import Path

import msgspec
import pytest

from caas.billing_database.payments import Payment
from caas.external_systems.report_files import BadReportError
from caas.external_systems.report_mappings import MappingRefusedError, read_mapping, shipped
from caas.reconciliation import Reconciled
from caas.reconciliation.finance_terms import FeeRefusedError
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from caas.rules.payment_states import PaymentState
from tests.business_day import business_day
from tests.reconciliation.crowd import HEADER, line_of, today
from tests.reconciliation.office import Office
from tests.reconciliation.test_provider_files import ADYEN_HEADER

STRIPE = (
    "automatic_payout_id,automatic_payout_effective_at,balance_transaction_id,created_utc,created,"
    "available_on_utc,available_on,currency,gross,fee,net,reporting_category,source_id,description,"
    "customer_facing_amount,customer_facing_currency,charge_id,payment_intent_id,"
    "payment_metadata[reference]"
)


def stripe(
    number: int, category: str, amounts: str, payment: Payment | None = None, **reported: str
) -> str:
    """Write a row of Stripe's itemized report."""
    who = f"ch_{number},{payment.gateway_transaction_id},{payment.id}" if payment else ",,"
    facing = reported.get("facing", "12.99,eur" if payment else ",")
    return (
        f",{today()} 00:00:00,txn_1O{number},{today()} 14:00:01,{today()} 14:00:01,"
        f"{today()} 00:00:00,{today()} 00:00:00,{reported.get('currency', 'eur')},{amounts},"
        f"{category},src_{number},{reported.get('description', 'Heated seats')},{facing},{who}"
    )


def adyen(type_: str, gross: str, net: str, payment: Payment | None = None, **reported: str) -> str:
    """Write a row of Adyen's settlement details report; gross and net are debit,credit."""
    who = f"{payment.gateway_transaction_id},{payment.id},visa" if payment else ",,"
    gross_currency = reported.get("gross_currency", "EUR" if payment else "")
    costs = reported.get("costs", ",,,")
    return (
        f"CaaS,CaaSES,{who},{today()} 12:21:32,CET,{type_},{reported.get('modification', type_)},"
        f"{gross_currency},{gross},{reported.get('rate', '1')},{reported.get('currency', 'EUR')},"
        f"{net},{costs},,,1020,"
    )


async def given(office: Office, path: Path, text: str, encoding: str = "utf-8") -> Reconciled:
    """Reconcile the running day from a file with this text."""
    path.write_bytes(text.encode(encoding))
    return await office.reconciliation.reconcile(office.today, file=path)


async def test_adyen_s_fee_row_is_a_fee_of_the_provider(office: Office, tmp_path: Path) -> None:
    payments = [await office.capturing(), await office.capturing()]
    rows = [
        ADYEN_HEADER,
        *(adyen("Settled", ",12.99", ",12.56", payment) for payment in payments),
        adyen("Fee", ",", "0.24,", modification="Transaction Fees November     28 2026"),
        adyen("MerchantPayout", ",", "24.88,", modification='"TX1 batch 1020, CaaSES"'),
    ]

    done = await given(office, tmp_path / "adyen.csv", "\n".join(rows) + "\n")

    report = await office.reconciliation.reporting.report(office.today)
    assert done.run.counts == {"matched": 2, "provider_fee": 1}
    assert (done.day.verdict, report.ties_out) == ("closed", True)
    assert await office.balance("bank") == 2488
    assert await office.balance("gateway_fees") == 2 * 43 + 24


async def test_what_adyen_carries_over_is_no_missing_payment(
    office: Office, tmp_path: Path
) -> None:
    rows = [
        ADYEN_HEADER,
        adyen("Balancetransfer", ",", ",4543.99"),
        adyen("Settled", ",12.99", ",12.56", await office.capturing()),
        adyen("Balancetransfer", ",", "4556.55,"),
    ]

    done = await given(office, tmp_path / "adyen.csv", "\n".join(rows) + "\n")

    assert done.run.counts == {"matched": 1, "carried_balance": 2}
    assert done.day.verdict == "closed"
    assert await office.balance("provider_balance") == 1256


async def test_reserves_and_invoices_post_to_accounts_of_their_own(
    office: Office, tmp_path: Path
) -> None:
    rows = [
        ADYEN_HEADER,
        adyen("Settled", ",12.99", ",12.56", await office.capturing()),
        adyen("DepositCorrection", ",", "1.00,"),
        adyen("InvoiceDeduction", ",", "2.00,", modification="2026100001234"),
        adyen("MerchantPayout", ",", "9.56,"),
    ]

    done = await given(office, tmp_path / "adyen.csv", "\n".join(rows) + "\n")

    assert done.run.counts == {"matched": 1, "reserve": 1, "provider_invoice": 1}
    assert done.day.verdict == "closed"
    assert await office.balance("provider_reserves") == 100
    assert await office.balance("provider_invoices") == 200


async def test_adyen_s_reversals_are_a_failed_settlement_and_a_refund_that_came_back(
    office: Office, tmp_path: Path
) -> None:
    failed, refunded = await office.capturing(), await office.capturing()
    rows = [
        ADYEN_HEADER,
        adyen("Settled", ",12.99", ",12.56", failed),
        adyen("Settled", ",12.99", ",12.56", refunded),
        adyen("SettledReversed", "12.99,", "12.99,", failed, modification="SR1"),
        adyen("RefundedReversed", ",3.00", ",3.00", refunded, modification="RR1"),
        adyen("MerchantPayout", ",", "15.13,"),
    ]

    done = await given(office, tmp_path / "adyen.csv", "\n".join(rows) + "\n")

    kinds = {it.payment_id: it.kind for it in await office.found(unresolved=True)}
    lines = await office.lines_of(refunded)
    assert kinds == {failed.id: Kind.FAILED_SETTLEMENT, refunded.id: Kind.REFUND_MISMATCH}
    assert done.run.counts == {"matched": 2, "failed_settlement": 1, "refund_mismatch": 1}
    assert [line.type for line in lines] == ["settlement", "refund_reversal"]


async def test_adyen_s_totals_are_held_against_each_currency(
    office: Office, tmp_path: Path
) -> None:
    rows = [
        ADYEN_HEADER,
        adyen("Settled", ",12.99", ",12.56", await office.capturing()),
        adyen("Settled", ",15.00", ",14.50", currency="USD", gross_currency="USD"),
        adyen("MerchantPayout", ",", "13.56,"),
        adyen("MerchantPayout", ",", "13.50,", currency="USD"),
    ]

    with pytest.raises(BadReportError, match=r"differ by 1\.00 EUR, 1\.00 USD"):
        await given(office, tmp_path / "adyen.csv", "\n".join(rows) + "\n")


async def test_interchange_plus_plus_is_kept_in_its_parts(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    rows = [
        ADYEN_HEADER,
        adyen("Settled", ",12.99", ",12.56", payment, costs=",0.10,0.12,0.21"),
        adyen("MerchantPayout", ",", "12.56,"),
    ]

    await given(office, tmp_path / "adyen.csv", "\n".join(rows) + "\n")

    [line] = await office.lines_of(payment)
    assert (line.commission, line.markup, line.scheme_fees, line.interchange) == (0, 10, 12, 21)
    assert line.method == "visa"


async def test_what_adyen_pays_out_in_another_currency_settles_the_payment_s_own(
    office: Office, tmp_path: Path
) -> None:
    payment = await office.capturing()
    rows = [
        ADYEN_HEADER,
        adyen("Settled", ",12.99", ",13.64", payment, currency="USD", rate="1.08", costs="0.43,,,"),
        adyen("MerchantPayout", ",", "13.64,", currency="USD"),
    ]

    done = await given(office, tmp_path / "adyen.csv", "\n".join(rows) + "\n")

    assert done.run.counts["conversion"] == 2
    assert (await office.payment(payment)).state is PaymentState.SETTLED


async def test_stripe_s_costs_reserves_and_transfers_are_told_apart(
    office: Office, tmp_path: Path
) -> None:
    rows = [
        STRIPE,
        stripe(1, "charge", "12.99,0.43,12.56", await office.capturing()),
        stripe(2, "risk_reserved_funds", "-5,0,-5"),
        stripe(3, "network_cost", "-0.31,0,-0.31"),
        stripe(4, "tax", "-0.21,0,-0.21"),
        stripe(5, "topup", "100,0,100"),
    ]

    done = await given(office, tmp_path / "stripe.csv", "\n".join(rows) + "\n")

    assert done.run.counts == {
        "matched": 1, "reserve": 1, "provider_cost": 1, "provider_tax": 1, "own_transfer": 1,
    }  # fmt: skip
    assert done.day.verdict == "closed"
    accounts = ("provider_reserves", "provider_costs", "provider_tax", "own_transfers")
    assert [await office.balance(account) for account in accounts] == [500, 31, 21, -10_000]


@pytest.mark.parametrize(
    ("end", "last", "mark"), [("\n", "", ""), ("\r", "\r", ""), ("\r\n", "\r\n", "\ufeff")]
)
async def test_line_ends_and_a_mark_of_byte_order_do_not_matter(
    office: Office, tmp_path: Path, end: str, last: str, mark: str
) -> None:
    rows = [STRIPE, stripe(1, "charge", "12.99,0.43,12.56", await office.capturing())]

    done = await given(office, tmp_path / "stripe.csv", mark + end.join(rows) + last)

    assert (done.run.counts, done.day.verdict) == ({"matched": 1}, "closed")


async def test_a_file_that_a_spreadsheet_saved_is_read(office: Office, tmp_path: Path) -> None:
    rows = [STRIPE, stripe(1, "charge", "12.99,0.43,12.56", await office.capturing())]
    text = "\n".join(rows).replace(",", ";")
    for amount in ("12.99", "0.43", "12.56"):
        text = text.replace(f";{amount}", f";{amount.replace('.', ',')}")

    done = await given(office, tmp_path / "stripe.csv", text + "\n")

    assert (done.run.counts, done.day.verdict) == ({"matched": 1}, "closed")


async def test_a_text_that_nobody_reads_refuses_no_day(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    row = stripe(1, "charge", "12.99,0.43,12.56", payment, description="+34 600 000 000")

    done = await given(office, tmp_path / "stripe.csv", f"{STRIPE}\n{row}\n")

    assert done.day.verdict == "closed"


async def test_what_stripe_pays_out_in_dollars_settles_the_customer_s_euros(
    office: Office, tmp_path: Path
) -> None:
    payment = await office.capturing()
    row = stripe(1, "charge", "14.07,0.43,13.64", payment, currency="usd")

    done = await given(office, tmp_path / "stripe.csv", f"{STRIPE}\n{row}\n")

    rates = await office.installation.database.fetch(
        "select currency, gross, fee, rate::text from settlement_lines where type = 'conversion'"
        " order by currency"
    )
    assert [tuple(row) for row in rates] == [
        ("EUR", -1299, 0, "1.08314088"), ("USD", 1407, 43, "1.08314088"),
    ]  # fmt: skip
    assert (done.run.counts, done.day.verdict) == ({"matched": 1, "conversion": 2}, "closed")
    assert done.run.because is not None
    assert "Not comparable: the fees of 1 line(s)" in done.run.because
    assert (await office.payment(payment)).state is PaymentState.SETTLED


async def test_a_fee_kept_in_dollars_is_held_against_its_terms_at_the_row_s_rate(
    office: Office, tmp_path: Path
) -> None:
    terms = office.reconciliation.finance_terms
    await terms.keep_fee(
        "*", "settlement", office.today, (20_000, 15, 0), provider="stripe", by="A"
    )
    await terms.keep_fee("*", "settlement", office.today, (20_000, 15, 0), provider="adyen", by="A")
    as_agreed, dear, at_adyen = [await office.capturing() for _ in range(3)]
    rows = [
        STRIPE,
        stripe(1, "charge", "14.07,0.43,13.64", as_agreed, currency="usd"),
        stripe(2, "charge", "14.07,1.43,12.64", dear, currency="usd"),
    ]
    settled = adyen(
        "Settled", ",12.99", ",13.64", at_adyen, currency="USD", costs="0.30,,0.03,0.10"
    )
    paid = adyen("MerchantPayout", ",", "13.64,", currency="USD")

    stripes = await given(office, tmp_path / "stripe.csv", "\n".join(rows) + "\n")
    adyens = await given(office, tmp_path / "adyen.csv", f"{ADYEN_HEADER}\n{settled}\n{paid}\n")

    [drift] = await office.found(unresolved=True)
    assert stripes.run.counts == {"matched": 1, "fee_drift": 1, "conversion": 4}
    assert adyens.run.counts == {"matched": 1, "conversion": 2}
    assert (drift.payment_id, drift.amount, drift.currency) == (dear.id, 132 - 41, "EUR")
    await office.resolved(Resolution.WRITE_OFF)
    assert await office.kinds() == []


async def test_stripe_s_balance_history_is_known_by_name(office: Office, tmp_path: Path) -> None:
    header = (
        "id,Type,Source,Amount,Fee,Destination Platform Fee,Net,Currency,Created (UTC),"
        "Available On (UTC),Description,Customer Facing Amount,Customer Facing Currency,Transfer"
    )

    with pytest.raises(BadReportError, match="Stripe's balance history"):
        await given(office, tmp_path / "history.csv", f"{header}\ntxn_1,charge,ch_1\n")


async def test_a_later_export_may_list_the_same_movements_in_another_order(
    office: Office, tmp_path: Path
) -> None:
    first, second = await office.capturing(), await office.capturing()
    rows = [stripe(n, "charge", "12.99,0.43,12.56", p) for n, p in ((1, first), (2, second))]
    await given(office, tmp_path / "morning.csv", f"{STRIPE}\n{rows[0]}\n")

    done = await given(office, tmp_path / "evening.csv", f"{STRIPE}\n{rows[1]}\n{rows[0]}\n")

    assert (done.run.counts, done.day.verdict) == ({"matched": 1}, "closed")
    assert await office.balance("bank") == 2 * 1256


async def test_one_instant_may_be_written_with_any_offset(office: Office, tmp_path: Path) -> None:
    payments = [await office.capturing(), await office.capturing()]
    at = (f"{today()}T14:00:00+00:00", f"{today()}T15:00:00+01:00")
    lines = [
        line_of(n, p, booked_at=reported)
        for n, (p, reported) in enumerate(zip(payments, at, strict=True), 1)
    ]
    text = "\ufeffnote," + HEADER + "\r\n" + "".join(f"x,{line}\r\n" for line in lines)

    done = await given(office, tmp_path / "offset.csv", text)

    booked = {line.booked_at for p in payments for line in await office.lines_of(p)}
    assert (done.day.verdict, len(booked)) == ("closed", 1)


async def test_redsys_is_read_by_a_mapping(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    order = payment.gateway_transaction_id
    day = f"{business_day():%d/%m/%Y}"
    text = (
        "Fecha;Hora;Tipo operación;Nº de pedido;Resultado operación;Importe;Importe Neto;"
        "Cierre de sesión;Método de pago\n"
        f'{day};10:11;Autorización;{order};Autorizada 123456;"12,99 EUR";"12,56 EUR";;Visa\n'
        f'{day};10:12;Autorización;0002;Denegada 0190;"12,99 EUR";"0,00 EUR";;Visa\n'
    )

    done = await given(office, tmp_path / "redsys.csv", text, encoding="iso-8859-1")

    assert (done.run.counts, done.day.verdict) == ({"matched": 1}, "closed")
    [line] = await office.lines_of(payment)
    assert (line.gross, line.fee, line.method) == (1299, 43, "visa")


async def test_paypal_s_settlement_report_is_read_by_a_mapping(
    office: Office, tmp_path: Path
) -> None:
    payment = await office.capturing()
    at = f"{business_day():%Y/%m/%d} 12:00:00 +0000"
    columns = (
        '"CH","Transaction ID","Invoice ID","PayPal Reference ID","PayPal Reference ID Type",'
        '"Transaction Event Code","Transaction Initiation Date","Transaction Completion Date",'
        '"Transaction Debit or Credit","Gross Transaction Amount","Gross Transaction Currency",'
        '"Fee Debit or Credit","Fee Amount","Fee Currency","Custom Field","Consumer ID"'
    )
    reported = f'"{payment.gateway_transaction_id}","{payment.id}","",""'
    text = "\n".join(
        [
            f'"RH",{at},"A","PP9",009', '"FH",01', f'"SH",{at},{at},"PP9",""', columns,
            f'"SB",{reported},"T0006",{at},{at},"CR",1299,"EUR","DR",43,"EUR","","x"',
            f'"SB","5AB","","","","T0400",{at},{at},"DR",1256,"EUR","",0,"","","x"',
            '"SF","EUR",1299,1256,0,43,"CR",0,"CR",0,2', '"SC",2',
            '"RF","EUR",1299,1256,0,43,"CR",0,"CR",0,2', '"RC",2', '"FF",2',
        ]
    )  # fmt: skip

    done = await given(office, tmp_path / "STL-20261128.01.009.CSV", text + "\n")

    assert (done.run.counts, done.day.verdict) == ({"matched": 1}, "closed")


async def test_finance_keeps_a_mapping_of_its_own(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    mapping = {
        "columns": {"type": ["Art"], "gross": ["Brutto"], "fee": ["Gebühr"], "booked_at": ["Am"],
                    "transaction_id": ["Vorgang"], "reference": ["Auftrag"]},
        "types": {"Zahlung": "settlement"}, "currency": "EUR", "delimiter": ";",
        "time_format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin",
    }  # fmt: skip
    day = f"{business_day():%d.%m.%Y}"
    path = tmp_path / "acquirer.csv"
    path.write_text(
        "Am;Art;Vorgang;Auftrag;Brutto;Gebühr;Text\n"
        f"{day} 12:00;Zahlung;{payment.gateway_transaction_id};{payment.id};12,99;0,43;-x\n"
    )
    with pytest.raises(BadReportError, match="separated by semicolons"):
        await office.reconciliation.preview(path)

    kept = await office.reconciliation.finance_terms.keep_mapping("acquirer", mapping, by="Ana")
    seen = await office.reconciliation.preview(path)
    before = await office.balance("bank")
    done = await office.reconciliation.reconcile(office.today, file=path)

    assert (kept.version, kept.kept_by, before) == (1, "Ana", 0)
    assert (seen.format, seen.rows, seen.unreadable_lines) == ("acquirer", 1, 0)
    assert [(it.type, it.net) for it in seen.sums] == [("settlement", 1256)]
    assert (done.run.counts, done.day.verdict) == ({"matched": 1}, "closed")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"types": {"a": "gift"}}, "'gift' is no type of line"),
        ({"currency": "XYZ"}, "is no currency"),
        ({"currency": None}, "the one currency"),
        ({"zone": "Mars"}, "is no time zone"),
        ({"time_format": "%Q"}, "no format of a time"),
        ({"sql": "drop table"}, "sql"),
        (
            {"columns": {"type": ["a"], "gross": ["b"], "booked_at": ["c"]}},
            "net or that of the fee",
        ),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(wrong: dict[str, object], sentence: str) -> None:
    mapping: dict[str, object] = {
        "columns": {"type": ["a"], "gross": ["b"], "booked_at": ["c"], "net": ["d"]},
        "types": {"Sale": "settlement"}, "currency": "EUR",
    }  # fmt: skip

    with pytest.raises(MappingRefusedError, match=sentence):
        read_mapping(msgspec.json.encode(mapping | wrong))


def test_every_mapping_that_comes_along_is_one() -> None:
    assert sorted(shipped()) == ["mollie", "paypal", "redsys"]


async def test_a_fee_is_agreed_with_the_provider_whose_report_it_is(
    office: Office, tmp_path: Path
) -> None:
    terms, day = office.reconciliation.finance_terms, office.today
    await terms.keep_fee("*", "settlement", day, (0, 500, 0), by="Ana")
    await terms.keep_fee("*", "settlement", day, (20_000, 15, 0), provider="adyen", by="Ana")
    payment = await office.capturing()
    rows = [
        ADYEN_HEADER,
        adyen("Settled", ",12.99", ",12.58", payment),
        adyen("MerchantPayout", ",", "12.58,"),
    ]

    done = await given(office, tmp_path / "adyen.csv", "\n".join(rows) + "\n")

    assert done.run.counts == {"matched": 1}
    assert [it.fixed for it in await terms.fees_of("mollie", day)] == [500]
    with pytest.raises(FeeRefusedError, match="adyen"):
        await terms.keep_fee("*", "settlement", day, (0, 1, 0), provider="nobody", by="Ana")


async def test_a_fee_is_agreed_by_method_and_may_differ_by_a_tolerance(
    office: Office, tmp_path: Path
) -> None:
    terms = office.reconciliation.finance_terms
    await terms.keep_fee("visa", "settlement", office.today, (20_000, 15, 2), by="Ana")
    cheap, exact, dear = [await office.capturing() for _ in range(3)]
    rows = [
        ADYEN_HEADER,
        adyen("Settled", ",12.99", ",12.58", exact),
        adyen("Settled", ",12.99", ",12.56", cheap),
        adyen("Settled", ",12.99", ",12.50", dear),
        adyen("MerchantPayout", ",", "37.64,"),
    ]

    done = await given(office, tmp_path / "adyen.csv", "\n".join(rows) + "\n")

    [drift] = await office.found(unresolved=True)
    assert done.run.counts == {"matched": 2, "fee_drift": 1}
    assert (drift.payment_id, drift.amount) == (dear.id, 49 - 41)
