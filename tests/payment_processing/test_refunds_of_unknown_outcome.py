"""A refund whose outcome is unknown: nothing is refunded beside it, and nothing owed is lost."""

import aiohttp
import pytest

from caas import dual_control
from caas.billing_database.decisions import RefundWish, refund_decisions
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund, Refunds
from caas.payment_processing.refund_requests import RefundUnknownError
from caas.rules.payment_states import PaymentState
from tests.installation import Installation
from tests.payment_processing.test_refunds import ask_back
from tests.people import employed

AMOUNT = 400


async def lost_from_sight(installation: Installation, payment: Payment) -> Refund:
    """Refund a part of it, of which no answer comes and which cannot be looked up."""
    await installation.gateway_does(
        "faults", match={"operation": "refund"}, action={"drop_connection_after": True}
    )
    await installation.gateway_does("faults", match={"operation": "find"}, action={"status": 503})
    refund = await ask_back(installation, payment, AMOUNT)
    assert (refund.state, refund.outcome) == ("sent", "unknown")
    return refund


async def faults_end(installation: Installation) -> None:
    """Let the gateway be well again."""
    async with (
        aiohttp.ClientSession() as session,
        session.delete(f"{installation.gateway_url}/_control/faults") as answer,
    ):
        assert answer.ok, await answer.text()


async def test_beside_an_unknown_refund_who_asks_is_refused_and_what_is_owed_waits(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    processing = installation.platform.payment_processing
    first = await lost_from_sight(installation, payment)

    with pytest.raises(RefundUnknownError) as refused:
        await ask_back(installation, payment, AMOUNT, "another")
    with pytest.raises(RefundUnknownError):
        await processing.credited_refunds.check(
            payment.id, amount=AMOUNT, reason="goodwill", term="keep"
        )
    same = await ask_back(installation, payment, AMOUNT)
    promised = await processing.promise_refund(
        payment.id, amount=500, reason="promised", key="owed", requested_by="platform"
    )
    meanwhile = await Refunds(installation.database).of_payment(payment.id)
    await faults_end(installation)
    known = await installation.until(payment.id, lambda it: it.refunded_amount == AMOUNT + 500)

    assert str(first.id) in refused.value.sentence
    assert refused.value.facts["refund"] == str(first.id)
    assert refused.value.facts["amount"] == AMOUNT
    assert (same.id, same.outcome, promised) == (first.id, "unknown", None)
    assert [it.id for it in meanwhile] == [first.id]
    assert known.state is PaymentState.SETTLED
    assert (await ask_back(installation, payment, 100, "another")).state in {"sent", "succeeded"}


async def test_two_people_decide_nothing_beside_an_unknown_refund(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    investigation = installation.platform.payment_processing.refund_operations
    bea, eva = [
        await employed(installation.database, f"{name}@example.com") for name in ("bea", "eva")
    ]
    async with installation.database.transaction() as connection:
        await refund_decisions(installation.database).write(
            payment_id=payment.id, amount=AMOUNT, reason="goodwill", term=None,
            note="They called.", by=bea, within=connection,
        )  # fmt: skip
    await lost_from_sight(installation, payment)

    with pytest.raises(RefundUnknownError):
        await investigation.agree(payment.id, by=eva)
    still = await investigation.proposed(payment.id)
    with pytest.raises(RefundUnknownError):
        await investigation.decide(
            payment.id, RefundWish(100, "goodwill", "keep"), note="They called.", by=bea
        )
    await investigation.withdraw(payment.id, by=bea)

    assert still is not None
    with pytest.raises(dual_control.NothingProposedError):
        await investigation.withdraw(payment.id, by=bea)
    assert len(await Refunds(installation.database).of_payment(payment.id)) == 1
