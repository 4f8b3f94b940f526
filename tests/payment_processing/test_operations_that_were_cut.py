"""An operation of several requests, or of a process that was frozen, was not sent only if none was.

A provider answers the first request and refuses the connection of the second; a process sleeps
while another one takes its payment over.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from dataclasses import dataclass
from uuid import UUID

import pytest

from caas import payment_processing
from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCalls
from caas.external_systems.http import HttpClient
from caas.external_systems.http_answers import (
    HttpAnswer,
    NotSentError,
    OutcomeUnknownError,
    TooManyRequestsError,
    UnknownReason,
)
from caas.external_systems.payment_gateway import GatewayTransaction, TransactionRequest
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.payment_processing.gateway_calls import AUTHORIZE, AuditedGateway
from caas.rules.payment_states import PaymentState, Remark
from tests.external_systems.test_adyen_gateway import BY_PAGE, answer_of, asked, link
from tests.installation import Installation
from tests.payment_processing.test_gateway_routes import TO_TWIN, calls, changes, stocked
from tests.two_gateways import CONTRACT, STRIPE, TWIN, TwoGateways, two_gateways


@pytest.fixture
async def at(database: Database) -> AsyncIterator[TwoGateways]:
    """The gateways, before any payment."""
    async with two_gateways(database) as opened:
        yield opened


@dataclass
class Outage:
    """A provider that cannot be reached any more once it has answered a request."""

    after: str
    begun: bool = False
    over: bool = False

    def reaches(self, call: str) -> None:
        """Refuse the connection during the outage."""
        if self.begun and not self.over:
            raise NotSentError(partner="gateway", call=call, cause="ConnectionRefusedError")


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Outage]:
    """Let an outage begin after the first request that begins so."""
    send = HttpClient.send

    def begins_after(call: str) -> Outage:
        outage = Outage(call)

        async def sent(client: HttpClient, method: str, target: str, **more: object) -> HttpAnswer:
            outage.reaches(f"{method} {target}")
            answer = await send(client, method, target, **more)  # type: ignore[arg-type]
            outage.begun |= f"{method} {target}".startswith(outage.after)
            return answer

        monkeypatch.setattr(HttpClient, "send", sent)
        return outage

    return begins_after


async def test_a_page_that_was_made_and_not_read_is_in_doubt(
    database: Database, outage: Callable[[str], Outage]
) -> None:
    """Adyen had a payment link; the payment moved to another gateway, which opened a page too."""
    outage("POST /v71/paymentLinks")
    with pytest.raises(OutcomeUnknownError, match="POST /v71/paymentLinks had arrived before"):
        await asked(
            lambda it: AuditedGateway(it, GatewayCalls(database)).initiate(BY_PAGE, key="k"),
            answer_of(link(), "201 Created"),
        )

    [call] = await database.fetch("select operation, outcome from gateway_calls")
    assert tuple(call) == ("initiate", "unknown")


async def test_an_operation_of_which_nothing_was_sent_is_known(
    database: Database, outage: Callable[[str], Outage]
) -> None:
    outage("").begun = True

    with pytest.raises(NotSentError):
        await asked(
            lambda it: AuditedGateway(it, GatewayCalls(database)).initiate(BY_PAGE, key="k")
        )


@pytest.mark.parametrize("method", ["pm_card_threeDSecure2Required", "pm_card_visa_chargeDeclined"])
async def test_an_intent_that_stripe_confirmed_is_never_called_unsent(
    at: TwoGateways, outage: Callable[[str], Outage], method: str
) -> None:
    """It waited for its cardholder at Stripe, and the payment was Failed by 'Never sent'."""
    ends = outage("POST /v1/payment_intents")
    async with at.installed(STRIPE, TWIN, routes=TO_TWIN) as installation:
        await stocked(installation)

        payment = await installation.buys(method)
        assert (payment.state, payment.outcome) == (PaymentState.PENDING, "unknown")

        ends.over = True
        after = await installation.until(payment.id, lambda p: p.outcome == "known")
        assert after.gateway == STRIPE
        assert "Never sent" not in await events(installation, payment.id)
        assert after.hosted_page_url or after.state is PaymentState.FAILED
        assert not await changes(installation, payment)


async def events(installation: Installation, payment: UUID) -> list[str]:
    """Return the events of a payment, in order."""
    return [it.event for it in await installation.platform.tables.payments.timeline(payment)]


@pytest.mark.parametrize("first", ["turned away", "unknown"])
async def test_what_was_turned_away_goes_elsewhere_and_what_may_have_arrived_does_not(
    at: TwoGateways, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """The gateway answered the first attempt 429, and refused the connection of the second."""
    call, made = SeedContractGateway.initiate, []

    async def limited(
        gateway: SeedContractGateway, request: TransactionRequest, *, key: str
    ) -> GatewayTransaction:
        made.append(gateway.name)
        if len(made) == 1 and first == "turned away":
            raise TooManyRequestsError(partner="gateway", call="POST", retry_after_seconds=1.0)
        if len(made) == 1:
            raise OutcomeUnknownError(partner="gateway", call="POST", reason=UnknownReason.CUT)
        if gateway.name == CONTRACT:
            raise NotSentError(partner="gateway", call="POST", cause="ConnectionRefusedError")
        return await call(gateway, request, key=key)

    async with at.installed(CONTRACT, TWIN, routes=TO_TWIN) as installation:
        await stocked(installation)
        monkeypatch.setattr(SeedContractGateway, "initiate", limited)

        payment = await installation.buys(None)

        assert (payment.state, payment.outcome) == (
            PaymentState.PENDING, "known" if first == "turned away" else "unknown",
        )  # fmt: skip
        if first == "turned away":
            assert payment.gateway == TWIN
            assert payment.hosted_page_url is not None
            assert await calls(installation, payment) == [
                (CONTRACT, "turned away"), (CONTRACT, "not sent"), (TWIN, "answered"),
            ]  # fmt: skip
        else:
            assert payment.gateway == CONTRACT
            assert TWIN not in made


async def test_a_process_that_was_frozen_puts_nothing_back_to_unsent(
    at: TwoGateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process had sent the payment and lost the answer; this one's connection failed."""
    call = SeedContractGateway.initiate
    answers: list[GatewayTransaction] = []

    async def overtaken(
        gateway: SeedContractGateway, request: TransactionRequest, *, key: str
    ) -> GatewayTransaction:
        if not answers:
            other = asyncio.create_task(call(gateway, request, key=key), context=Context())
            answers.append(await other)
            charges = installation.platform.payment_processing._charges
            payment = await installation.platform.tables.payments.get(UUID(request.reference))
            await charges.transitions.leave_unknown(payment, AUTHORIZE, "the answer was lost")
        raise NotSentError(partner="gateway", call="POST", cause="TimeoutError")

    async with at.installed(CONTRACT) as installation:
        await stocked(installation)
        monkeypatch.setattr(SeedContractGateway, "initiate", overtaken)
        monkeypatch.setattr(payment_processing, "SYNCHRONOUS_PATIENCE_SECONDS", 0.0)  # it slept

        payment = await installation.buys()

        assert payment.outcome == "unknown"
        waiting = await at.database.fetch(
            "select kind from jobs where subject = $1 and kind = 'authorize'", payment.id
        )
        assert waiting == []
        await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
        assert Remark.OUTCOME_UNKNOWN in await events(installation, payment.id)
