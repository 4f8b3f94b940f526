"""Many payments at once, made through the doors that every payment goes through."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from caas.billing_database.identifiers import derived_id, new_id
from caas.billing_database.payments import NewPayment, Payment
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Claim, Evidence, NewJob, Transition
from caas.rules import postings
from caas.rules.payment_states import PaymentEvent, PaymentState
from caas.rules.payment_types import PaymentType
from tests.business_day import business_day
from tests.reconciliation.planted import fee_of

HEADER = (
    "line_no,batch_id,transaction_id,reference,type,gross,fee,net,currency,booked_at,value_date"
)
FAR_AWAY = 1e8


async def crowd(
    tables: BillingDatabase,
    count: int,
    *,
    settled: bool = False,
    first_amount: int = 1000,
    gateway: str = "contract",
) -> list[Payment]:
    """Make reservation payments that are captured, and settled by a webhook if so wanted.

    Each is for one cent more than the one before.
    """
    new = [
        NewPayment(
            id=new_id(), type=PaymentType.RESERVATION, subject=new_id(), customer=new_id(),
            amount=first_amount + number, currency="EUR", gateway=gateway,
        )
        for number in range(count)
    ]  # fmt: skip
    await tables.payments.accept_all(new)
    for steps in (_authorized, _captured, *((_settled,) if settled else ())):
        async with tables.database.transaction() as connection:
            transitioned = await tables.transitions.apply_all(
                [steps(p) for p in new], within=connection
            )
            assert all(it.transitioned for it in transitioned)
    return [await tables.payments.get(p.id) for p in new]


def today() -> str:
    """Return the date on which the lines of a report are booked."""
    return business_day().isoformat()


def transaction_of(payment_id: UUID) -> str:
    """Return the gateway's id of a payment's transaction."""
    return f"txn_{payment_id.hex}"


def line_of(number: int, payment: Payment, **reported: Any) -> str:
    """Write the line that settles a payment, but for what is told otherwise."""
    row: dict[str, Any] = {
        "line_no": number,
        "batch_id": "bat_1",
        "transaction_id": payment.gateway_transaction_id,
        "reference": payment.id,
        "type": "settlement",
        "gross": payment.amount,
        "fee": fee_of(payment.amount),
        "net": None,
        "currency": payment.currency,
        "booked_at": f"{today()}T10:00:00Z",
        "value_date": today(),
    } | reported
    if row["net"] is None:
        row["net"] = row["gross"] - row["fee"]
    return ",".join("" if value is None else str(value) for value in row.values())


def report_file(path: Path, lines: Sequence[str]) -> Path:
    """Write a canonical report."""
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def settlements(payments: Sequence[Payment]) -> list[str]:
    """Write a settlement line for each payment."""
    return [line_of(number, payment) for number, payment in enumerate(payments, start=1)]


def _authorized(payment: NewPayment) -> Transition:
    return Transition(
        payment_id=payment.id,
        event=PaymentEvent.FUNDS_RESERVED.value,
        from_state=PaymentState.PENDING.value,
        to_state=PaymentState.AUTHORIZED.value,
        source="authorized",
        gateway_transaction_id=transaction_of(payment.id),
        authorized=payment.amount,
        entries=postings.authorized(payment.amount),
    )


def _captured(payment: NewPayment) -> Transition:
    evidence = derived_id("evidence", payment.id)
    return Transition(
        payment_id=payment.id,
        event=PaymentEvent.INITIATE_SETTLEMENT.value,
        from_state=PaymentState.AUTHORIZED.value,
        to_state=PaymentState.CAPTURING.value,
        source="capture",
        captured=payment.amount,
        claim=Claim("capture", "delivered", evidence, "reservation_recorded"),
        evidence=Evidence(id=evidence, kind="reservation_recorded"),
        entries=postings.captured(payment.type, payment.amount, held=payment.amount),
        next=(NewJob("poll_settlement", FAR_AWAY),),
    )


def _settled(payment: NewPayment) -> Transition:
    return Transition(
        payment_id=payment.id,
        event=PaymentEvent.BANK_CONFIRMS.value,
        from_state=PaymentState.CAPTURING.value,
        to_state=PaymentState.SETTLED.value,
        source=f"settled:{payment.amount}",
        settled=payment.amount,
        entries=postings.settled(payment.amount),
        done=("poll_settlement",),
    )
