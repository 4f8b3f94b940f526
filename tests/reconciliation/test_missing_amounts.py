"""An amount that a row does not give is missing, and never zero."""

from pathlib import Path

import pytest

from tests.reconciliation.office import Office
from tests.reconciliation.test_provider_files import ADYEN_HEADER
from tests.reconciliation.test_published_samples import MOLLIE, seen
from tests.reconciliation.test_report_formats import STRIPE, adyen, stripe

OWN = {
    "columns": {
        "type": ["Type"], "gross": ["Amount (USD)"], "fee": ["Fee"], "booked_at": ["Creation date"],
        "transaction_id": ["Reference"], "line_id": ["Reference"],
    },
    "types": {
        "Payment": "settlement", "Refund": "refund", "Chargeback": "chargeback", "Cost": "fee",
    },
    "currency": "USD", "refunds_are_positive": True, "fee_is_negative": False,
}  # fmt: skip
OWN_HEADER = "Type,Creation date,Reference,Amount (USD),Fee"
GROSS, NET = "its gross is missing", "its net is missing"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Refund,2026-06-19 21:05:09,r1,,", GROSS),
        ("Chargeback,2026-06-19 21:05:09,r1, ,0.50", GROSS),
        ("Payment,2026-06-19 21:05:09,r1,,0.03", GROSS),
        ("Cost,2026-06-19 21:05:09,r1,,", GROSS),
    ],
)
async def test_a_row_of_a_mapped_file_without_its_amount_is_kept_aside(
    office: Office, tmp_path: Path, row: str, reason: str
) -> None:
    """A refund whose amount in dollars was not filled in was a refund of nothing."""
    reported = await seen(office, tmp_path / "own.csv", OWN_HEADER, row, mapping=OWN)

    assert (reported.unreadable, reported.lines) == ([f"line 2: {reason}"], [])


async def test_a_fee_may_stand_in_either_column(office: Office, tmp_path: Path) -> None:
    reported = await seen(
        office, tmp_path / "own.csv", OWN_HEADER,
        "Cost,2026-06-19 21:05:09,r1,-0.50,", "Cost,2026-06-19 21:05:10,r2,,0.25",
        mapping=OWN,
    )  # fmt: skip

    assert reported.unreadable == []
    assert [line["net"] for line in reported.lines] == [-50, -25]


async def test_a_mollie_row_that_is_not_settled_yet_is_no_fee_of_all_its_money(
    office: Office, tmp_path: Path
) -> None:
    reported = await seen(
        office, tmp_path / "mollie.csv", MOLLIE,
        "2026-10-01 10:12:00,ideal,EUR,100.00,open,tr_aaa111,Order 1001,J. N,NL01,BIC,EUR,,"
        "1234567.2610.01,",
    )  # fmt: skip

    assert reported.unreadable == [f"line 2: {NET}"]


@pytest.mark.parametrize(
    ("category", "amounts", "facing", "reason"),
    [
        ("charge", ",0.43,12.56", "12.99,eur", GROSS),
        ("charge", ",,", "12.99,eur", GROSS),
        ("refund", "-12.99,0,", "12.99,eur", NET),
        ("fee", "-0.50,0,", ",", NET),
        ("charge", "12.99,0.43,12.56", ",usd", "its amount for the customer is missing"),
    ],
)
async def test_a_row_of_stripe_without_an_amount_is_kept_aside(
    office: Office, tmp_path: Path, category: str, amounts: str, facing: str, reason: str
) -> None:
    payment = await office.capturing()

    reported = await seen(
        office, tmp_path / "stripe.csv", STRIPE,
        stripe(1, category, amounts, payment, facing=facing),
    )  # fmt: skip

    assert (set(reported.unreadable), reported.lines) == ({f"line 2: {reason}"}, [])


@pytest.mark.parametrize(
    ("type_", "gross", "net", "reason"),
    [
        ("Settled", ",", ",12.56", GROSS),
        ("Refunded", ",", ",", GROSS),
        ("Chargeback", "12.99,", ",", NET),
        ("Fee", ",", ",", NET),
    ],
)
async def test_a_row_of_adyen_without_an_amount_is_kept_aside(
    office: Office, tmp_path: Path, type_: str, gross: str, net: str, reason: str
) -> None:
    payment = await office.capturing() if type_ != "Fee" else None
    paid_out = "25.12," if net == ",12.56" else "12.56,"

    reported = await seen(
        office, tmp_path / "adyen.csv", ADYEN_HEADER, adyen(type_, gross, net, payment),
        adyen("Settled", ",12.99", ",12.56", await office.capturing(), modification="m_2"),
        adyen("MerchantPayout", ",", paid_out),
    )  # fmt: skip

    assert reported.unreadable == [f"line 2: {reason}"]


async def test_adyen_s_net_may_be_a_debit_where_the_costs_are_more_than_the_payment(
    office: Office, tmp_path: Path
) -> None:
    """A published sample: ten rupees, of which three cents are owed for its costs."""
    payment = await office.capturing()

    reported = await seen(
        office, tmp_path / "adyen.csv", ADYEN_HEADER,
        adyen("Settled", ",0.10", "0.03,", payment), adyen("MerchantPayout", ",", ",0.03"),
    )  # fmt: skip

    assert reported.unreadable == []
    assert [(line["gross"], line["net"]) for line in reported.lines] == [(10, -3)]
