"""The cases fail on a gateway, and on an adapter, that does one thing wrong."""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from caas.external_systems.contract_adapter import CONTRACT_ADAPTER
from caas.external_systems.gateway_adapters import (
    ConfiguredGateway,
    GatewayAdapter,
    GatewayContext,
)
from caas.external_systems.http_answers import OutcomeUnknownError, RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    GatewayEvent,
    GatewayTransaction,
    PaymentGateway,
    TransactionRequest,
    TransactionStatus,
)
from caas.external_systems.webhook_signatures import VerifiedWebhook
from caas_lab.conformance.cases import Verdict
from caas_lab.conformance.gateway_runner import GATEWAY_CASES, GatewayTerms, run_gateway_cases
from caas_simulators.http_server import Answer, Handler, Request, json_answer
from tests.external_systems.conformance.simulated import contract_terms, later_terms
from tests.external_systems.decisions import decided

Changed = Callable[[Handler], Handler]
QUICKLY = 2.0
"""How long is waited for what a broken gateway never does."""


async def verdicts(terms: GatewayTerms, names: Sequence[str]) -> dict[str, Verdict]:
    """What came of these cases."""
    cases = [case for case in GATEWAY_CASES if case.name in names]
    assert len(cases) == len(names)
    report = await run_gateway_cases(replace(terms, seconds_max=QUICKLY), cases=cases)
    return {result.name: result.verdict for result in report.cases}


def body_of(answer: Answer) -> dict[str, Any]:
    """The JSON of an answer."""
    body: dict[str, Any] = msgspec.json.decode(answer.body)
    return body


def done(handler: Handler, request: Request) -> Answer:
    """The simulator's answer: without a scripted fault it comes at once."""
    answer = handler(request)
    assert isinstance(answer, Answer)
    return answer


def ignores_keys(handler: Handler) -> Handler:
    def handle(request: Request) -> Answer | Awaitable[Answer | None]:
        if b"idempotency-key" in request.headers:
            request.headers[b"idempotency-key"] = secrets.token_hex(16).encode()
        return handler(request)

    return handle


def captures_twice(handler: Handler) -> Handler:
    def handle(request: Request) -> Answer | Awaitable[Answer | None]:
        answer = done(handler, request)
        if request.path.endswith("/capture") and answer.status == 409:
            request.method, request.path = "GET", request.path.removesuffix("/capture")
            request.body = b""
            return done(handler, request)
        return answer

    return handle


def approves_what_was_declined(handler: Handler) -> Handler:
    def handle(request: Request) -> Answer | Awaitable[Answer | None]:
        request.body = request.body.replace(b"pm_declined", b"pm_ok")
        return handler(request)

    return handle


def voids_what_was_captured(handler: Handler) -> Handler:
    def handle(request: Request) -> Answer | Awaitable[Answer | None]:
        answer = done(handler, request)
        if request.path.endswith("/void") and answer.status == 409:
            request.method, request.path = "GET", request.path.removesuffix("/void")
            request.body = b""
            reported = body_of(done(handler, request))
            return json_answer(200, {**reported, "status": "voided", "captured_amount": 0})
        return answer

    return handle


def keeps_pages_open(handler: Handler) -> Handler:
    def handle(request: Request) -> Answer | Awaitable[Answer | None]:
        waits = b'"status":"requires_action"'
        if request.path.endswith("/void"):
            request.method, request.path = "GET", request.path.removesuffix("/void")
            answer = done(handler, request)
            return replace(answer, body=answer.body.replace(waits, b'"status":"voided"'))
        if request.body == b"action=leave":
            return Answer(303)
        return handler(request)

    return handle


def loses_references(handler: Handler) -> Handler:
    def handle(request: Request) -> Answer | Awaitable[Answer | None]:
        if request.path == "/transactions" and request.method == "GET":
            return json_answer(200, {"data": []})
        return handler(request)

    return handle


def refunds_without_end(handler: Handler) -> Handler:
    def handle(request: Request) -> Answer | Awaitable[Answer | None]:
        answer = done(handler, request)
        if request.path.endswith("/refund") and answer.status >= 400:
            reported = {"id": "re_1", "transaction_id": request.path.split("/")[2], "amount": 2,
                    "status": "pending"}  # fmt: skip
            return json_answer(201, {**reported, "amount": body_of_request(request)["amount"]})
        return answer

    return handle


def body_of_request(request: Request) -> dict[str, Any]:
    """The JSON that was sent."""
    body: dict[str, Any] = msgspec.json.decode(request.body)
    return body


def counts_wrongly(handler: Handler) -> Handler:
    def handle(request: Request) -> Answer | Awaitable[Answer | None]:
        answer = done(handler, request)
        if request.path != "/settlements":
            return answer
        reported = body_of(answer)
        return json_answer(200, {**reported, "gross_total": reported["gross_total"] + 1})

    return handle


def lets_everybody_in(handler: Handler) -> Handler:
    def handle(request: Request) -> Answer | Awaitable[Answer | None]:
        request.headers[b"authorization"] = b"Bearer sk_test_conformance"
        return handler(request)

    return handle


BROKEN_SERVERS: Mapping[str, tuple[Changed, tuple[str, ...]]] = {
    "ignores keys": (
        ignores_keys,
        (
            "the_same_key_initiates_once", "the_same_key_many_times_at_once_initiates_once",
            "the_same_key_declines_once", "the_same_key_refunds_once",
            "the_same_key_for_another_amount_is_no_second_transaction",
            "the_same_key_captures_once", "a_request_whose_answer_was_lost_is_not_made_twice",
            "a_capture_whose_answer_was_lost_is_done_once",
            "a_refund_whose_answer_was_lost_is_done_once",
        ),
    ),
    "captures twice": (
        captures_twice,
        (
            "a_second_capture_is_refused_as_already_captured",
            "a_void_gives_the_funds_back_and_no_capture_follows",
            "an_authorization_that_expired_cannot_be_captured",
        ),
    ),
    "approves what was declined": (
        approves_what_was_declined, ("a_decline_is_reported_with_its_code_and_stays_reported",
                                     "the_same_key_declines_once", "a_decline_is_reported"),
    ),
    "voids what was captured": (
        voids_what_was_captured, ("a_captured_charge_cannot_be_voided",)
    ),
    "keeps pages open": (
        keeps_pages_open, ("a_page_that_is_left_and_voided_charges_nobody",)
    ),
    "loses references": (
        loses_references,
        (
            "what_was_initiated_is_found_by_its_reference",
            "a_request_whose_answer_was_lost_is_unknown_and_found",
            "an_error_that_is_repeated_for_a_key_hides_no_transaction",
            "a_page_that_is_paid_is_authorized",
        ),
    ),
    "refunds without end": (
        refunds_without_end,
        ("no_more_is_refunded_than_was_captured", "nothing_is_refunded_that_was_not_captured"),
    ),
    "counts wrongly": (
        counts_wrongly, ("the_report_shows_what_was_captured_and_adds_up",)
    ),
    "lets everybody in": (
        lets_everybody_in, ("it_is_reached_with_our_credentials_only",)
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN_SERVERS)
async def test_a_broken_server_is_found(fault: str) -> None:
    changed, failing = BROKEN_SERVERS[fault]

    async with contract_terms(changed) as terms:
        found = await verdicts(terms, failing)

    assert found == dict.fromkeys(failing, Verdict.FAILED)


class AcceptsEverything:
    """A verifier that verifies nothing."""

    signed_headers = ("webhook-id", "webhook-timestamp", "webhook-signature")

    def verify(self, body: bytes, headers: Mapping[str, str], *, now: datetime) -> VerifiedWebhook:
        del body, headers
        return VerifiedWebhook("evt", now)


class Wrapped:
    """The adapter of the contract, but for what a test changes."""

    def __init__(self, inner: PaymentGateway) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class TakesSilenceForADecline(Wrapped):
    async def initiate(self, request: TransactionRequest, *, key: str) -> GatewayTransaction:
        try:
            return await self.inner.initiate(request, key=key)
        except OutcomeUnknownError as error:
            return GatewayTransaction(
                id="none", reference=request.reference, status=TransactionStatus.FAILED,
                amount=request.amount, currency=request.currency, decline_code="card_declined",
                created_at=datetime.now(UTC), hosted_page_url=error.detail or None,
            )  # fmt: skip


class TakesSilenceForARefusal(Wrapped):
    async def capture(self, transaction_id: str, amount: int, *, key: str) -> GatewayTransaction:
        try:
            return decided(await self.inner.capture(transaction_id, amount, key=key))
        except OutcomeUnknownError as error:
            raise RefusedByPartnerError(
                partner=error.partner, call=error.call, status=500, refusal="error", problem=""
            ) from error


class TakesAcceptedForDone(Wrapped):
    async def capture(self, transaction_id: str, amount: int, *, key: str) -> GatewayTransaction:
        await self.inner.capture(transaction_id, amount, key=key)
        found = await self.inner.find(transaction_id)
        assert found is not None
        return replace(found, status=TransactionStatus.CAPTURING, captured_amount=amount)


class DoesNotSayWhyNot(Wrapped):
    async def capture(self, transaction_id: str, amount: int, *, key: str) -> GatewayTransaction:
        try:
            return decided(await self.inner.capture(transaction_id, amount, key=key))
        except AlreadyCapturedError as error:
            raise OSError("409") from error


def with_gateway(wrapped: type[Wrapped]) -> GatewayAdapter:
    def configure(environment: Mapping[str, str]) -> ConfiguredGateway:
        configured = CONTRACT_ADAPTER.configure(environment)

        def connect(context: GatewayContext) -> PaymentGateway:
            return wrapped(configured.connect(context))

        return replace(configured, connect=connect)

    return GatewayAdapter(configure=configure)


def with_parts(**parts: Any) -> GatewayAdapter:
    def configure(environment: Mapping[str, str]) -> ConfiguredGateway:
        return replace(CONTRACT_ADAPTER.configure(environment), **parts)

    return GatewayAdapter(configure=configure)


def reads_junk(body: bytes) -> GatewayEvent | None:
    """Every body is an event of another id."""
    event = GatewayEvent(
        id=secrets.token_hex(8), type="transaction.settled", occurred_at=datetime.now(UTC),
        subject=GatewayTransaction(
            id="txn", reference="pay", status=TransactionStatus.SETTLED, amount=1, currency="EUR"
        ),
    )  # fmt: skip
    try:
        return CONTRACT_ADAPTER.configure(ANY).read_event(body)
    except ValueError:
        return event


ANY = {
    "CAAS_GATEWAY_URL": "http://127.0.0.1:1",
    "CAAS_GATEWAY_API_KEY": "sk",
    "CAAS_GATEWAY_WEBHOOK_SECRETS": "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldyE=",
}


def elsewhere(address: str) -> GatewayAdapter:
    """An adapter that knows where its gateway is, whatever the settings say."""

    def configure(environment: Mapping[str, str]) -> ConfiguredGateway:
        return CONTRACT_ADAPTER.configure({**environment, "CAAS_GATEWAY_URL": address})

    return GatewayAdapter(configure=configure)


BROKEN_ADAPTERS: Mapping[str, tuple[GatewayAdapter, tuple[str, ...]]] = {
    "accepts unsigned webhooks": (
        with_parts(verifier=AcceptsEverything()),
        ("what_is_wrongly_signed_is_refused", "a_webhook_of_long_ago_is_refused"),
    ),
    "reads junk": (with_parts(read_event=reads_junk), ("junk_is_never_an_event",)),
    "takes silence for a decline": (
        with_gateway(TakesSilenceForADecline),
        (
            "a_request_that_never_arrived_is_unknown_and_can_be_repeated",
            "a_request_whose_answer_was_lost_is_unknown_and_found",
            "an_error_that_is_repeated_for_a_key_hides_no_transaction",
        ),
    ),
    "takes silence for a refusal": (
        with_gateway(TakesSilenceForARefusal), ("a_capture_whose_answer_was_lost_is_done_once",),
    ),
    "does not say why not": (
        with_gateway(DoesNotSayWhyNot), ("a_second_capture_is_refused_as_already_captured",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN_ADAPTERS)
async def test_a_broken_adapter_is_found(fault: str) -> None:
    adapter, failing = BROKEN_ADAPTERS[fault]

    async with contract_terms() as terms:
        found = await verdicts(replace(terms, adapter=adapter), failing)

    assert found == dict.fromkeys(failing, Verdict.FAILED)


async def test_an_adapter_that_takes_accepted_for_done_is_found() -> None:
    names = [
        "a_second_capture_is_refused_as_already_captured",
        "a_void_gives_the_funds_back_and_no_capture_follows",
        "an_authorization_that_expired_cannot_be_captured",
    ]

    async with later_terms() as terms:
        adapter = with_gateway(TakesAcceptedForDone)
        found = await verdicts(replace(terms, adapter=adapter), names)

    assert found == dict.fromkeys(names, Verdict.FAILED)


async def test_an_adapter_that_does_not_use_its_address_cannot_be_tried_with_time_outs() -> None:
    name = "a_request_whose_answer_was_lost_is_not_made_twice"

    async with contract_terms() as terms:
        address = terms.environment["CAAS_GATEWAY_URL"]
        found = await verdicts(replace(terms, adapter=elsewhere(address)), [name])

    assert found == {name: Verdict.FAILED}


async def test_what_is_declared_as_missing_is_excused_and_makes_the_payments_unsafe() -> None:
    names = ["it_is_safe_for_every_payment_type", "what_was_initiated_is_found_by_its_reference"]
    declared = {"CAAS_GATEWAY_LOOKUP_BY_REFERENCE": "no", "CAAS_GATEWAY_KEY_LIFETIME": "none"}

    async with contract_terms(loses_references) as terms:
        environment = {**terms.environment, **declared}
        found = await verdicts(replace(terms, environment=environment), names)

    assert found == {names[0]: Verdict.FAILED, names[1]: Verdict.EXCUSED}


async def test_what_the_sandbox_cannot_do_is_not_tried_and_has_not_passed() -> None:
    name = "an_authorization_that_expired_cannot_be_captured"

    async with contract_terms() as terms:
        methods = msgspec.structs.replace(terms.methods, sandbox={})
        found = await verdicts(replace(terms, methods=methods), [name])

    assert found == {name: Verdict.NOT_TRIED}
