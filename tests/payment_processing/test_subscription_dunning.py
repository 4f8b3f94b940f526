"""A patient market: further charges and days of grace, as its policy says (decision 25)."""

import pytest

from caas.billing_database.connection import Database
from caas.rules.mes_vencido import Month
from caas.rules.payment_failures import (
    AMOUNT_REFUSALS,
    AMOUNT_TOO_SMALL,
    Cancel,
    ChargeAgain,
    DunningPolicy,
    after_decline,
)
from caas.rules.payment_states import PaymentState
from caas.rules.subscription_states import SubscriptionState
from tests.subscription_installation import SubscriptionInstallation, standing


async def charges_of(installation: SubscriptionInstallation, count: int) -> list[PaymentState]:
    """Let days pass until a month was charged so often, and every charge has ended."""
    (subscription,) = await installation.subscriptions.subscriptions()
    invoice = await installation.invoice_of(subscription)

    async def look() -> list[PaymentState] | None:
        states = [
            one.state for one in await installation.tables.payments.listed(subject=invoice.id)
        ]
        ended = len(states) >= count and PaymentState.PENDING not in states
        if not ended and PaymentState.PENDING not in states:
            await installation.days_pass(1)
        return states if ended else None

    return await installation._until(look)


def test_the_default_is_the_seeds_rule() -> None:
    assert after_decline(DunningPolicy(), 1) == Cancel(0)


def test_a_policy_is_followed_decline_by_decline() -> None:
    policy = DunningPolicy(retry_after_days=(3, 7), grace_days=2)

    followed = [after_decline(policy, declines) for declines in (1, 2, 3, 4)]

    assert followed == [ChargeAgain(3), ChargeAgain(7), Cancel(2), Cancel(2)]


@pytest.mark.parametrize("policy", [{"retry_after_days": (1,) * 9}, {"grace_days": -1}])
def test_a_policy_without_an_end_is_refused(policy: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="retries"):
        DunningPolicy(**policy)  # type: ignore[arg-type]


async def test_a_second_charge_may_save_the_subscription(database: Database) -> None:
    async with standing(database, dunning=DunningPolicy((3,))) as installation:
        await installation.car()
        await installation.offer()
        subscription = await installation.active()
        await installation.gateway_does(
            "faults",
            match={"operation": "initiate", "times": 1},
            action={"decline_code": "insufficient_funds"},
        )

        invoice = await installation.billed(subscription)
        states = await charges_of(installation, 2)
        letter = await installation.until_told(f"Invoice {invoice.full_number}")

        after = await installation.subscriptions.subscription(subscription.id)
        assert sorted(states) == [PaymentState.CAPTURING, PaymentState.FAILED]
        assert after.state is SubscriptionState.ACTIVE
        assert (await installation.invoice_of(subscription)).state == "paid"
        assert letter.recipient == "ana@example.com"
        assert any("not completed" in one for one in installation.letterbox.subjects)


async def test_when_every_charge_is_declined_the_subscription_is_cancelled(
    database: Database,
) -> None:
    async with standing(database, dunning=DunningPolicy((1, 1))) as installation:
        await installation.car()
        await installation.offer()
        subscription = await installation.active()
        await installation.from_now_on(decline_code="card_declined")

        await installation.billed(subscription)
        states = await charges_of(installation, 3)
        await installation.until(subscription.id, lambda s: s.state is SubscriptionState.CANCELLED)

        assert states == [PaymentState.FAILED] * 3
        assert (await installation.invoice_of(subscription)).state == "written off"


@pytest.mark.parametrize("refusal", sorted(AMOUNT_REFUSALS))
async def test_a_month_that_the_gateway_does_not_charge_is_written_off_and_ends_nothing(
    database: Database, refusal: str
) -> None:
    """It was sent again for ever, each time with the same refusal."""
    async with standing(database) as installation:
        await installation.car()
        await installation.offer()
        subscription = await installation.active()
        await installation.from_now_on(status=422, code=refusal)

        invoice = await installation.billed(subscription)
        payment = await installation.charged(invoice)
        await installation.until_paid(payment.id, lambda p: p.state is PaymentState.FAILED)
        await installation.faults_end()
        await installation.rest()
        next_month = await installation.billed(subscription)
        paid = await installation.charged(next_month)

        after = await installation.subscriptions.subscription(subscription.id)
        assert (payment.state, payment.decline_code) == (PaymentState.FAILED, refusal)
        assert [case.kind for case in await installation.tables.cases.listed()] == (
            [] if refusal == AMOUNT_TOO_SMALL else ["amount_refused"]
        )
        month = await installation.platform.billing.run(Month.parse(invoice.month or ""))
        too_small = await installation.platform.billing.too_small([month])
        assert too_small == ({month.month: 1} if refusal == AMOUNT_TOO_SMALL else {})
        assert after.state is SubscriptionState.ACTIVE
        assert (await installation.invoices.get(invoice.id)).state == "written off"
        assert len(await installation.tables.payments.listed(subject=invoice.id)) == 1
        assert paid.state is PaymentState.CAPTURING


async def test_the_service_stays_on_for_the_days_of_grace(database: Database) -> None:
    async with standing(database, dunning=DunningPolicy((), 10)) as installation:
        await installation.car()
        await installation.offer()
        subscription = await installation.active()
        await installation.from_now_on(decline_code="card_declined")

        invoice = await installation.billed(subscription)
        await installation.charged(invoice)
        in_grace = await installation.subscriptions.subscription(subscription.id)
        await installation.days_pass(10)
        await installation.until(subscription.id, lambda s: s.deactivated_at is not None)

        assert in_grace.state is SubscriptionState.ACTIVE
        assert (await installation.invoice_of(subscription)).state == "written off"
        assert any("Payment for" in one for one in installation.letterbox.subjects)
