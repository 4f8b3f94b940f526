"""Providers whose rows have no id, or a currency in each amount; and rows that come years later."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from caas.billing_database.payments import Payment
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.payment_states import PaymentState
from tests.reconciliation.office import Office
from tests.reconciliation.test_rows_booked_once import DAY, Operation, lawful, row, stripe

REDSYS = (
    "Fecha;Hora;Tipo operación;Nº de pedido;Resultado operación;Importe;Importe Neto;"
    "Cierre de sesión;Método de pago"
)


@pytest.fixture
def investigation(office: Office, tmp_path: Path) -> Operation:
    """A clerk at a desk."""
    return Operation(office, tmp_path)


def has_back(amount: int, payment: Payment) -> bool:
    """Say whether so much of a payment was refunded."""
    return payment.refunded_amount == amount


def redsys(*rows: str) -> str:
    """Write Redsys's movements."""
    return "\n".join([REDSYS, *rows]) + "\n"


def transitioned(
    order: str | None, what: str, amount: str, net: str = "", *, at: str = "11:11", code: int = 1
) -> str:
    """Write a row of Redsys's movements."""
    return f"{DAY:%d/%m/%Y};{at};{what};{order};Autorizada {code};{amount};{net or amount};;Visa"


async def test_rows_of_one_order_in_one_minute_are_rows_of_their_own(
    investigation: Operation, office: Office
) -> None:
    """Two partial refunds of one minute counted as one; so did an order that was charged twice."""
    payment = await office.installation.settled()
    order = payment.gateway_transaction_id
    for number, amount in enumerate((300, 300, 400), start=1):
        await office.installation.platform.payment_processing.refund_payment(
            payment.id, amount=amount, reason="x", key=str(number), requested_by="ops"
        )
        await office.installation.until(
            payment.id, partial(has_back, sum((300, 300, 400)[:number]))
        )
    part = "Devolución parcial"
    alike = [transitioned(order, part, "3,00 EUR", code=900) for _ in range(2)]
    other = transitioned(order, part, "4,00 EUR", code=901)
    bank = await office.balance("bank")

    refunds = await investigation.gives(redsys(*alike, other), DAY)
    again = await investigation.gives(redsys(other, *alike), DAY)

    assert (refunds.run.counts, refunds.day.verdict) == ({"matched": 3}, "closed")
    assert (again.run.lines, again.day.verdict) == (0, "closed")
    assert await office.balance("bank") == bank - 1000
    charged = await office.capturing()
    twice = [
        transitioned(
            charged.gateway_transaction_id, "Autorización", "12,99 EUR", "12,56 EUR", at="11:12"
        )
        for _ in range(2)
    ]
    done = await investigation.gives(redsys(*twice), DAY)
    assert done.run.counts == {"matched": 1, "duplicate_line": 1}
    assert done.day.verdict == "open discrepancies"
    assert await lawful(office)


async def test_the_currency_in_an_amount_is_its_currency(
    investigation: Operation, office: Office
) -> None:
    """12,99 USD was booked as 12.99 EUR."""
    payment = await office.capturing()
    order = payment.gateway_transaction_id

    dollars = await investigation.gives(
        redsys(transitioned(order, "Autorización", "12,99 USD", "12,56 USD")), DAY
    )
    mixed = await investigation.gives(
        redsys(
            transitioned(order, "Autorización", "12,99 EUR", "12,56 USD", at="11:12"),
            transitioned(order, "Autorización", "£12,99", "12,56 EUR", at="11:13"),
        ),
        DAY,
    )

    assert (dollars.run.counts, await office.balance("bank")) == ({"currency": 1}, 0)
    [found] = await office.found(unresolved=True)
    assert (found.kind, found.currency) == (Kind.CURRENCY, "USD")
    assert (await office.payment(payment)).state is PaymentState.CAPTURING
    assert (mixed.run.lines, mixed.day.verdict) == (0, "incomplete")
    who = f"ch_1,{order},{payment.id}"
    other = await investigation.gives(
        stripe(row(1, "charge", "12.99 USD,0.43,12.56", who=who)), DAY + timedelta(days=0)
    )
    assert (other.run.lines, await office.balance("bank")) == (0, 0)


@pytest.mark.parametrize("days", [4, 30])
async def test_a_row_is_known_by_its_id_whatever_date_it_comes_with(
    investigation: Operation, office: Office, days: int
) -> None:
    """A row that came dated anew two days later or more was booked again, and sealed so."""
    later = DAY + timedelta(days=days)
    first = await investigation.gives(stripe(row(1, "topup", "100,0,100")), DAY)

    again = await investigation.gives(
        stripe(
            row(1, "topup", "100,0,100", created=later), row(2, "topup", "1,0,1", created=later)
        ),
        later,
    )
    otherwise = await investigation.gives(stripe(row(1, "topup", "90,0,90", created=later)), later)

    assert (first.run.lines, again.run.lines, again.day.verdict) == (1, 1, "closed")
    assert f"1 for {DAY}" in (again.run.because or "")
    assert (otherwise.run.lines, otherwise.day.verdict) == (0, "incomplete")
    assert await office.balance("bank") == 10_100
    assert await lawful(office)
    owner = await asyncpg.connect(office.installation.database.dsn)
    plan = await owner.fetchval(
        "select count(*) from pg_indexes where indexname = 'settlement_lines_by_id'"
    )
    await owner.close()
    assert plan == 1
