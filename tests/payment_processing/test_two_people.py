"""Two people decide an outcome that no lookup can end (decision 3): who, when, what follows.

The gateway hangs up after it was asked and cannot be looked up in these tests, so that a payment's
outcome stays unknown until somebody decides.
"""

import asyncio

import asyncpg
import pytest

from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.dual_control import (
    DecisionPendingError,
    NoteRefusedError,
    NothingProposedError,
    SamePersonError,
)
from caas.payment_processing.unknown_outcomes import OutcomeKnownError
from caas.rules.payment_states import PaymentState
from tests.house import House
from tests.people import employed

ANA, BEA, EVA = "ana@caas.example", "bea@caas.example", "eva@caas.example"
WORD = "The gateway wrote on Monday that it has no such transaction; ticket 4711."


async def unknown(house: House) -> Payment:
    """Let a payment be asked for behind a gateway that never answers any more."""
    await house.gateway_does("faults", match={"operation": "any"}, action={"status": 503})
    payment = await house.buys()
    return await house.until(payment.id, lambda now: now.outcome == "unknown")


async def test_two_people_decide_that_nobody_was_charged(house: House) -> None:
    payment = await unknown(house)
    desk = house.platform.payment_processing.two_people

    await desk.propose(payment.id, note=WORD, by=await employed(house.database, ANA))
    await desk.agree(payment.id, by=await employed(house.database, BEA))
    decided = await house.until(payment.id, lambda now: now.state is PaymentState.FAILED)

    status = await house.platform.payment_processing.query_payment_status(payment.id)
    assert decided.outcome == "known"
    assert status.events[-1].event == "Operators decide not charged"
    assert status.events[-1].facts == {
        "proposed_by": ANA, "agreed_by": BEA, "note": WORD, "decline_code": decided.decline_code,
    }  # fmt: skip
    assert [one.state for one in await desk.of(payment.id)] == ["agreed"]


async def test_nobody_decides_alone(house: House) -> None:
    payment = await unknown(house)
    desk = house.platform.payment_processing.two_people
    await desk.propose(payment.id, note=WORD, by=await employed(house.database, ANA))

    with pytest.raises(SamePersonError):
        await desk.agree(payment.id, by=await employed(house.database, ANA))

    assert (await house.platform.books.payments.get(payment.id)).state is PaymentState.PENDING


async def test_the_database_refuses_one_person_who_is_both(house: House) -> None:
    payment = await unknown(house)
    ana = await employed(house.database, ANA)
    await house.platform.payment_processing.two_people.propose(payment.id, note=WORD, by=ana)

    with pytest.raises(asyncpg.CheckViolationError, match="two people decide"):
        await house.database.fetch(
            "update outcome_decisions set state = 'agreed', decided_by = 'somebody else',"
            " decided_account = $1, decided_at = db_now()",
            ana.account,
        )


async def test_two_who_agree_at_once_decide_once(house: House) -> None:
    payment = await unknown(house)
    desk = house.platform.payment_processing.two_people
    await desk.propose(payment.id, note=WORD, by=await employed(house.database, ANA))

    answers = await asyncio.gather(
        desk.agree(payment.id, by=await employed(house.database, BEA)),
        desk.agree(payment.id, by=await employed(house.database, EVA)),
        return_exceptions=True,
    )

    assert sum(isinstance(answer, NothingProposedError) for answer in answers) == 1
    await house.until(payment.id, lambda now: now.state is PaymentState.FAILED)


async def test_what_became_known_meanwhile_is_not_decided(house: House) -> None:
    payment = await unknown(house)
    desk = house.platform.payment_processing.two_people
    await desk.propose(payment.id, note=WORD, by=await employed(house.database, ANA))
    house.gateway.faults.delete()
    await house.until(payment.id, lambda now: now.outcome == "known")

    with pytest.raises(OutcomeKnownError):
        await desk.agree(payment.id, by=await employed(house.database, BEA))
    with pytest.raises(OutcomeKnownError):
        await house.platform.payment_processing.probe_now(payment.id)

    await desk.withdraw(payment.id, by=await employed(house.database, BEA))
    assert [one.state for one in await desk.of(payment.id)] == ["withdrawn"]


async def test_a_proposal_needs_words_and_waits_for_one_answer(house: House) -> None:
    payment = await unknown(house)
    desk = house.platform.payment_processing.two_people

    for note in (" ", "4111 1111 1111 1111", "x" * 1001):
        with pytest.raises(NoteRefusedError):
            await desk.propose(payment.id, note=note, by=await employed(house.database, ANA))
    await desk.propose(payment.id, note=WORD, by=await employed(house.database, ANA))
    with pytest.raises(DecisionPendingError):
        await desk.propose(payment.id, note=WORD, by=await employed(house.database, BEA))
    with pytest.raises(NothingProposedError):
        await desk.withdraw(new_id(), by=await employed(house.database, BEA))


async def test_a_probe_that_somebody_asks_for_finds_what_became_of_it(house: House) -> None:
    payment = await unknown(house)
    house.gateway.faults.delete()

    await house.platform.payment_processing.probe_now(payment.id)
    after = await house.until(payment.id, lambda now: now.outcome == "known")

    assert after.state is PaymentState.FAILED
