"""Several transactions of one payment: one is kept, the others are undone, whatever is said.

Fault F-H1. `tests/strangers/test_a_gateway_without_keys.py` lives it among real programs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.payments import Payment
from caas.external_systems.payment_gateway import GatewayTransaction, TransactionStatus
from caas.payment_processing.gateway_calls import COMPENSATE
from caas.payment_processing.late_truths import DUPLICATE, NOT_UNDONE
from caas.rules.payment_states import PaymentState
from caas_simulators.gateway_records import Booking, InitiateRequest
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.house import PATIENCE_SECONDS, VIN, House, standing

SLOWER = 100.0
P = PaymentState
S = TransactionStatus
LEFT = "select 1 from open_work where kind = $1"
CASES = "select kind, status from cases"
LOOKED_TWICE = """
select 1 from open_work where kind = $1 and not exists (
  select from open_work o where o.kind = $1 and o.attempts < 2)
"""


async def asleep(house: House) -> Payment:
    """Hold funds for a car that does not answer."""
    house.fleet.add(VIN, Manner(Behaviour.SILENT))
    return await house.until((await house.buys()).id, lambda p: p.state is P.AUTHORIZED)


async def capturing(house: House) -> Payment:
    """Capture, and let the bank take its time."""
    return await house.until((await house.buys()).id, lambda p: p.state is P.CAPTURING)


async def voided(house: House) -> Payment:
    """Void what a car refused."""
    house.fleet.add(VIN, Manner(Behaviour.REFUSES))
    return await house.until((await house.buys()).id, lambda p: p.state is P.VOIDED)


async def declined(house: House) -> Payment:
    """Fail by a decline."""
    return await house.buys("pm_declined")


def sibling_of(house: House, payment: Payment, method: str | None = "pm_ok") -> Booking:
    """Let the gateway make another transaction of a payment, as if it ignored our key."""
    asked = InitiateRequest(
        reference=str(payment.id), amount=payment.amount, currency=payment.currency,
        capture="manual", payment_method=method,
    )  # fmt: skip
    return house.gateway.transactions.initiate(asked)


async def said(house: House, booking: Booking) -> GatewayTransaction:
    """Return a transaction as the gateway tells it."""
    found = await house.platform.payment_processing._settlement._gateway.find(
        booking.transaction.id
    )
    assert found is not None
    return found


async def hears(house: House, payment: Payment, told: GatewayTransaction) -> Payment:
    """Let a payment hear the gateway's word, as by a webhook."""
    settlement = house.platform.payment_processing._settlement
    now = await house.platform.books.payments.get(payment.id)
    return await settlement.gateway_says(now, told, source="webhook")


async def until_undone(house: House) -> None:
    """Let open work run until nothing is left to undo, and the bank do its part."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await house.database.fetchrow(LEFT, COMPENSATE):
            await house.platform.open_work.run_due()
            await house.gateway_does("settle")
            await asyncio.sleep(0.005)


async def until_one_is_kept(house: House, payment: Payment) -> Payment:
    """Let open work run until the gateway holds only what the payment has chosen."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            after = await house.platform.books.payments.get(payment.id)
            found = house.gateway.store.with_reference(str(payment.id))
            alive = [one.id for one in found if one.status == "authorized"]
            if alive == [after.gateway_transaction_id]:
                return after
            await house.platform.open_work.run_due()
            await asyncio.sleep(0.005)


async def cases_of(house: House) -> dict[str, str]:
    """Return every kind of case, and how it stands."""
    return {row["kind"]: row["status"] for row in await house.database.fetch(CASES)}


@pytest.mark.parametrize(
    ("reached", "ends"),
    [
        (asleep, {P.AUTHORIZED, P.VOIDED}),  # voided once the car's deadline has passed
        (capturing, {P.CAPTURING, P.SETTLED}),  # settled once the bank was asked about it
        (House.settled, {P.SETTLED}),
        (voided, {P.VOIDED}),
        (declined, {P.FAILED}),
    ],
    ids=["authorized", "capturing", "settled", "voided", "failed"],
)
async def test_what_is_said_of_a_sibling_moves_the_sibling_alone(
    house: House, reached: Callable[[House], Awaitable[Payment]], ends: set[PaymentState]
) -> None:
    """Everything a gateway can say, true or stale, of one that holds and one that took money."""
    payment = await reached(house)
    held, taken = sibling_of(house, payment), sibling_of(house, payment)
    house.gateway.transactions.capture(taken, None)

    for booking in (held, taken):
        for status in TransactionStatus:
            await hears(house, payment, replace(await said(house, booking), status=status))
    after = await house.platform.books.payments.get(payment.id)
    await until_undone(house)

    ended = await house.platform.books.payments.get(payment.id)
    assert after.state is payment.state
    assert ended.state in ends
    assert ended.gateway_transaction_id == payment.gateway_transaction_id
    assert (await said(house, held)).status is S.VOIDED
    assert (await said(house, taken)).refunded_amount == payment.amount
    assert (await cases_of(house))[DUPLICATE] == "resolved"


async def unknown(house: House, **action: object) -> Payment:
    """Buy from a gateway that does what it is asked and does not answer."""
    fault = {"match": {"operation": "initiate"}, "action": action}
    await house.gateway_does("faults", **fault)
    payment = await house.buys()
    assert payment.outcome == "unknown" or payment.state is P.PENDING
    return payment


async def test_nothing_is_undone_before_the_payment_has_chosen(house: House) -> None:
    """The first hint voided one of two holds, and the payment then chose that one and failed."""
    payment = await unknown(house, status=503)
    house.fleet.add(VIN, Manner(Behaviour.SILENT))
    first, second = sibling_of(house, payment), sibling_of(house, payment)
    charges = house.platform.payment_processing._charges
    await house.gateway_does("faults", match={"operation": "find"}, action={"status": 503})

    for booking in (first, second):
        await charges.suspect(payment, booking.transaction.id)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await house.database.fetchrow(LOOKED_TWICE, COMPENSATE):
            await house.platform.open_work.run_due()
    still = [one.transaction.status for one in (first, second)]
    house.gateway.faults.delete()
    after = await until_one_is_kept(house, payment)

    assert still == ["authorized", "authorized"]
    assert after.state is P.AUTHORIZED


async def test_two_who_choose_at_once_choose_one(database: Database) -> None:
    """Whoever comes second leaves its transaction to be undone; the database refuses a change.

    Time runs slower here, so that a busy machine does not reach the car's deadline meanwhile.
    """
    async with standing(database, scale=SLOWER) as house:
        await house.car()
        await house.offer_heated_seats()
        payment = await unknown(house, status=503)
        charges, flows = (
            house.platform.payment_processing._charges,
            house.platform.payment_processing._flows,
        )
        told = [await said(house, sibling_of(house, payment)) for _ in range(4)]
        house.fleet.add(VIN, Manner(Behaviour.SILENT))

        await asyncio.gather(
            *(
                charges.authorisation_answered(payment, one, flows.of(payment.type), source="probe")
                for one in told
            )
        )
        await until_undone(house)

        after = await house.platform.books.payments.get(payment.id)
        alive = [one.id for one in told if (await _found(house, one)).status is S.AUTHORIZED]
    assert after.state is P.AUTHORIZED
    assert alive == [after.gateway_transaction_id]


async def _found(house: House, told: GatewayTransaction) -> GatewayTransaction:
    return await said(house, house.gateway.store.booking(told.id))


@pytest.mark.parametrize("status", [S.VOIDED, S.FAILED])
async def test_a_payment_does_not_fail_by_a_dead_sibling(
    house: House, status: TransactionStatus
) -> None:
    """A webhook of the one that ended came first: the payment was Failed, its hold stayed open."""
    payment = await unknown(house, status=503)
    house.fleet.add(VIN, Manner(Behaviour.SILENT))
    living, dead = sibling_of(house, payment), sibling_of(house, payment)
    house.gateway.transactions.void(dead, None)
    told = replace(
        await said(house, dead),
        status=status,
        decline_code="card_declined" if status is S.FAILED else None,
    )

    after = await hears(house, payment, told)

    assert after.state is P.AUTHORIZED
    assert after.gateway_transaction_id == living.transaction.id


async def test_a_decline_after_a_lost_answer_is_not_the_payments_end(house: House) -> None:
    """The first attempt held the funds, so that the second was declined for want of them."""
    house.fleet.add(VIN, Manner(Behaviour.SILENT))
    await house.gateway_does("faults", match={"operation": "initiate", "times": 1},
                             action={"drop_connection_after": True,
                                     "forget_keys_after_seconds": 0.0001})  # fmt: skip
    await house.gateway_does("faults", match={"operation": "initiate", "times": 1},
                             action={"decline_code": "insufficient_funds"})  # fmt: skip

    payment = await house.buys()
    after = await house.until(payment.id, lambda p: p.state is not P.PENDING)

    found = house.gateway.store.with_reference(str(payment.id))
    assert sorted(one.status for one in found) == ["authorized", "failed"]
    assert after.state is P.AUTHORIZED


async def test_a_second_hold_is_found_although_nobody_tells(house: House) -> None:
    """Every webhook of it was lost; the search that the lost answer left behind finds it."""
    house.fleet.add(VIN, Manner(Behaviour.SILENT))
    await house.gateway_does("faults", match={"operation": "initiate", "times": 1},
                             action={"drop_connection_after": True,
                                     "forget_keys_after_seconds": 0.0001})  # fmt: skip

    payment = await house.buys()
    after = await until_one_is_kept(house, payment)

    assert after.state is P.AUTHORIZED
    assert len(house.gateway.store.with_reference(str(payment.id))) == 2


async def test_what_a_payment_lives_by_is_never_undone(house: House) -> None:
    payment = await asleep(house)
    assert payment.gateway_transaction_id is not None

    await house.platform.payment_processing._charges.suspect(
        payment, payment.gateway_transaction_id
    )
    await until_undone(house)

    booking = house.gateway.store.booking(payment.gateway_transaction_id)
    assert (await said(house, booking)).status is S.AUTHORIZED


async def test_what_another_payment_lives_by_is_never_undone(house: House) -> None:
    """A line with our reference and another's transaction would have voided the other's hold."""
    payment = await declined(house)
    house.fleet.add(await house.car("WVWZZZ1JZXW000002"), Manner(Behaviour.SILENT))
    other = await house.buys(vin="WVWZZZ1JZXW000002")
    other = await house.until(other.id, lambda p: p.state is P.AUTHORIZED)
    assert other.gateway_transaction_id is not None

    await house.platform.payment_processing._charges.suspect(payment, other.gateway_transaction_id)
    await until_undone(house)

    booking = house.gateway.store.booking(other.gateway_transaction_id)
    assert (await said(house, booking)).status is S.AUTHORIZED
    assert "gateway_contradiction" in await cases_of(house)


async def test_money_of_a_sibling_that_is_disputed_is_not_refunded_as_well(house: House) -> None:
    payment = await house.settled()
    taken = sibling_of(house, payment)
    house.gateway.transactions.capture(taken, None)
    late_truths = house.platform.payment_processing._settlement._late_truths

    assert await late_truths.hears_of(taken.transaction.id, disputed=True)
    await house.rest()

    assert house.gateway.store.refunds == {}
    assert (await cases_of(house))[NOT_UNDONE] == "open"


async def test_news_of_refunds_and_disputes_is_taken_for_siblings_only(house: House) -> None:
    """The refund of a duplicate is no refund of the payment; its webhook waited for a person."""
    payment = await house.settled()
    taken = sibling_of(house, payment)
    late_truths = house.platform.payment_processing._settlement._late_truths
    assert payment.gateway_transaction_id is not None

    assert await late_truths.hears_of(taken.transaction.id, disputed=False)
    assert not await late_truths.hears_of(payment.gateway_transaction_id, disputed=False)
    assert not await late_truths.hears_of("txn_of_nobody", disputed=False)
