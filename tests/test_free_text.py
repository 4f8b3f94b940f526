"""Free text that says who somebody is: refused wherever it would be kept for ever."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final
from uuid import UUID

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.decisions import RefundWish
from caas.billing_database.free_text import PersonalDataRefusedError
from caas.billing_database.payments import Payment
from caas.order_management.held_deposits import DepositDecision
from caas.rules.money import Money
from tests.installation import Installation, standing
from tests.people import COMMAND_LINE

Sends = Callable[[str], Awaitable[object]]
TELLING: Final = ("ask ana@example.com", "call +34 612 345 678", "ES91 2100 0418 4502 0005 1332")
NAMING: Final = ("Ana called", "ANA: cold seats", "for Ana.")


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation in which heated seats are for sale."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


async def invoice_of(installation: Installation, payment: Payment) -> UUID:
    """The document of a payment."""
    await installation.platform.issuing.issue_due()
    [document] = await installation.platform.invoices.invoices(subject=payment.subject)
    return document.id


async def doors_about(installation: Installation, payment: Payment) -> dict[str, Sends]:
    """Every way in which somebody writes about a payment, an invoice or a case of a customer."""
    platform, invoice = installation.platform, await invoice_of(installation, payment)
    investigation = platform.payment_processing
    return {
        "credit note": lambda text: platform.invoices.credit_notes.correct(
            invoice, reason=text, gross=1, by=COMMAND_LINE
        ),
        "credit note at once": lambda text: platform.invoices.credit_notes.issue(
            invoice, reason=text, gross=1
        ),
        "refund note": lambda text: investigation.refund_operations.decide(
            payment.id, RefundWish(1, "goodwill", None), note=text, by=COMMAND_LINE
        ),
        "outcome": lambda text: investigation.outcome_approval.propose(
            payment.id, note=text, by=COMMAND_LINE
        ),
        "deposit": lambda text: platform.order_management.held_deposits.decide(
            payment.id,
            DepositDecision.REFUND,
            note=text,
            by=COMMAND_LINE,
        ),
        "discrepancy": lambda text: platform.reconciliation.investigation.note(
            payment.id, text=text, by="ana"
        ),
    }


def doors_about_nobody(installation: Installation) -> dict[str, Sends]:
    """Every way in which somebody writes what documents and books say of no customer."""
    platform = installation.platform
    return {
        "service": lambda text: platform.service_catalog.put_service(
            code="x", name=text, kind="one_time", currency="EUR",
            prices=[{"duration_days": 30, "amount": 1}],
        ),
        "model": lambda text: platform.order_management.put_vehicle(
            vin="WVWZZZ1JZXW000009", model=text, price=Money(1, "EUR")
        ),
    }  # fmt: skip


async def test_no_door_takes_text_that_says_who_somebody_is(installation: Installation) -> None:
    payment = await installation.settled()
    about = await doors_about(installation, payment)
    passed = []
    for doors, texts in (
        (about, (*TELLING, *NAMING)), (doors_about_nobody(installation), TELLING),
    ):  # fmt: skip
        for name, send in doors.items():
            for text in texts:
                try:
                    await send(text)
                except PersonalDataRefusedError:
                    continue
                except Exception as error:  # noqa: BLE001  # whatever else it says is wrong here
                    passed.append((name, text, type(error).__name__))
                else:
                    passed.append((name, text, "taken"))
    assert passed == []


async def test_text_about_the_matter_alone_is_taken(installation: Installation) -> None:
    payment = await installation.settled()
    about = await doors_about(installation, payment)

    for name in ("credit note", "refund note"):
        await about[name](f"Cold seats, payment {payment.id}, 12.99 EUR on 2026-11-28.")

    after = await installation.until(payment.id, lambda p: p.refunded_amount == 2)  # cents
    assert after.refunded_amount == 2  # one by each
