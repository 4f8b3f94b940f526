"""Reports in the shape of published samples, with the sums worked out by hand from each file.

Adyen's documentation and public importers show reports without the optional columns, with an IANA
zone, with a chargeback fee that stands in the net alone. Mollie's settlement export has no word for
its withheld fees but the description, and pays foreign money out in euros. PayPal's settlement
report writes one column with two blanks, and groups its event codes. Checkout.com writes a row for
each part of a payment, Moyasar one that has its fee and the tax on it in columns of their own;
finance keeps a mapping for each.
"""

from pathlib import Path
from typing import Any

import pytest

from caas.external_systems.report_files import BadReportError
from caas.reconciliation.finance_terms import Preview
from tests.reconciliation.office import Office

ADYEN_STANDARD = (
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,"
    "Creation Date,TimeZone,Type,Modification Reference,Gross Currency,Gross Debit (GC),"
    "Gross Credit (GC),Exchange Rate,Net Currency,Net Debit (NC),Net Credit (NC),Commission (NC),"
    "Markup (NC),Scheme Fees (NC),Interchange (NC),Payment Method Variant,"
    "Modification Merchant Reference,Batch Number,Reserved4,Reserved5"
)
MOLLIE = (
    "Date,Payment method,Currency,Amount,Status,ID,Description,Consumer name,"
    "Consumer bank account,Consumer BIC,Settlement currency,Settlement amount,"
    "Settlement reference,Amount refunded"
)
PAYPAL = (
    '"CH","Transaction ID","Invoice ID","PayPal Reference ID","PayPal Reference ID Type",'
    '"Transaction Event Code","Transaction Initiation Date","Transaction Completion Date",'
    '"Transaction  Debit or Credit","Gross Transaction Amount","Gross Transaction Currency",'
    '"Fee Debit or Credit","Fee Amount","Fee Currency","Custom Field","Consumer ID"'
)

BALANCES = ",".join(['"CR",0'] * 4)
"""What PayPal writes of its balances, between a footer's totals and its number of rows."""


async def seen(
    office: Office, path: Path, *rows: str, mapping: dict[str, Any] | None = None
) -> Preview:
    """Preview a file of these rows, with a mapping that is not kept."""
    path.write_text("\n".join(rows) + "\n")
    return await office.reconciliation.preview(path, mapping)


def sums(preview: Preview) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """Return lines, gross, fee and net by type and currency."""
    return {(it.type, it.currency): (it.lines, it.gross, it.fee, it.net) for it in preview.sums}


async def test_adyen_s_documented_rows_come_to_their_sums(office: Office, tmp_path: Path) -> None:
    reported = await seen(
        office, tmp_path / "adyen.csv", ADYEN_STANDARD,
        "TestCompany,TestMerchant,1813702551707653,3vpzf7,visa,2013-06-03 11:26:49,CET,Settled,"
        "1713702551795048,GBP,,5.00,1,GBP,,4.88,,0.04,0.01,0.07,visaclassic,,4,,",
        "TestCompany,TestMerchant,1313642467023511,324959451,visa,2013-03-26 22:37:26,CET,"
        "Chargeback,2313642467170922,EUR,349.99,,1,EUR,357.49,,7.5,,,,visaclassic,,4,,",
        "TestCompany,TestMerchant,,,,2013-06-11 04:55:40,BST,AuthorizationSchemeFee,Scheme fees,"
        "GBP,,,,GBP,0.30,,,,,,,,4,,",
        "TestCompany,TestMerchant,,,,2012-05-10 05:37:03,CET,DepositCorrection,Deposit Correction,"
        "EUR,,,,EUR,78.93,,,,,,,,4,,",
        "TestCompany,TestMerchant,,,,2013-06-11 04:55:40,BST,MatchedStatement,Wire,EUR,,,,EUR,,"
        "500.00,,,,,,,4,,",
        "TestCompany,TestMerchant,,,,2013-06-11 04:55:40,BST,MerchantPayout,TX,,,,,GBP,4.58,,,,,,,"
        ",4,,",
        "TestCompany,TestMerchant,,,,2013-06-11 04:55:40,BST,MerchantPayout,TX,,,,,EUR,63.58,,,,,,,"
        ",4,,",
    )  # fmt: skip

    assert (reported.format, reported.unreadable) == ("adyen", [])
    assert sums(reported) == {
        ("settlement", "GBP"): (1, 500, 12, 488),
        ("chargeback", "EUR"): (1, -34999, 750, -35749),
        ("fee", "GBP"): (1, 0, 30, -30),
        ("reserve", "EUR"): (1, -7893, 0, -7893),
        ("transfer", "EUR"): (1, 50000, 0, 50000),
    }


async def test_adyen_s_report_without_optional_columns_is_read(
    office: Office, tmp_path: Path
) -> None:
    """Each was refused for a column that it does not have."""
    without_references = await seen(
        office, tmp_path / "one.csv",
        "Company Account,Merchant Account,Psp Reference,Payment Method,Creation Date,TimeZone,Type,"
        "Gross Currency,Gross Debit (GC),Gross Credit (GC),Net Currency,Net Debit (NC),"
        "Net Credit (NC),Payable Date,Batch Number",
        "Co,Shop,2001,mc,2026-06-01 09:15:02,Europe/Zurich,Settled,CHF,,120.50,CHF,,118.90,"
        "2026-06-04,42",
        "Co,Shop,,,2026-06-01 23:00:00,Europe/Zurich,MerchantPayout,,,,CHF,118.90,,2026-06-04,42",
    )  # fmt: skip
    without_gross = await seen(
        office, tmp_path / "two.csv",
        "Psp Reference,Merchant Reference,Creation Date,Type,Net Currency,Net Debit (NC),"
        "Net Credit (NC),Markup (NC),Scheme Fees (NC),Interchange (NC),Batch Number",
        "PSP1,ORDER-1,2026-09-15 10:22:31,Settled,EUR,,45.10,0.50,0.09,0.30,118",
        "PSP1,ORDER-1,2026-09-15 12:00:00,Refunded,EUR,5.10,,0.10,,,118",
        "PSP0,,2026-09-16 09:30:00,MerchantPayout,EUR,40.00,,,,,118",
    )  # fmt: skip

    assert sums(without_references) == {("settlement", "CHF"): (1, 12050, 160, 11890)}
    assert without_references.lines[0]["booked_at"] == "2026-06-01T07:15:02.000000Z"
    assert without_references.lines[0]["method"] == "mc"
    assert sums(without_gross) == {
        ("settlement", "EUR"): (1, 4599, 89, 4510),
        ("refund", "EUR"): (1, -500, 10, -510),
    }
    assert without_gross.lines[0]["booked_at"] == "2026-09-15T09:22:31.000000Z"


async def test_adyen_s_zone_that_is_none_keeps_its_line_aside(
    office: Office, tmp_path: Path
) -> None:
    reported = await seen(
        office, tmp_path / "mars.csv",
        "Psp Reference,Creation Date,TimeZone,Type,Net Currency,Net Debit (NC),Net Credit (NC),"
        "Batch Number",
        "PSP1,2026-09-15 10:22:31,Mars/Olympus,Settled,EUR,,45.10,118",
        "PSP0,2026-09-16 09:30:00,CET,MerchantPayout,EUR,45.10,,118",
    )  # fmt: skip

    assert reported.unreadable == ["line 2: the time it was booked at is none"]


async def test_mollie_s_settlement_comes_to_what_is_paid_out(
    office: Office, tmp_path: Path
) -> None:
    """Withheld fees have no method but a description; they were read as a settlement."""
    reported = await seen(
        office, tmp_path / "mollie.csv", MOLLIE,
        "2026-10-01 10:12:00,ideal,EUR,100.00,paidout,tr_aaa111,Order 1001,J. N,NL01,BIC,EUR,"
        "100.00,1234567.2610.01,",
        "2026-10-02 11:00:00,creditcard,USD,50.00,paidout,tr_bbb222,Order 1002,,,,EUR,46.05,"
        "1234567.2610.01,",
        "2026-10-02 11:30:00,,EUR,25.00,,cpt_ddd444,Original payment: tr_x - Order,,,,EUR,25.00,"
        "1234567.2610.01,",
        "2026-10-03 09:00:00,refund,EUR,-20.00,refunded,re_ccc333,Refund Order 1001,,,,EUR,-20.00,"
        "1234567.2610.01,20.00",
        "2026-10-04 00:00:00,,EUR,-2.88,,,Withheld transaction fees MOL-2026-0001,,,,EUR,-2.88,"
        "1234567.2610.01,",
    )  # fmt: skip

    found = sums(reported)
    assert (reported.format, reported.unreadable) == ("mollie", [])
    assert found == {
        ("settlement", "EUR"): (2, 12500, 0, 12500),
        ("settlement", "USD"): (1, 5000, 0, 5000),
        ("conversion", "USD"): (1, -5000, 0, -5000),
        ("conversion", "EUR"): (1, 4605, 0, 4605),
        ("refund", "EUR"): (1, -2000, 0, -2000),
        ("fee", "EUR"): (1, 0, 288, -288),
    }
    assert sum(net for (_, code), (_, _, _, net) in found.items() if code == "EUR") == 14817


async def test_paypal_s_event_codes_are_what_its_reference_says(
    office: Office, tmp_path: Path
) -> None:
    """A hold that is released (T1105) was read as a refund that came back."""
    at = "2024/08/20 00:01:17 -0700"

    def row(number: int, code: str, way: str, amount: int, fee: str = '"",,""') -> str:
        return f'"SB","TX{number}","","","","{code}",{at},{at},"{way}",{amount},"USD",{fee},"",""'

    reported = await seen(
        office, tmp_path / "STL-20240820.01.009.CSV",
        f'"RH",{at},"A","PP9",009,', '"FH",01', f'"SH",{at},{at},"PP9",""', PAYPAL,
        row(1, "T0006", "CR", 3000, '"DR",117,"USD"'), row(2, "T0013", "CR", 1000),
        row(3, "T0001", "DR", 500), row(4, "T1105", "CR", 700), row(5, "T1503", "DR", 700),
        row(6, "T1107", "DR", 300, '"CR",10,"USD"'), row(7, "T1106", "DR", 200),
        row(8, "T0104", "DR", 25), row(9, "T0200", "DR", 40), row(10, "T0400", "DR", 999),
        row(11, "T2104", "CR", 60), row(12, "T9800", "CR", 1),
        f'"SF","USD",4761,2764,10,117,{BALANCES},12', '"SC",12',
        f'"RF","USD",4761,2764,10,117,{BALANCES},12', '"RC",12', '"FF",12',
    )  # fmt: skip

    assert (reported.format, reported.unreadable) == ("paypal", [])
    assert sums(reported) == {
        ("settlement", "USD"): (2, 4000, 117, 3883),
        ("transfer", "USD"): (1, -500, 0, -500),
        ("reserve", "USD"): (3, 60, 0, 60),
        ("refund", "USD"): (1, -300, -10, -290),
        ("chargeback", "USD"): (1, -200, 0, -200),
        ("fee", "USD"): (1, 0, 25, -25),
        ("conversion", "USD"): (1, -40, 0, -40),
        ("adjustment", "USD"): (1, 1, 0, 1),
    }


async def test_a_clerk_s_mapping_reads_checkout_com_s_rows_of_parts(
    office: Office, tmp_path: Path
) -> None:
    """A payment is a row for its capture, and one for each fee that was taken of it."""
    await office.reconciliation.finance_terms.keep_mapping(
        "checkout",
        {
            "columns": {
                "type": ["Breakdown Type"], "gross": ["Holding Currency Amount"],
                "net": ["Holding Currency Amount"], "currency": ["Holding Currency"],
                "booked_at": ["Processed On"], "transaction_id": ["Payment ID"],
                "reference": ["Reference"], "batch_id": ["Payout ID"],
                "line_id": ["Action ID", "Breakdown Type"], "method": ["Payment Method"],
            },
            "types": {
                "Capture": "settlement", "Refund": "refund", "Chargeback": "chargeback",
                "Chargeback Reversal": "chargeback_reversal", "Rolling Reserve*": "reserve",
                "Payout": "left out", "Top Up": "transfer",
            },
            "others": "cost",
            "time_format": "%Y-%m-%dT%H:%M:%S.%f",
        },
        by="Ana",
    )  # fmt: skip
    at = "2026-08-03T10:15:22.123"
    reported = await seen(
        office, tmp_path / "financial-actions_ent_20260804_1.csv",
        "Entity ID,Processing Channel ID,Payment ID,Action ID,Action Type,Breakdown Type,"
        "Processed On,Processing Currency,Processing Currency Amount,FX Rate Applied,"
        "Holding Currency,Holding Currency Amount,Payment Method,Reference,Payout ID",
        f"ent_1,pc_1,pay_1,act_1,Capture,Capture,{at},EUR,12.99,1,EUR,12.99,VISA,ORD-1,0000CFJU",
        f"ent_1,pc_1,pay_1,act_1,Capture,Interchange Fee,{at},EUR,-0.03,1,EUR,-0.03,VISA,ORD-1,"
        "0000CFJU",
        f"ent_1,pc_1,pay_1,act_1,Capture,Gateway Fee,{at},EUR,-0.10,1,EUR,-0.10,VISA,ORD-1,"
        "0000CFJU",
        f"ent_1,pc_1,pay_2,act_2,Refund,Refund,{at},EUR,-5.00,1,EUR,-5.00,VISA,ORD-2,0000CFJU",
        f"ent_1,pc_1,,act_3,Rolling Reserve,Rolling Reserve Hold,{at},EUR,-1.00,1,EUR,-1.00,,,"
        "0000CFJU",
        f"ent_1,pc_1,,act_4,Payout,Payout,{at},EUR,-6.86,1,EUR,-6.86,,,0000CFJU",
    )  # fmt: skip

    found = sums(reported)
    assert (reported.format, reported.unreadable) == ("checkout", [])
    assert found == {
        ("settlement", "EUR"): (1, 1299, 0, 1299),
        ("cost", "EUR"): (2, 0, 13, -13),
        ("refund", "EUR"): (1, -500, 0, -500),
        ("reserve", "EUR"): (1, -100, 0, -100),
    }
    assert sum(net for _, _, _, net in found.values()) == 686


async def test_a_clerk_s_mapping_reads_moyasar_s_fees_with_their_tax(
    office: Office, tmp_path: Path
) -> None:
    await office.reconciliation.finance_terms.keep_mapping(
        "moyasar",
        {
            "columns": {
                "type": ["type"], "gross": ["amount"], "net": ["net_amount"],
                "currency": ["currency"], "booked_at": ["transaction_date"],
                "transaction_id": ["payment_id"], "method": ["scheme"],
                "line_id": ["payment_id", "type"],
            },
            "types": {
                "pay": "settlement", "refund": "refund", "void": "refund", "fee": "fee",
                "chargeback": "chargeback", "chargeback_penalty": "fee",
                "platform_duties": "cost", "other_duties": "cost",
            },
        },
        by="Ana",
    )  # fmt: skip
    reported = await seen(
        office, tmp_path / "settlement.csv",
        "payment_id,description,scheme,source,type,currency,amount,net_amount,fee,vat,total_fee,"
        "transaction_date",
        "0b0a1c3e-0000-4000-8000-000000000001,Order 1,mada,Credit Card,pay,SAR,100.00,97.70,2.00,"
        "0.30,2.30,2026-10-01 10:00:00",
        "0b0a1c3e-0000-4000-8000-000000000001,Order 1,mada,Credit Card,refund,SAR,-40.00,-41.15,"
        "1.00,0.15,1.15,2026-10-01 11:00:00",
        ",Monthly,,,platform_duties,SAR,-10.00,-10.00,0,0,0,2026-10-01 12:00:00",
    )  # fmt: skip

    assert (reported.format, reported.unreadable) == ("moyasar", [])
    assert sums(reported) == {
        ("settlement", "SAR"): (1, 10000, 230, 9770),
        ("refund", "SAR"): (1, -4000, 115, -4115),
        ("cost", "SAR"): (1, 0, 1000, -1000),
    }


async def test_a_file_of_no_known_format_names_what_is_nearest(
    office: Office, tmp_path: Path
) -> None:
    with pytest.raises(BadReportError, match=r"nearest to the adyen one, which would need Batch"):
        await seen(
            office, tmp_path / "half.csv",
            "Psp Reference,Creation Date,Type,Net Currency,Net Debit (NC),Net Credit (NC)", "a,b",
        )  # fmt: skip
