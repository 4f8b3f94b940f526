"""What a customer withdrew from is theirs, however a bank's dispute of it goes on.

A lost dispute took the money, so the withdrawal paid nothing; when the bank turned the dispute in
our favour, the money came back and nobody owed it any more: the price of a thing that was given
back was kept.
"""

import itertools
from collections.abc import Sequence
from typing import Any, Final

import aiohttp

from caas.billing_database.invariants import INVARIANTS
from caas.billing_database.payments import Payment
from caas.payment_processing.disputes import Disputes
from caas.rules.payment_states import PaymentState
from tests.installation import Installation
from tests.payment_processing.test_money_that_contradicts import (
    LOST,
    OPENED,
    WON,
    refunds_of,
    reports,
    until,
)

WORDS: Final = {"opened": (OPENED, 1), "lost": (LOST, 2), "won": (WON, 3), "lost again": (LOST, 4),
                "won again": (WON, 5)}  # fmt: skip
KNOWN: Final = (
    ("opened", "won"), ("opened", "lost"), ("opened", "lost", "won"), ("lost", "won"),
    ("lost", "won", "lost again", "won again"),
)  # fmt: skip
KIND: Final = "update jobs set kind = $1 where kind = $2 returning subject"
DUE: Final = "select due_at <= db_now() as due from jobs where kind = 'refund'"


def orders(words: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every order of a dispute's words, the withdrawal and the bank's settlement."""
    every = itertools.permutations((*words, "withdrawn", "settled"))
    return [one for one in every if [it for it in one if it in words] == list(words)]


CASES: Final = [
    (order, amount) for words in KNOWN for order in orders(words) for amount in (1299, 500)
][::3]


def vin(number: int) -> str:
    """A vehicle of its own for each order."""
    return f"WVWZZZ1JZXW{number:06d}"


async def happens(installation: Installation, payment: Payment, what: str, amount: int) -> None:
    """Let one thing come."""
    if what == "withdrawn":
        await withdraws(installation, payment)
    elif what == "settled":
        await installation.gateway_does("settle", reference=str(payment.id))
        await installation.until(payment.id, lambda p: p.state is not PaymentState.CAPTURING)
    else:
        status, minute = WORDS[what]
        await reports(installation, payment, status, amount, minute=minute, name=f"dp_{payment.id}")


async def withdraws(installation: Installation, payment: Payment) -> None:
    """Withdraw from the service of a payment."""
    await installation.platform.payment_processing.withdraw_from_service(
        payment.subject, requested_by="customer"
    )


async def all_goes_out(installation: Installation) -> None:
    """Let every refund that nothing stands in the way of go out and end."""

    async def gone() -> bool:
        return not await installation.database.fetch(
            "select from jobs where kind in ('refund', 'promised_refund')"
        )

    await until(installation, gone)


async def at_gateway(installation: Installation, payment: Payment) -> int:
    """What the gateway has refunded of a payment."""
    url = f"{installation.gateway_url}/_control/ledger?reference={payment.id}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        reported: dict[str, Any] = await answer.json()
    return sum(int(one["refunded"]) for one in reported["transactions"])


async def broken(installation: Installation) -> list[str]:
    """The invariants that do not hold."""
    return [
        invariant.name
        for invariant in INVARIANTS
        if await installation.database.fetch(invariant.query)
    ]


async def bought(installation: Installation, number: int) -> Payment:
    """Sell a service for a vehicle of its own; the bank has not confirmed."""
    payment = await installation.buys(vin=await installation.car(vin(number)))
    return await installation.until(
        payment.id, lambda p: p.state is PaymentState.CAPTURING and p.outcome == "known"
    )


async def test_a_withdrawn_service_is_paid_back_in_every_order_of_its_dispute(
    installation: Installation,
) -> None:
    lives = []
    for number, (order, amount) in enumerate(CASES):
        payment = await bought(installation, number)
        for what in order:
            await happens(installation, payment, what, amount)
        lives.append((payment, order, amount))
    await all_goes_out(installation)

    forgotten = await broken(installation)
    for payment, order, amount in lives:
        now = await installation.platform.tables.payments.get(payment.id)
        [dispute] = await Disputes(installation.platform.tables).of(payment)
        sums = (
            now.refunded_amount,
            await at_gateway(installation, payment),
            1299 - now.disputed_amount,
        )
        assert len(set(sums)) == 1, (order, amount, sums)
        lost = amount if dispute.state == "lost" else 0
        assert now.disputed_amount + dispute.excess * (lost > 0) == lost, (order, amount)
    assert forgotten == []


async def test_withdrawing_again_pays_what_came_back_and_no_more(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    await reports(installation, payment, LOST, 500, minute=1)
    await withdraws(installation, payment)
    await all_goes_out(installation)
    await reports(installation, payment, WON, 500, minute=2)

    for _ in range(3):
        await withdraws(installation, payment)
    await all_goes_out(installation)
    await withdraws(installation, payment)

    assert sorted(one.amount for one in await refunds_of(installation, payment)) == [500, 799]
    assert await at_gateway(installation, payment) == 1299


async def test_what_a_person_settled_is_not_paid_by_a_reversal(installation: Installation) -> None:
    """A refund failed, and was paid in another way; only what the bank gave back goes out."""
    payment = await installation.settled("pm_refund_fails")
    await reports(installation, payment, LOST, 500, minute=1)
    await withdraws(installation, payment)
    await all_goes_out(installation)

    await reports(installation, payment, WON, 500, minute=2)
    await all_goes_out(installation)

    assert sorted((one.amount, one.state) for one in await refunds_of(installation, payment)) == [
        (500, "failed"), (799, "failed"),
    ]  # fmt: skip


async def test_the_law_sees_what_a_bank_gave_back_of_a_withdrawal(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    await reports(installation, payment, LOST, minute=1)
    await withdraws(installation, payment)
    await all_goes_out(installation)
    await reports(installation, payment, WON, minute=2)
    held = await broken(installation)

    promises = await installation.database.fetch(
        "update jobs set kind = 'unknown' where kind = 'promised_refund' returning subject"
    )
    lost = await broken(installation)
    await installation.database.fetch(
        "update jobs set kind = 'promised_refund' where kind = 'unknown'"
    )

    assert (held, len(promises), lost) == ([], 1, ["obligations_have_a_job"])


async def test_what_a_bank_held_when_a_refund_ended_a_service_is_paid_back(
    installation: Installation,
) -> None:
    """The rest was refunded and the service ended; the dispute was reversed, and 800 was kept."""
    tables, lives = installation.platform.tables, []
    for number, amount in enumerate((499, 200)):
        payment = await bought(installation, number)
        await happens(installation, payment, "settled", 0)
        await happens(installation, payment, "lost", 800)
        await installation.platform.payment_processing.refund_payment(
            payment.id, amount=amount, reason="goodwill", key="one", requested_by="ana", term="end"
        )
        await all_goes_out(installation)
        lives.append((payment, 800 + amount))

    for payment, _ in lives:
        await happens(installation, payment, "won", 800)
    promised = await installation.database.fetch(KIND, "unknown", "promised_refund")
    forgotten = await broken(installation)
    await installation.database.fetch(KIND, "promised_refund", "unknown")
    await all_goes_out(installation)

    for payment, back in lives:
        assert (await tables.payments.get(payment.id)).refunded_amount == back
        assert await at_gateway(installation, payment) == back
    assert (len(promised), forgotten, await broken(installation)) == (
        2,
        ["obligations_have_a_job"],
        [],
    )


async def test_what_a_person_kept_of_an_ended_service_stays_kept(
    installation: Installation,
) -> None:
    """The dispute came after the decision, and nothing of it is owed when it is won."""
    payment = await bought(installation, 1)
    await happens(installation, payment, "settled", 0)
    await installation.platform.payment_processing.refund_payment(
        payment.id, amount=200, reason="goodwill", key="one", requested_by="ana", term="end"
    )
    await all_goes_out(installation)

    for word in ("lost", "won"):
        await happens(installation, payment, word, 800)
    await all_goes_out(installation)

    assert await at_gateway(installation, payment) == 200
    assert await broken(installation) == []


async def test_a_settlement_wakes_the_refund_that_waits_for_it(installation: Installation) -> None:
    payment = await bought(installation, 1)
    await withdraws(installation, payment)
    [waits] = await installation.database.fetch(DUE)
    assert not waits["due"]

    await installation.gateway_does("settle", reference=str(payment.id))
    await installation.until(payment.id, lambda p: p.state is not PaymentState.CAPTURING)

    after = await installation.until(payment.id, lambda p: p.refunded_amount > 0)
    assert after.refunded_amount == 1299


async def test_a_refund_is_woken_also_while_a_worker_looks_at_it(
    installation: Installation,
) -> None:
    """Whoever looked before the settlement puts nothing off; its lease kept others away."""
    payment = await bought(installation, 1)
    await withdraws(installation, payment)
    work = installation.platform.tables.jobs
    [waiting] = await installation.database.fetch("select subject from jobs where kind = 'refund'")
    await work.postpone("refund", waiting["subject"], due_in=0.0)
    [looks] = (await work.claim(["refund"], lease_seconds=3600)).jobs

    await installation.gateway_does("settle", reference=str(payment.id))
    await installation.until(payment.id, lambda p: p.state is not PaymentState.CAPTURING)
    await work.reschedule(looks, due_in=3600, because="the bank has not confirmed yet")

    after = await installation.until(payment.id, lambda p: p.refunded_amount > 0)
    assert after.refunded_amount == 1299
