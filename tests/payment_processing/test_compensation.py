"""What the gateway should not have is written down with its case, once, before it is undone."""

import asyncio

import msgspec
import pytest

from caas.billing_database.payments import Payment
from caas.payment_processing.gateway_calls import COMPENSATE
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.installation import PATIENCE_SECONDS, VIN, Installation


async def voided_and_taken(installation: Installation) -> Payment:
    """Void a payment, let the gateway take the money all the same, and give a hint of it."""
    installation.fleet.add(VIN, Manner(Behaviour.REFUSES))
    payment = await installation.buys()
    voided = await installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)
    assert voided.gateway_transaction_id is not None
    taken = installation.gateway.store.bookings[voided.gateway_transaction_id].transaction
    taken.status, taken.captured_amount, taken.settled_amount = "settled", 1299, 1299
    await installation.platform.payment_processing._charges.transitions.record_late_outcome(
        voided, voided.gateway_transaction_id
    )
    return voided


async def undone(installation: Installation) -> list[str]:
    """Let jobs run until nothing is left to undo; return the cases that were opened."""
    left = "select 1 from jobs where kind = $1"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await installation.database.fetchrow(left, COMPENSATE):
            await installation.platform.jobs.run_due()
            await installation.gateway_does("settle")
    return [row["kind"] for row in await installation.database.fetch("select kind from cases")]


async def test_a_truth_is_written_down_although_the_payment_moved_meanwhile(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remark was refused, the money given back, and nobody ever told that it had been taken."""
    payment = await voided_and_taken(installation)
    payments, get = installation.platform.tables.payments, installation.platform.tables.payments.get
    before = msgspec.structs.replace(
        payment, state=PaymentState.FAILED, version=payment.version - 1
    )

    async def seen_too_early(*_: object, **__: object) -> Payment:
        monkeypatch.setattr(payments, "get", get)
        return before

    monkeypatch.setattr(payments, "get", seen_too_early)

    assert "captured_instead_of_voided" in await undone(installation)


async def test_a_truth_and_its_case_are_one_commit(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that died between the two left the remark, and a case that nobody would open."""
    await voided_and_taken(installation)
    cases, opened = installation.platform.tables.cases, installation.platform.tables.cases.open

    async def dies(*_: object, **__: object) -> bool:
        monkeypatch.setattr(cases, "open", opened)
        raise ConnectionResetError

    monkeypatch.setattr(cases, "open", dies)

    assert "captured_instead_of_voided" in await undone(installation)
