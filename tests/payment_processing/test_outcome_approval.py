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
from tests.installation import Installation
from tests.people import employed

ANA, BEA, EVA = "ana@caas.example", "bea@caas.example", "eva@caas.example"
WORD = "The gateway wrote on Monday that it has no such transaction; ticket 4711."


async def unknown(installation: Installation) -> Payment:
    """Let a payment be asked for behind a gateway that never answers any more."""
    await installation.gateway_does("faults", match={"operation": "any"}, action={"status": 503})
    payment = await installation.buys()
    return await installation.until(payment.id, lambda now: now.outcome == "unknown")


async def test_two_people_decide_that_nobody_was_charged(installation: Installation) -> None:
    payment = await unknown(installation)
    investigation = installation.platform.payment_processing.outcome_approval

    await investigation.propose(
        payment.id, note=WORD, by=await employed(installation.database, ANA)
    )
    await investigation.agree(payment.id, by=await employed(installation.database, BEA))
    decided = await installation.until(payment.id, lambda now: now.state is PaymentState.FAILED)

    status = await installation.platform.payment_processing.query_payment_status(payment.id)
    assert decided.outcome == "known"
    assert status.events[-1].event == "Operators decide not charged"
    assert status.events[-1].facts == {
        "proposed_by": ANA, "agreed_by": BEA, "note": WORD, "decline_code": decided.decline_code,
    }  # fmt: skip
    assert [one.state for one in await investigation.of(payment.id)] == ["agreed"]


async def test_nobody_decides_alone(installation: Installation) -> None:
    payment = await unknown(installation)
    investigation = installation.platform.payment_processing.outcome_approval
    await investigation.propose(
        payment.id, note=WORD, by=await employed(installation.database, ANA)
    )

    with pytest.raises(SamePersonError):
        await investigation.agree(payment.id, by=await employed(installation.database, ANA))

    assert (
        await installation.platform.tables.payments.get(payment.id)
    ).state is PaymentState.PENDING


async def test_the_database_refuses_one_person_who_is_both(installation: Installation) -> None:
    payment = await unknown(installation)
    ana = await employed(installation.database, ANA)
    await installation.platform.payment_processing.outcome_approval.propose(
        payment.id, note=WORD, by=ana
    )

    with pytest.raises(asyncpg.CheckViolationError, match="two people decide"):
        await installation.database.fetch(
            "update outcome_decisions set state = 'agreed', decided_by = 'somebody else',"
            " decided_account = $1, decided_at = db_now()",
            ana.account,
        )


async def test_two_who_agree_at_once_decide_once(installation: Installation) -> None:
    payment = await unknown(installation)
    investigation = installation.platform.payment_processing.outcome_approval
    await investigation.propose(
        payment.id, note=WORD, by=await employed(installation.database, ANA)
    )

    answers = await asyncio.gather(
        investigation.agree(payment.id, by=await employed(installation.database, BEA)),
        investigation.agree(payment.id, by=await employed(installation.database, EVA)),
        return_exceptions=True,
    )

    assert sum(isinstance(answer, NothingProposedError) for answer in answers) == 1
    await installation.until(payment.id, lambda now: now.state is PaymentState.FAILED)


async def test_what_became_known_meanwhile_is_not_decided(installation: Installation) -> None:
    payment = await unknown(installation)
    investigation = installation.platform.payment_processing.outcome_approval
    await investigation.propose(
        payment.id, note=WORD, by=await employed(installation.database, ANA)
    )
    installation.gateway.faults.delete()
    await installation.until(payment.id, lambda now: now.outcome == "known")

    with pytest.raises(OutcomeKnownError):
        await investigation.agree(payment.id, by=await employed(installation.database, BEA))
    with pytest.raises(OutcomeKnownError):
        await installation.platform.payment_processing.unknown_outcomes.probe_now(payment.id)

    await investigation.withdraw(payment.id, by=await employed(installation.database, BEA))
    assert [one.state for one in await investigation.of(payment.id)] == ["withdrawn"]


async def test_a_proposal_needs_words_and_waits_for_one_answer(installation: Installation) -> None:
    payment = await unknown(installation)
    investigation = installation.platform.payment_processing.outcome_approval

    for note in (" ", "4111 1111 1111 1111", "x" * 1001):
        with pytest.raises(NoteRefusedError):
            await investigation.propose(
                payment.id, note=note, by=await employed(installation.database, ANA)
            )
    await investigation.propose(
        payment.id, note=WORD, by=await employed(installation.database, ANA)
    )
    with pytest.raises(DecisionPendingError):
        await investigation.propose(
            payment.id, note=WORD, by=await employed(installation.database, BEA)
        )
    with pytest.raises(NothingProposedError):
        await investigation.withdraw(new_id(), by=await employed(installation.database, BEA))


async def test_a_probe_that_somebody_asks_for_finds_what_became_of_it(
    installation: Installation,
) -> None:
    payment = await unknown(installation)
    installation.gateway.faults.delete()

    await installation.platform.payment_processing.unknown_outcomes.probe_now(payment.id)
    after = await installation.until(payment.id, lambda now: now.outcome == "known")

    assert after.state is PaymentState.FAILED
