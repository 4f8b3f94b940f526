"""What the gateway should not have is written down with its case, once, before it is undone."""

import asyncio

import msgspec
import pytest

from caas.billing_database.payments import Payment
from caas.payment_processing.gateway_calls import COMPENSATE
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.house import PATIENCE_SECONDS, VIN, House


async def voided_and_taken(house: House) -> Payment:
    """Void a payment, let the gateway take the money all the same, and give a hint of it."""
    house.fleet.add(VIN, Manner(Behaviour.REFUSES))
    payment = await house.buys()
    voided = await house.until(payment.id, lambda p: p.state is PaymentState.VOIDED)
    assert voided.gateway_transaction_id is not None
    taken = house.gateway.store.bookings[voided.gateway_transaction_id].transaction
    taken.status, taken.captured_amount, taken.settled_amount = "settled", 1299, 1299
    await house.platform.payment_processing._charges.suspect(voided, voided.gateway_transaction_id)
    return voided


async def undone(house: House) -> list[str]:
    """Let open work run until nothing is left to undo; return the cases that were opened."""
    left = "select 1 from open_work where kind = $1"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await house.database.fetchrow(left, COMPENSATE):
            await house.platform.open_work.run_due()
            await house.gateway_does("settle")
    return [row["kind"] for row in await house.database.fetch("select kind from cases")]


async def test_a_truth_is_written_down_although_the_payment_moved_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remark was refused, the money given back, and nobody ever told that it had been taken."""
    payment = await voided_and_taken(house)
    payments, get = house.platform.books.payments, house.platform.books.payments.get
    before = msgspec.structs.replace(
        payment, state=PaymentState.FAILED, version=payment.version - 1
    )

    async def seen_too_early(*_: object, **__: object) -> Payment:
        monkeypatch.setattr(payments, "get", get)
        return before

    monkeypatch.setattr(payments, "get", seen_too_early)

    assert "captured_instead_of_voided" in await undone(house)


async def test_a_truth_and_its_case_are_one_commit(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that died between the two left the remark, and a case that nobody would open."""
    await voided_and_taken(house)
    cases, opened = house.platform.books.cases, house.platform.books.cases.open

    async def dies(*_: object, **__: object) -> bool:
        monkeypatch.setattr(cases, "open", opened)
        raise ConnectionResetError

    monkeypatch.setattr(cases, "open", dies)

    assert "captured_instead_of_voided" in await undone(house)
