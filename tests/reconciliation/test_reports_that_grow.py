"""A later export of a report, in any order: stored rows are skipped, new ones are taken."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from caas.billing_database.payments import Payment
from tests.reconciliation.office import Office
from tests.reconciliation.test_half_files import paypal
from tests.reconciliation.test_provider_files import ADYEN_HEADER
from tests.reconciliation.test_published_samples import MOLLIE
from tests.reconciliation.test_rows_booked_once import DAY, Operation, lawful, row, stripe
from tests.reconciliation.test_rows_without_ids_of_their_own import redsys, transitioned

Rows = Sequence[Payment]
Written = Callable[[Rows], str]


def mollie_file(payments: Rows) -> str:
    """Write Mollie's export: payments, and a fee of each that has no id of its own."""
    rows = [
        f"{DAY} 10:00:00,ideal,EUR,12.99,paidout,{it.gateway_transaction_id},x,,,,EUR,12.99,1.2,"
        for it in payments
    ]
    fees = [
        f"{DAY} 11:00:00,,EUR,-0.43,,,Withheld transaction fees,,,,EUR,-0.43,1.2," for _ in payments
    ]
    return "\n".join([MOLLIE, *rows, *fees]) + "\n"


def adyen_file(payments: Rows) -> str:
    """Write Adyen's report: payments, and a fee of each that says the same as the others."""
    at = f"{DAY} 10:21:32,CET"
    rows = [
        f"CaaS,CaaSES,{it.gateway_transaction_id},{it.id},visa,{at},Settled,,EUR,12.99,,1,"
        "EUR,,12.56,0.43,,,,,,1777,"
        for it in payments
    ]
    fees = [f"CaaS,CaaSES,,,,{at},Fee,,,,,,EUR,0.10,,,,,,,,1777," for _ in payments]
    paid = f"{(1256 - 10) * len(payments) / 100:.2f}"
    last = f"CaaS,CaaSES,,,,{at},MerchantPayout,x,,,,,EUR,{paid},,,,,,,,1777,"
    return "\n".join([ADYEN_HEADER, *rows, *fees, last]) + "\n"


def stripe_file(payments: Rows) -> str:
    """Write Stripe's itemized report."""
    return stripe(
        *(
            row(it.id.int % 10**6, "charge", "12.99,0.43,12.56",
                who=f"ch_1,{it.gateway_transaction_id},{it.id}")
            for it in payments
        )
    )  # fmt: skip


def paypal_file(payments: Rows) -> str:
    """Write PayPal's report."""
    return paypal(
        *((it.gateway_transaction_id or "", str(it.id), "", "T0006", "CR", 1299) for it in payments)
    )


def redsys_file(payments: Rows) -> str:
    """Write Redsys's movements."""
    return redsys(
        *(
            transitioned(it.gateway_transaction_id, "Autorización", "12,99 EUR", "12,56 EUR")
            for it in payments
        )
    )


@pytest.mark.parametrize(
    ("written", "lines_each"),
    [(mollie_file, 2), (adyen_file, 2), (stripe_file, 1), (paypal_file, 1), (redsys_file, 1)],
)
async def test_a_later_export_in_any_order_brings_only_what_is_new(
    written: Written, lines_each: int, office: Office, tmp_path: Path
) -> None:
    """Rows were known by their place: another order, or a row on top, was a contradiction."""
    investigation = Operation(office, tmp_path)
    first, second, third = [await office.capturing() for _ in range(3)]

    given = [
        await investigation.gives(written(payments), DAY)
        for payments in (
            (first, second),
            (second, first),
            (third, first, second),
            (first, third, second),
        )
    ]

    assert [it.run.lines for it in given] == [2 * lines_each, 0, lines_each, 0]
    assert await office.reconciliation.quarantined(DAY) == []
    assert {len(await office.lines_of(it)) for it in (first, second, third)} == {1}
    assert {it.day.verdict for it in given} <= {"closed", "open discrepancies"}
    assert "duplicate_line" not in await office.kinds()
    assert await lawful(office)


@pytest.mark.parametrize("written", [mollie_file, adyen_file, paypal_file])
async def test_a_later_export_without_a_stored_row_is_refused(
    written: Written, office: Office, tmp_path: Path
) -> None:
    investigation = Operation(office, tmp_path)
    first, second, third = [await office.capturing() for _ in range(3)]
    await investigation.gives(written((first, second)), DAY)

    await investigation.is_refused(written((third, first)), DAY, "has shrunk: 1 stored lines")
