"""What the gateway made is looked up before it is asked for again or contradicted."""

import asyncio

import asyncpg

from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refunds
from caas.external_systems.payment_gateway import GatewayRefund, PaymentGateway, RefundStatus
from caas.rules.payment_states import PaymentState
from tests.installation import PATIENCE_SECONDS, Installation
from tests.payment_processing.test_refunds import ask_back

SUCCEEDED = RefundStatus.SUCCEEDED
BLOCKED = "select count(*) from pg_locks where not granted and relation = 'caas.payments'::regclass"


def gateway_of(installation: Installation) -> PaymentGateway:
    """The gateway as the platform asks it."""
    return installation.platform.payment_processing.refunds._calls._gateways.named("contract")


async def at_gateway(installation: Installation, payment: Payment) -> list[int]:
    """The refunds that the gateway has not failed."""
    assert payment.gateway_transaction_id is not None
    reported = await gateway_of(installation).find_refunds(payment.gateway_transaction_id)
    return sorted(one.amount for one in reported if one.status is not RefundStatus.FAILED)


async def refund_fault(installation: Installation, times: int, **action: object) -> None:
    """Let the next refunds at the gateway go wrong."""
    await installation.gateway_does(
        "faults", match={"operation": "refund", "times": times}, action=action
    )


async def contradictions(installation: Installation, payment: Payment) -> list[str]:
    """The open cases of a payment that hold its refunds back."""
    listed = await installation.platform.tables.cases.listed(subject=payment.id)
    return [case.sentence for case in listed if case.kind == "refund_contradiction"]


async def from_elsewhere(
    installation: Installation, payment: Payment, amount: int
) -> GatewayRefund:
    """Let somebody refund at the gateway's own console."""
    assert payment.gateway_transaction_id is not None
    await gateway_of(installation).refund(
        payment.gateway_transaction_id, amount, "console", key="console"
    )
    await installation.gateway_does("settle")
    found = await gateway_of(installation).find_refunds(payment.gateway_transaction_id)
    return next(one for one in found if one.amount == amount)


async def test_a_webhook_between_a_refund_and_its_answer_is_no_contradiction(
    installation: Installation,
) -> None:
    """It read no id, the answer wrote it, and it then found no refund that waits for one."""
    payment = await installation.settled()
    await refund_fault(installation, 9, status=503)
    refund = await ask_back(installation, payment, 1299)
    assert (refund.state, refund.gateway_refund_id) == ("sent", None)
    reported = GatewayRefund(
        id="re_1",
        transaction_id=payment.gateway_transaction_id or "",
        amount=1299,
        status=SUCCEEDED,
    )
    await installation.platform.tables.cases.open(
        "refund_contradiction", payment.id, "It was told too early.", facts={"refund": "re_1"}
    )
    owner = await asyncpg.connect(installation.database.dsn)
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute("lock table caas.payments in access exclusive mode")

    webhook = asyncio.create_task(
        installation.platform.payment_processing.refunds.on_event("contract", reported)
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await owner.fetchval(BLOCKED):
            await asyncio.sleep(0.005)
    await owner.execute("update caas.refunds set gateway_refund_id = 're_1'")
    await transaction.commit()
    await webhook
    await owner.close()

    assert await contradictions(installation, payment) == []
    assert (
        await installation.platform.tables.payments.get(payment.id)
    ).state is PaymentState.REFUNDED


async def test_a_refund_that_was_made_although_refused_goes_out_once(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    await refund_fault(installation, 1, status=422, apply_first=True)

    await ask_back(installation, payment, 500)
    now = await installation.until(payment.id, lambda p: p.refunded_amount == 500)

    [refund] = await Refunds(installation.database).of_payment(payment.id)
    assert (refund.state, now.state) == ("succeeded", PaymentState.SETTLED)
    assert await at_gateway(installation, payment) == [500]


async def test_a_refund_that_failed_and_was_made_after_all_is_not_sent_again(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    await refund_fault(installation, 1, status=422)
    first = await ask_back(installation, payment, 500)
    assert first.state == "failed"
    await from_elsewhere(installation, payment, 500)

    again = await ask_back(installation, payment, 500, "again")
    await installation.until(payment.id, lambda p: p.refunded_amount == 500)

    assert (await Refunds(installation.database).get(again.id)).state == "succeeded"  # type: ignore[union-attr]
    assert await at_gateway(installation, payment) == [500]


async def test_closing_the_case_releases_no_refund_beyond_what_the_gateway_gave_back(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    reported = await from_elsewhere(installation, payment, 700)
    await installation.platform.payment_processing.refunds.on_event("contract", reported)
    cases = installation.platform.tables.cases
    [case] = await cases.listed(subject=payment.id)
    await cases.resolve(case.id, resolution="Looked.", owner="Ana")

    held = await ask_back(installation, payment, 500)
    await installation.rest()
    assert (await Refunds(installation.database).get(held.id)).state == "waiting"  # type: ignore[union-attr]
    assert len(await contradictions(installation, payment)) == 1
    assert await at_gateway(installation, payment) == [700]


async def test_a_refund_that_was_made_elsewhere_is_taken_into_the_books_by_asking_for_it(
    installation: Installation,
) -> None:
    payment = await installation.settled()
    reported = await from_elsewhere(installation, payment, 700)
    refunds = installation.platform.payment_processing.refunds
    await refunds.on_event("contract", reported)
    [case] = await installation.platform.tables.cases.listed(subject=payment.id)
    await installation.platform.tables.cases.resolve(case.id, resolution="Looked.", owner="Ana")
    await refunds.on_event("contract", reported)

    await ask_back(installation, payment, 700)
    await installation.until(payment.id, lambda p: p.refunded_amount == 700)
    await ask_back(installation, payment, 599, "rest")
    await installation.until(payment.id, lambda p: p.state is PaymentState.REFUNDED)

    assert await contradictions(installation, payment) == []
    assert await at_gateway(installation, payment) == [599, 700]
