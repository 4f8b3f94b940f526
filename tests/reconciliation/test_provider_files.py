"""Two real providers' published formats, recognised by their header: Stripe's and Adyen's."""

from pathlib import Path

import pytest

from caas.external_systems.report_files import ADYEN, STRIPE, BadReportError, examine
from caas.rules.payment_states import PaymentState
from tests.reconciliation.crowd import today
from tests.reconciliation.office import Office

STRIPE_HEADER = (
    "automatic_payout_id,automatic_payout_effective_at_utc,balance_transaction_id,created_utc,"
    "available_on_utc,currency,gross,fee,net,reporting_category,source_id,description,charge_id,"
    "payment_intent_id,payment_metadata[reference]"
)
ADYEN_HEADER = (
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,"
    "Creation Date,TimeZone,Type,Modification Reference,Gross Currency,Gross Debit (GC),"
    "Gross Credit (GC),Exchange Rate,Net Currency,Net Debit (NC),Net Credit (NC),Commission (NC),"
    "Markup (NC),Scheme Fees (NC),Interchange (NC),Payment Method Variant,"
    "Modification Merchant Reference,Batch Number,Reserved4"
)


def stripe_row(category: str, amounts: str, number: int, who: str = ",,,") -> str:
    """Write a row of Stripe's itemized payout reconciliation report."""
    return (
        f"po_1,{today()} 00:00:00,txn_s{number},{today()} 10:00:0{number},{today()} 00:00:00,"
        f'eur,{amounts},{category},src_{number},"Heated seats, a month",{who}'
    )


def adyen_row(type_: str, gross: str, net: str, number: int, who: str = ",") -> str:
    """Write a row of Adyen's settlement details report; gross and net are debit,credit."""
    return (
        f"CaaS,CaaSES,{who},visa,{today()} 11:00:0{number},CET,{type_},mod_{number},"
        f"EUR,{gross},1,EUR,{net},,0.10,0.10,0.23,visacredit,,134,"
    )


async def test_stripe_s_report_settles_what_it_lists(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    who = f"ch_1,{payment.gateway_transaction_id},{payment.id}"
    path = tmp_path / "stripe.csv"
    rows = [
        STRIPE_HEADER,
        stripe_row("charge", "12.99,0.43,12.56", 1, who),
        stripe_row("fee", "-2.00,0.00,-2.00", 2),
        stripe_row("payout", "-10.56,0.00,-10.56", 3),
    ]
    path.write_text("\n".join(rows) + "\n")

    done = await office.reconciliation.reconcile(office.today, file=path)

    assert examine(path, tmp_path).format is STRIPE
    assert done.run.counts == {"matched": 1, "provider_fee": 1}
    assert (await office.payment(payment)).state is PaymentState.SETTLED
    assert await office.balance("bank") == 1056
    assert (await office.kinds(), done.day.verdict) == ([], "closed")


async def test_stripe_s_refunds_and_disputes_are_told_apart(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    who = f"ch_1,{payment.gateway_transaction_id},{payment.id}"
    path = tmp_path / "stripe.csv"
    rows = [
        STRIPE_HEADER,
        stripe_row("charge", "12.99,0.43,12.56", 1, who),
        stripe_row("refund", "-3.00,0.00,-3.00", 2, who),
        stripe_row("dispute", "-9.99,0.00,-9.99", 3, who),
        stripe_row("other_adjustment", "0.01,0.00,0.01", 4, who),
    ]
    path.write_text("\n".join(rows) + "\n")

    done = await office.reconciliation.reconcile(office.today, file=path)

    assert done.run.counts == {
        "matched": 1, "refund_mismatch": 1, "chargeback": 1, "amount": 1,
    }  # fmt: skip


async def test_more_decimals_than_the_currency_has_are_kept_aside(
    office: Office, tmp_path: Path
) -> None:
    path = tmp_path / "stripe.csv"
    path.write_text(
        f"{STRIPE_HEADER}\n{stripe_row('charge', '12.999,0.43,12.569', 1, 'ch_1,pi_1,')}\n"
    )

    await office.reconciliation.reconcile(office.today, file=path)

    [aside] = await office.reconciliation.quarantined(office.today)
    assert "its gross is no amount of its currency" in aside.reason


async def test_adyen_s_report_settles_what_it_lists(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    who = f"{payment.gateway_transaction_id},{payment.id}"
    path = tmp_path / "adyen.csv"
    rows = [
        ADYEN_HEADER,
        adyen_row("Settled", ",12.99", ",12.56", 1, who),
        adyen_row("Fee", ",", "2.00,", 2),
        adyen_row("MerchantPayout", ",", "10.56,", 3),
    ]
    path.write_text("\n".join(rows) + "\n")

    done = await office.reconciliation.reconcile(office.today, file=path)

    line = (await office.lines_of(payment))[0]
    assert examine(path, tmp_path).format is ADYEN
    assert done.run.counts == {"matched": 1, "provider_fee": 1}
    assert (line.batch_id, line.line_id, line.booked_at.hour) == ("134", "mod_1", 10)
    assert (await office.payment(payment)).state is PaymentState.SETTLED
    assert await office.balance("bank") == 1056


async def test_a_settled_row_counts_whichever_column_its_gross_stands_in(
    office: Office, tmp_path: Path
) -> None:
    payment = await office.capturing()
    path = tmp_path / "adyen.csv"
    who = f"{payment.gateway_transaction_id},{payment.id}"
    rows = [
        ADYEN_HEADER,
        adyen_row("Settled", "12.99,", ",12.56", 1, who),
        adyen_row("MerchantPayout", ",", "12.56,", 2),
    ]
    path.write_text("\n".join(rows) + "\n")

    done = await office.reconciliation.reconcile(office.today, file=path)

    assert done.run.counts == {"matched": 1}


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        (adyen_row("Refunded", "1.00,", "1.00,", 2), "no MerchantPayout"),
        (adyen_row("MerchantPayout", ",", "10.00,", 2), "differ by 2.56 EUR"),
    ],
)
async def test_a_batch_whose_payout_does_not_add_up_is_refused(
    office: Office, tmp_path: Path, last: str, sentence: str
) -> None:
    path = tmp_path / "adyen.csv"
    rows = [ADYEN_HEADER, adyen_row("Settled", ",12.99", ",12.56", 1, "psp1,order1"), last]
    path.write_text("\n".join(rows) + "\n")

    with pytest.raises(BadReportError, match=sentence):
        await office.reconciliation.reconcile(office.today, file=path)


async def test_the_same_provider_file_twice_counts_once(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    who = f"ch_1,{payment.gateway_transaction_id},{payment.id}"
    path = tmp_path / "stripe.csv"
    text = f"{STRIPE_HEADER}\r\n{stripe_row('charge', '12.99,0.43,12.56', 1, who)}\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())

    first = await office.reconciliation.reconcile(office.today, file=path)
    second = await office.reconciliation.reconcile(office.today, file=path)

    assert (first.run.lines, second.run.lines) == (1, 0)
    assert await office.balance("bank") == 1256
