"""Card issuers' warnings of fraud: a case with what can be done, and no money moved."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.external_systems.gateway_fraud_warnings import FraudWarning
from caas.external_systems.http_answers import (
    GatewayFailure,
    OutcomeUnknownError,
    UnknownReason,
)
from caas.jobs import Answer, Done, RetryIn
from caas.payment_processing.fraud_warnings import (
    AFTER_FAILURE_SECONDS,
    CHECK_FRAUD_WARNINGS,
    EVERY_SECONDS,
    FRAUD_WARNING,
    FraudWarnings,
)
from caas.rules.payment_states import PaymentState
from tests.installation import Installation, standing
from tests.payment_processing.test_gateway_routes import pays


@dataclass
class Issuer:
    """A gateway that lists these warnings."""

    name: str = "contract"
    warned: list[str] = field(default_factory=list)
    fails: GatewayFailure | None = None

    async def fraud_warnings(self, since: datetime) -> tuple[FraudWarning, ...]:
        assert since.tzinfo is not None
        if self.fails is not None:
            raise self.fails
        return tuple(
            FraudWarning(id=f"issfr_{at}", transaction_id=it, reason="made_with_stolen_card")
            for at, it in enumerate(self.warned)
        )


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a car and a service on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


async def checked(installation: Installation, *gateways: Issuer) -> RetryIn:
    """Let the hourly job run for the last of these gateways."""
    platform = installation.platform
    warnings = FraudWarnings(
        tables=platform.tables, gateways=gateways, alert=platform.notifications.alert
    )
    await warnings.begin()
    name = gateways[-1].name
    job = Job(
        kind=CHECK_FRAUD_WARNINGS, subject=derived_id("fraud warnings", name),
        payload={"gateway": name}, attempts=1, fence=1,
    )  # fmt: skip
    answer = await warnings._check(job)
    assert isinstance(answer, RetryIn)
    return answer


async def captured(installation: Installation) -> Payment:
    """A captured payment."""
    payment = await installation.buys()
    return await installation.until(payment.id, lambda it: it.state is PaymentState.CAPTURING)


async def test_a_warning_is_a_case_of_its_payment_and_only_one(installation: Installation) -> None:
    payment = await captured(installation)
    issuer = Issuer(warned=[payment.gateway_transaction_id or ""])

    answers = [await checked(installation, issuer) for _ in range(2)]

    [case] = await installation.platform.tables.cases.listed(status=None, subject=payment.id)
    after = await installation.platform.tables.payments.get(payment.id)
    assert case.kind == "fraud_warning"
    assert "made_with_stolen_card" in case.sentence
    assert "Refund it from its page" in case.sentence
    assert (after.state, after.refunded_amount) == (PaymentState.CAPTURING, 0)
    assert [it.due_in for it in answers] == [EVERY_SECONDS] * 2


async def test_a_warning_about_what_is_over_or_not_ours_is_no_case(
    installation: Installation,
) -> None:
    await installation.gateway_does(
        "faults", match={"operation": "initiate"}, action={"decline_code": "card_declined"}
    )
    failed = await installation.buys()
    failed = await installation.until(failed.id, lambda it: it.state is PaymentState.FAILED)

    await checked(installation, Issuer(warned=[failed.gateway_transaction_id or "", "pi_other"]))

    kinds = {it.kind for it in await installation.platform.tables.cases.listed(status=None)}
    assert "fraud_warning" not in kinds


async def test_a_gateway_that_does_not_answer_is_asked_again_soon(
    installation: Installation,
) -> None:
    silent = OutcomeUnknownError(partner="x", call="GET", reason=UnknownReason.TIMED_OUT)

    answer = await checked(installation, Issuer(fails=silent))

    assert answer.due_in == AFTER_FAILURE_SECONDS
    assert answer.because is not None


async def warned(
    installation: Installation, payment: Payment, *, attempts: int = 1, by: str | None = None
) -> Answer:
    """Let a webhook warn of a payment, at the given attempt of its job."""
    platform = installation.platform
    warnings = FraudWarnings(
        tables=platform.tables, gateways=(), alert=platform.notifications.alert
    )
    transaction = by or payment.gateway_transaction_id or ""
    warning = FraudWarning(
        id="w1", transaction_id=transaction, reason="reported_by_issuer", reference=str(payment.id)
    )
    return await warnings.on_event("contract", warning, attempts)


async def cases_of(installation: Installation, payment: Payment) -> list[str]:
    """The sentences of a payment's cases of warnings."""
    listed = installation.platform.tables.cases.listed
    return [it.sentence for it in await listed(status=None, subject=payment.id, kind=FRAUD_WARNING)]


@pytest.mark.parametrize("amount", [100, None])
async def test_a_warning_during_a_refund_is_a_case_if_money_is_left_and_waits_if_not(
    installation: Installation, amount: int | None
) -> None:
    """It was dropped for good, so that the rest was not given back before the chargeback."""
    payment = await captured(installation)
    await installation.gateway_does("settle")
    await installation.until(payment.id, lambda it: it.state is PaymentState.SETTLED)
    await installation.gateway_does("faults", match={"operation": "refund"}, action={"status": 503})
    await installation.platform.payment_processing.refund_payment(
        payment.id, amount=amount or payment.amount, reason="goodwill", key="k1",
        requested_by="operations", term=None if amount else "keep",
    )  # fmt: skip
    payment = await installation.until(payment.id, lambda it: it.state is PaymentState.REFUNDING)

    answer = await warned(installation, payment)

    if amount is None:
        assert isinstance(answer, RetryIn)
        assert await cases_of(installation, payment) == []
    else:
        assert answer == Done()
        [sentence] = await cases_of(installation, payment)
        assert "Refund the rest from its page" in sentence


async def test_a_warning_before_the_payments_own_report_waits_for_it(
    installation: Installation,
) -> None:
    payment = await installation.buys(None)
    assert payment.state is PaymentState.PENDING

    early = [await warned(installation, payment, by="later", attempts=at) for at in (1, 50)]
    await pays(payment)
    payment = await installation.until(payment.id, lambda it: it.state is PaymentState.CAPTURING)
    late = await warned(installation, payment)

    assert all(isinstance(it, RetryIn) for it in early)
    assert late == Done()
    assert len(await cases_of(installation, payment)) == 1


async def test_a_warning_of_an_unknown_payment_is_tried_for_a_while(
    installation: Installation,
) -> None:
    warnings = FraudWarnings(
        tables=installation.platform.tables, gateways=(),
        alert=installation.platform.notifications.alert,
    )  # fmt: skip
    foreign = FraudWarning(id="w1", transaction_id="pi_other", reason="misc", reference="no uuid")

    first, last = [await warnings.on_event("contract", foreign, at) for at in (1, 10)]

    assert isinstance(first, RetryIn)
    assert last == Done()
