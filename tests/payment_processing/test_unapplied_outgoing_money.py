"""News about outgoing money that could not be applied holds back every payment that it names.

A dispute of a transaction that nobody knows, of an id that another payment has, or that names two
payments, was a job with an error; the refund of the payment it named went out as well.
"""

import hashlib
import json
from datetime import timedelta
from typing import Final

import pytest

from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.billing_database.webhook_inbox import Incoming, WebhookInbox
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.outgoing_money import APPLY_WEBHOOK
from caas.payment_processing.refund_requests import RefundMustWaitError
from tests.installation import VIN, Installation
from tests.payment_processing.test_cancelled_sales import broken
from tests.payment_processing.test_money_that_contradicts import refunds_of, until
from tests.payment_processing.test_refunds import ask_back

CASES_OF: Final = "select kind from cases where subject = $1 and status = 'open' order by kind"
KIND: Final = "update jobs set kind = $1 where kind = $2"
RESOLVE: Final = """
update cases set status = 'resolved', resolution = 'DiscrepancyFilter the bank.', owner = 'Ana',
       resolved_at = db_now() where subject = $1
"""


async def settled_two(installation: Installation) -> tuple[Payment, Payment]:
    """Sell two services, each for a vehicle of its own."""
    first = await installation.settled()
    second = await installation.buys(vin=await installation.car(f"{VIN[:-1]}2"))
    await installation.until(second.id, lambda p: p.state == "Capturing")
    await installation.gateway_does("settle")
    return first, await installation.until(second.id, lambda p: p.state == "Settled")


async def reported(
    installation: Installation,
    type_: str,
    reference: Payment,
    transaction: str,
    *,
    name: str = "dsp_1",
) -> None:
    """Let a webhook of the gateway come, and leave it in the inbox."""
    event = f"evt_{new_id().hex}"
    body = {
        "id": event,
        "type": type_,
        "occurred_at": "2026-11-28T10:00:00.000Z",
        "data": {
            "id": name,
            "reference": str(reference.id),
            "transaction_id": transaction,
            "amount": 1299,
            "currency": "EUR",
            "status": type_.partition(".")[2],
            "created_at": "2026-11-28T10:00:00.000Z",
        },
    }
    text = json.dumps(body)
    digest = hashlib.sha256(text.encode()).digest()
    await WebhookInbox(installation.database).store(
        Incoming(gateway="contract", event_id=event, body_hash=digest, body=text,
                 job_kind=APPLY_WEBHOOK)
    )  # fmt: skip


async def open_cases(installation: Installation, payment: Payment) -> list[str]:
    """The kinds of the open cases of a payment."""
    return [row["kind"] for row in await installation.database.fetch(CASES_OF, payment.id)]


async def applied(installation: Installation) -> None:
    """Let the inbox be worked off."""

    async def none_left() -> bool:
        return not await installation.database.fetch(
            "update jobs set due_at = db_now() where kind = 'apply_webhook' returning subject"
        )

    await until(installation, none_left)


async def waits(installation: Installation, payment: Payment, why: str) -> None:
    """Nothing of a payment is refunded."""
    with pytest.raises(RefundMustWaitError, match=why):
        await ask_back(installation, payment, 1299)


async def test_a_dispute_of_an_unknown_transaction_holds_back_the_payment_it_refers_to(
    installation: Installation,
) -> None:
    payment, other = await settled_two(installation)
    await reported(installation, "dispute.lost", payment, "txn_of_nobody_here")
    await waits(installation, payment, "not been applied")
    await ask_back(installation, other, 1)
    await installation.database.fetch(KIND, "unknown", APPLY_WEBHOOK)
    assert await broken(installation) == ["obligations_have_a_job"]
    await installation.database.fetch(KIND, APPLY_WEBHOOK, "unknown")

    await applied(installation)
    assert await open_cases(installation, payment) == ["dispute_contradiction"]
    await waits(installation, payment, "dispute_contradiction")
    await installation.database.fetch(RESOLVE, payment.id)
    assert await broken(installation) == []


async def test_a_dispute_of_two_payments_is_a_case_of_both_and_no_error(
    installation: Installation,
) -> None:
    """Its id was told of another payment, or its reference is another's than its transaction."""
    first, second = await settled_two(installation)
    await reported(installation, "dispute.opened", first, first.gateway_transaction_id or "")
    await applied(installation)

    await reported(installation, "dispute.lost", second, second.gateway_transaction_id or "")
    await applied(installation)
    known = [await open_cases(installation, one) for one in (first, second)]
    await waits(installation, second, "dispute_contradiction")
    for one in (first, second):
        await installation.database.fetch(RESOLVE, one.id)
    await reported(
        installation, "dispute.lost", first, second.gateway_transaction_id or "", name="dsp_2"
    )
    await applied(installation)

    assert known == [["dispute_contradiction"], ["dispute_contradiction"]]
    assert [await open_cases(installation, one) for one in (first, second)] == known
    disputes = [await Disputes(installation.platform.tables).of(one) for one in (first, second)]
    assert [[one.state for one in it] for it in disputes] == [["opened"], []]
    await waits(installation, second, "dispute_contradiction")
    assert await broken(installation) == []


async def test_a_refund_of_two_payments_is_a_case_of_both(installation: Installation) -> None:
    first, second = await settled_two(installation)

    await reported(
        installation, "refund.succeeded", first, second.gateway_transaction_id or "", name="ref_1"
    )
    await applied(installation)

    for one in (first, second):
        assert await open_cases(installation, one) == ["refund_contradiction"]
        await waits(installation, one, "refund_contradiction")


async def test_a_refund_that_waits_for_news_goes_out_when_it_was_followed(
    installation: Installation,
) -> None:
    first, second = await settled_two(installation)
    again = await installation.buys(vin=await installation.car(f"{VIN[:-1]}3"))
    again = await installation.until(
        again.id, lambda p: p.state == "Capturing" and p.outcome == "known"
    )
    waiting = await ask_back(installation, again, 100)
    await reported(installation, "dispute.won", again, again.gateway_transaction_id or "")
    later = "update jobs set due_at = db_now() + $1 where kind = 'apply_webhook'"
    await installation.database.fetch(later, timedelta(hours=1))
    await installation.gateway_does("settle")
    await installation.until(again.id, lambda p: p.state == "Settled")
    await installation.rest()
    [held] = [one for one in await refunds_of(installation, again) if one.id == waiting.id]
    assert held.state == "waiting"

    await installation.database.fetch(later, timedelta())
    done = await installation.until(again.id, lambda p: p.refunded_amount > 0)

    assert (done.refunded_amount, len({first.id, second.id})) == (100, 2)
