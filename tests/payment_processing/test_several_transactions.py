"""Several transactions of one payment: one is kept, the others are undone, whatever is said.

Fault F-H1. `tests/strangers/test_a_gateway_without_keys.py` lives it among real programs.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from caas.billing_database.connection import Database
from caas.billing_database.payments import Payment
from caas.external_systems.payment_gateway import GatewayTransaction, TransactionStatus
from caas.payment_processing.compensation import DUPLICATE, NOT_UNDONE
from caas.payment_processing.gateway_calls import COMPENSATE
from caas.rules.payment_states import PaymentState
from caas_simulators.gateway_records import Booking, InitiateRequest
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.installation import PATIENCE_SECONDS, VIN, Installation, standing

SLOWER = 100.0
P = PaymentState
S = TransactionStatus
LEFT = "select 1 from jobs where kind = $1"
CASES = "select kind, status from cases"
LOOKED_TWICE = """
select 1 from jobs where kind = $1 and not exists (
  select from jobs o where o.kind = $1 and o.attempts < 2)
"""


async def asleep(installation: Installation) -> Payment:
    """Hold funds for a car that does not answer."""
    installation.fleet.add(VIN, Manner(Behaviour.SILENT))
    return await installation.until(
        (await installation.buys()).id, lambda p: p.state is P.AUTHORIZED
    )


async def capturing(installation: Installation) -> Payment:
    """Capture, and let the bank take its time."""
    return await installation.until(
        (await installation.buys()).id, lambda p: p.state is P.CAPTURING
    )


async def voided(installation: Installation) -> Payment:
    """Void what a car refused."""
    installation.fleet.add(VIN, Manner(Behaviour.REFUSES))
    return await installation.until((await installation.buys()).id, lambda p: p.state is P.VOIDED)


async def declined(installation: Installation) -> Payment:
    """Fail by a decline."""
    return await installation.buys("pm_declined")


def sibling_of(
    installation: Installation, payment: Payment, method: str | None = "pm_ok"
) -> Booking:
    """Let the gateway make another transaction of a payment, as if it ignored our key."""
    asked = InitiateRequest(
        reference=str(payment.id), amount=payment.amount, currency=payment.currency,
        capture="manual", payment_method=method,
    )  # fmt: skip
    return installation.gateway.transactions.initiate(asked)


async def stated(installation: Installation, booking: Booking) -> GatewayTransaction:
    """Return a transaction as the gateway tells it."""
    found = await installation.platform.payment_processing._settlement._gateways.named(
        "contract"
    ).find(booking.transaction.id)
    assert found is not None
    return found


async def hears(
    installation: Installation, payment: Payment, reported: GatewayTransaction
) -> Payment:
    """Let a payment hear the gateway's word, as by a webhook."""
    settlement = installation.platform.payment_processing._settlement
    now = await installation.platform.tables.payments.get(payment.id)
    return await settlement.on_event(now, reported, source="webhook")


async def until_undone(installation: Installation) -> None:
    """Let jobs run until nothing is left to undo, and the bank do its part."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await installation.database.fetchrow(LEFT, COMPENSATE):
            await installation.platform.jobs.run_due()
            await installation.gateway_does("settle")
            await asyncio.sleep(0.005)


async def until_one_is_kept(installation: Installation, payment: Payment) -> Payment:
    """Let jobs run until the gateway holds only what the payment has chosen."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            after = await installation.platform.tables.payments.get(payment.id)
            found = installation.gateway.store.with_reference(str(payment.id))
            alive = [one.id for one in found if one.status == "authorized"]
            if alive == [after.gateway_transaction_id]:
                return after
            await installation.platform.jobs.run_due()
            await asyncio.sleep(0.005)


async def cases_of(installation: Installation) -> dict[str, str]:
    """Return every kind of case, and how it stands."""
    return {row["kind"]: row["status"] for row in await installation.database.fetch(CASES)}


@pytest.mark.parametrize(
    ("reached", "ends"),
    [
        (asleep, {P.AUTHORIZED, P.VOIDED}),  # voided once the car's deadline has passed
        (capturing, {P.CAPTURING, P.SETTLED}),  # settled once the bank was asked about it
        (Installation.settled, {P.SETTLED}),
        (voided, {P.VOIDED}),
        (declined, {P.FAILED}),
    ],
    ids=["authorized", "capturing", "settled", "voided", "failed"],
)
async def test_what_is_said_of_a_sibling_moves_the_sibling_alone(
    installation: Installation,
    reached: Callable[[Installation], Awaitable[Payment]],
    ends: set[PaymentState],
) -> None:
    """Everything a gateway can say, true or stale, of one that holds and one that took money."""
    payment = await reached(installation)
    held, taken = sibling_of(installation, payment), sibling_of(installation, payment)
    installation.gateway.transactions.capture(taken, None)

    for booking in (held, taken):
        for status in TransactionStatus:
            await hears(
                installation, payment, replace(await stated(installation, booking), status=status)
            )
    after = await installation.platform.tables.payments.get(payment.id)
    await until_undone(installation)

    ended = await installation.platform.tables.payments.get(payment.id)
    assert after.state is payment.state
    assert ended.state in ends
    assert ended.gateway_transaction_id == payment.gateway_transaction_id
    assert (await stated(installation, held)).status is S.VOIDED
    assert (await stated(installation, taken)).refunded_amount == payment.amount
    assert (await cases_of(installation))[DUPLICATE] == "resolved"


async def unknown(installation: Installation, **action: object) -> Payment:
    """Buy from a gateway that does what it is asked and does not answer."""
    fault = {"match": {"operation": "initiate"}, "action": action}
    await installation.gateway_does("faults", **fault)
    payment = await installation.buys()
    assert payment.outcome == "unknown" or payment.state is P.PENDING
    return payment


async def test_nothing_is_undone_before_the_payment_has_chosen(installation: Installation) -> None:
    """The first hint voided one of two holds, and the payment then chose that one and failed."""
    payment = await unknown(installation, status=503)
    installation.fleet.add(VIN, Manner(Behaviour.SILENT))
    first, second = sibling_of(installation, payment), sibling_of(installation, payment)
    charges = installation.platform.payment_processing._charges
    await installation.gateway_does("faults", match={"operation": "find"}, action={"status": 503})

    for booking in (first, second):
        await charges.transitions.record_late_outcome(payment, booking.transaction.id)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await installation.database.fetchrow(LOOKED_TWICE, COMPENSATE):
            await installation.platform.jobs.run_due()
    still = [one.transaction.status for one in (first, second)]
    installation.gateway.faults.delete()
    after = await until_one_is_kept(installation, payment)

    assert still == ["authorized", "authorized"]
    assert after.state is P.AUTHORIZED


async def test_two_who_choose_at_once_choose_one(database: Database) -> None:
    """Whoever comes second leaves its transaction to be undone; the database refuses a change.

    Time runs slower here, so that a busy machine does not reach the car's deadline meanwhile.
    """
    async with standing(database, scale=SLOWER) as installation:
        await installation.car()
        await installation.offer_heated_seats()
        payment = await unknown(installation, status=503)
        charges, flows = (
            installation.platform.payment_processing._charges,
            installation.platform.payment_processing._flows,
        )
        reported = [await stated(installation, sibling_of(installation, payment)) for _ in range(4)]
        installation.fleet.add(VIN, Manner(Behaviour.SILENT))

        await asyncio.gather(
            *(
                charges.authorization.authorization_answered(
                    payment, one, flows.of(payment.type), source="probe"
                )
                for one in reported
            )
        )
        await until_undone(installation)

        after = await installation.platform.tables.payments.get(payment.id)
        alive = [
            one.id for one in reported if (await _found(installation, one)).status is S.AUTHORIZED
        ]
    assert after.state is P.AUTHORIZED
    assert alive == [after.gateway_transaction_id]


async def _found(installation: Installation, reported: GatewayTransaction) -> GatewayTransaction:
    return await stated(installation, installation.gateway.store.booking(reported.id))


@pytest.mark.parametrize("status", [S.VOIDED, S.FAILED])
async def test_a_payment_does_not_fail_by_a_dead_sibling(
    installation: Installation, status: TransactionStatus
) -> None:
    """A webhook of the one that ended came first: the payment was Failed, its hold stayed open."""
    payment = await unknown(installation, status=503)
    installation.fleet.add(VIN, Manner(Behaviour.SILENT))
    living, dead = sibling_of(installation, payment), sibling_of(installation, payment)
    installation.gateway.transactions.void(dead, None)
    reported = replace(
        await stated(installation, dead),
        status=status,
        decline_code="card_declined" if status is S.FAILED else None,
    )

    after = await hears(installation, payment, reported)

    assert after.state is P.AUTHORIZED
    assert after.gateway_transaction_id == living.transaction.id


async def test_a_decline_after_a_lost_answer_is_not_the_payments_end(
    installation: Installation,
) -> None:
    """The first attempt held the funds, so that the second was declined for want of them."""
    installation.fleet.add(VIN, Manner(Behaviour.SILENT))
    await installation.gateway_does("faults", match={"operation": "initiate", "times": 1},
                             action={"drop_connection_after": True,
                                     "forget_keys_after_seconds": 0.0001})  # fmt: skip
    await installation.gateway_does("faults", match={"operation": "initiate", "times": 1},
                             action={"decline_code": "insufficient_funds"})  # fmt: skip

    payment = await installation.buys()
    after = await installation.until(payment.id, lambda p: p.state is not P.PENDING)

    found = installation.gateway.store.with_reference(str(payment.id))
    assert sorted(one.status for one in found) == ["authorized", "failed"]
    assert after.state is P.AUTHORIZED


async def test_a_second_hold_is_found_although_nobody_tells(installation: Installation) -> None:
    """Every webhook of it was lost; the search that the lost answer left behind finds it."""
    installation.fleet.add(VIN, Manner(Behaviour.SILENT))
    await installation.gateway_does("faults", match={"operation": "initiate", "times": 1},
                             action={"drop_connection_after": True,
                                     "forget_keys_after_seconds": 0.0001})  # fmt: skip

    payment = await installation.buys()
    after = await until_one_is_kept(installation, payment)

    assert after.state is P.AUTHORIZED
    assert len(installation.gateway.store.with_reference(str(payment.id))) == 2


async def test_what_a_payment_lives_by_is_never_undone(installation: Installation) -> None:
    payment = await asleep(installation)
    assert payment.gateway_transaction_id is not None

    await installation.platform.payment_processing._charges.transitions.record_late_outcome(
        payment, payment.gateway_transaction_id
    )
    await until_undone(installation)

    booking = installation.gateway.store.booking(payment.gateway_transaction_id)
    assert (await stated(installation, booking)).status is S.AUTHORIZED


async def test_what_another_payment_lives_by_is_never_undone(database: Database) -> None:
    """A line with our reference and another's transaction would have voided the other's hold.

    Time passes as it does, for the other's own hold is voided when its vehicle is silent for long.
    """
    async with standing(database, scale=1.0) as installation:
        await installation.car()
        await installation.offer_heated_seats()
        payment = await declined(installation)
        installation.fleet.add(
            await installation.car("WVWZZZ1JZXW000002"), Manner(Behaviour.SILENT)
        )
        other = await installation.buys(vin="WVWZZZ1JZXW000002")
        other = await installation.until(other.id, lambda p: p.state is P.AUTHORIZED)
        assert other.gateway_transaction_id is not None

        await installation.platform.payment_processing._charges.transitions.record_late_outcome(
            payment, other.gateway_transaction_id
        )
        await until_undone(installation)

        booking = installation.gateway.store.booking(other.gateway_transaction_id)
        assert (await stated(installation, booking)).status is S.AUTHORIZED
        assert "gateway_contradiction" in await cases_of(installation)


async def test_money_of_a_sibling_that_is_disputed_is_not_refunded_as_well(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    taken = sibling_of(installation, payment)
    installation.gateway.transactions.capture(taken, None)
    compensation = installation.platform.payment_processing._settlement._compensation

    assert await compensation.on_report("contract", taken.transaction.id, disputed=True)
    await installation.rest()

    assert installation.gateway.store.refunds == {}
    assert (await cases_of(installation))[NOT_UNDONE] == "open"


async def test_news_of_refunds_and_disputes_is_taken_for_siblings_only(
    installation: Installation,
) -> None:
    """The refund of a duplicate is no refund of the payment; its webhook waited for a person."""
    payment = await installation.settled()
    taken = sibling_of(installation, payment)
    compensation = installation.platform.payment_processing._settlement._compensation
    assert payment.gateway_transaction_id is not None

    assert await compensation.on_report("contract", taken.transaction.id, disputed=False)
    assert not await compensation.on_report(
        "contract", payment.gateway_transaction_id, disputed=False
    )
    assert not await compensation.on_report("contract", "txn_of_nobody", disputed=False)
