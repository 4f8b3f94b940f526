"""The gateway that the cases are run against: an adapter, connected as the settings say.

Rules a change must keep: references and keys are new in each run, for a real gateway remembers; the
cases ask through the port only.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from caas.external_systems.gateway_adapters import (
    ConfiguredGateway,
    GatewayAdapter,
    GatewayContext,
)
from caas.external_systems.gateway_modifications import AcceptedRequest, GatewayRefusal
from caas.external_systems.http_answers import (
    GatewayFailure,
    OutcomeUnknownError,
    RefusedByPartnerError,
)
from caas.external_systems.payment_gateway import (
    CaptureMode,
    GatewayRefund,
    GatewayTransaction,
    PaymentGateway,
    RefundStatus,
    Subject,
    TransactionRequest,
    TransactionStatus,
)
from caas_lab.conformance.cases import MeansMissingError, NotConformingError, check
from caas_lab.conformance.faulty_proxy import FaultyProxy, running_proxy
from caas_lab.conformance.gateway_reports import events_in, read
from caas_lab.conformance.later_refusals import UndecidedRefusalError, later_refusal
from caas_lab.conformance.methods_file import MethodsFile, Role, SandboxAction
from caas_lab.conformance.webhook_receiver import ReceivedWebhook, WebhookReceiver

ADDRESS: Final = "CAAS_GATEWAY_URL"
CAPTURED: Final = frozenset({TransactionStatus.CAPTURING, TransactionStatus.SETTLED})
RELEASED: Final = frozenset({TransactionStatus.VOIDED, TransactionStatus.FAILED})
GIVEN_BACK: Final = "desistimiento"
VOID_REASON: Final = "activation failed"
RETURN_URL: Final = "https://caas.example/return"
LOOKS_SECONDS: Final = 0.2
NO_METHOD: Final = "the gateway's page"
Ask = Callable[[str], Awaitable[GatewayTransaction | AcceptedRequest]]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """How a capture or void is sent: by which gateway, under which key; None for a new one.

    `since` is the number of webhooks that had come before its first attempt.
    """

    by: PaymentGateway | None = None
    key: str | None = None
    since: int | None = None


FIRST: Final = Call()


class GatewayUnderTest(msgspec.Struct, kw_only=True):
    """A connected gateway, its test methods, and the webhooks that have come of it."""

    adapter: GatewayAdapter
    environment: Mapping[str, str]
    configured: ConfiguredGateway
    gateway: PaymentGateway
    context: GatewayContext
    methods: MethodsFile
    seconds_max: float
    receiver: WebhookReceiver | None = None

    @property
    def currency(self) -> str:
        """The first currency of the file."""
        return next(iter(self.methods.amounts))

    @property
    def amount(self) -> int:
        """The amount of most cases."""
        return self.methods.amounts[self.currency]

    def request(self, method: str | None = None, **facts: object) -> TransactionRequest:
        """Return a request under a new reference; `NO_METHOD` for a page."""
        given = method or self.methods.method(Role.OK)
        asked: dict[str, object] = {
            "reference": f"pay-{secrets.token_hex(16)}",
            "amount": self.amount,
            "currency": self.currency,
            "capture": CaptureMode.MANUAL,
            "customer_reference": f"customer-{secrets.token_hex(16)}",
            "description": "conformance",
            "payment_method": None if given == NO_METHOD else given,
            "return_url": RETURN_URL,
        }
        return TransactionRequest(**(asked | facts))  # type: ignore[arg-type]  # fields by name

    async def authorized(self, **facts: object) -> GatewayTransaction:
        """Return a transaction whose funds are held."""
        return held(await self.gateway.initiate(self.request(**facts), key=a_key()))  # type: ignore[arg-type]  # fields by name

    async def captured(self) -> GatewayTransaction:
        """Return a transaction that is captured in full, and perhaps settled."""
        return await self.capture(await self.authorized())

    async def capture(
        self, transaction: GatewayTransaction, amount: int | None = None, *, call: Call = FIRST
    ) -> GatewayTransaction:
        """Capture a transaction; where that is accepted first, wait for the decision.

        Raises:
            GatewayFailure: it is refused, at once or later.
        """
        gateway = call.by or self.gateway
        wanted = transaction.amount if amount is None else amount
        return await self._resolved(
            lambda key: gateway.capture(transaction.id, wanted, key=key),
            transaction, CAPTURED, call,
        )  # fmt: skip

    async def void(
        self, transaction: GatewayTransaction, *, call: Call = FIRST
    ) -> GatewayTransaction:
        """Void a transaction; where that is accepted first, wait for the decision.

        Raises:
            GatewayFailure: it is refused, at once or later.
        """
        gateway = call.by or self.gateway
        return await self._resolved(
            lambda key: gateway.void(transaction.id, VOID_REASON, key=key),
            transaction, RELEASED, call,
        )  # fmt: skip

    def mark(self) -> int:
        """Return how many webhooks have come so far."""
        return len(self.receiver.received) if self.receiver else 0

    async def _resolved(
        self, ask: Ask, transaction: GatewayTransaction,
        wanted: frozenset[TransactionStatus], call: Call,
    ) -> GatewayTransaction:  # fmt: skip
        """Ask for the end of a transaction, and return it.

        After a refusal that decides nothing it is asked for once more, as the platform does.
        """
        since = self.mark() if call.since is None else call.since
        answer = await ask(call.key or a_key())
        try:
            return await self._decided(answer, transaction, wanted, since)
        except UndecidedRefusalError:
            since = self.mark()
            return await self._decided(await ask(a_key()), transaction, wanted, since)

    async def _decided(
        self, answer: GatewayTransaction | AcceptedRequest, transaction: GatewayTransaction,
        wanted: frozenset[TransactionStatus], since: int,
    ) -> GatewayTransaction:  # fmt: skip
        """Return the outcome of a capture or void, reported since so many webhooks had come."""
        if isinstance(answer, GatewayTransaction):
            return answer
        webhooks = self.webhooks()

        def decision(webhook: ReceivedWebhook) -> GatewayTransaction | GatewayRefusal | None:
            for subject in self.subjects_of(webhook):
                if isinstance(subject, GatewayRefusal) and subject.id == answer.id:
                    return subject
                if not isinstance(subject, GatewayTransaction) or subject.id != transaction.id:
                    continue
                if subject.status in wanted:
                    return subject
            return None

        what = f"the outcome of {answer.id}"
        webhook = await webhooks.wait_for(
            lambda one: decision(one) is not None, what=what, since=since
        )
        subject = decision(webhook)
        if isinstance(subject, GatewayRefusal):
            raise later_refusal(subject)
        return await self.known(transaction)

    async def known(self, transaction: GatewayTransaction) -> GatewayTransaction:
        """Return a transaction as it is now, by its id.

        Without such a lookup it is known by its reports, and the first is waited for.
        """
        for _ in range(round(self.seconds_max / LOOKS_SECONDS)):
            try:
                found = await self.gateway.find(transaction.id)
            except OutcomeUnknownError:
                if self.gateway.capabilities.lookup_by_id:
                    raise
                await asyncio.sleep(LOOKS_SECONDS)
                continue
            check(found is not None, "A lookup by the reported id finds nothing.")
            assert found is not None
            return found
        raise NotConformingError("Nothing was reported of a transaction that exists.")

    async def refund_is_refused(
        self, transaction: GatewayTransaction, amount: int, what: str
    ) -> None:
        """Require that a refund is refused, at once or in a report."""
        try:
            refund = await self.gateway.refund(transaction.id, amount, GIVEN_BACK, key=a_key())
        except RefusedByPartnerError:
            return
        if refund.status is RefundStatus.PENDING:
            states = {RefundStatus.FAILED, RefundStatus.SUCCEEDED}

            def decides(webhook: ReceivedWebhook) -> bool:
                return any(
                    isinstance(one, GatewayRefund) and one.id == refund.id and one.status in states
                    for one in self.subjects_of(webhook)
                )

            webhook = await self.webhooks().wait_for(decides, what=f"refund {refund.id}")
            ended = [one for one in self.subjects_of(webhook) if isinstance(one, GatewayRefund)]
            refund = next(one for one in ended if one.id == refund.id)
        check(refund.status is RefundStatus.FAILED, f"{what} is {refund.status}.")

    def subjects_of(self, webhook: ReceivedWebhook) -> list[Subject]:
        """Return what the events of a webhook are about."""
        events = [read(self.configured, body) for body in events_in(self.configured, webhook)]
        return [event.subject for event in events if event is not None]

    async def look_up(self, request: TransactionRequest) -> tuple[GatewayTransaction, ...]:
        """Return the transactions of a request's reference."""
        return await self.gateway.find_by_reference(
            request.reference, customer_reference=request.customer_reference
        )

    async def only_one(self, request: TransactionRequest) -> GatewayTransaction:
        """Return the one transaction of a request's reference."""
        found = await self.look_up(request)
        check(len(found) == 1, f"The lookup by reference finds {len(found)} transactions, not 1.")
        return found[0]

    async def current(
        self, request: TransactionRequest, known: GatewayTransaction
    ) -> GatewayTransaction:
        """Return the transaction of a request as it is, by whatever the gateway has for that.

        Without a lookup by reference it is the newest report, or what is known by its id; without
        both the request is repeated under its key, as the platform does.
        """
        if self.gateway.capabilities.lookup_by_reference:
            return await self.only_one(request)
        for webhook in reversed(self.receiver.received if self.receiver else []):
            for subject in self.subjects_of(webhook):
                if not isinstance(subject, GatewayTransaction):
                    continue
                if subject.reference == request.reference:
                    return subject
        if self.gateway.capabilities.lookup_by_id:
            return await self.known(known)
        return await self.gateway.initiate(request, key=key_of(request))

    async def becomes(
        self,
        request: TransactionRequest,
        known: GatewayTransaction,
        wanted: frozenset[TransactionStatus],
    ) -> GatewayTransaction:
        """Return the transaction of a request once it has one of these states.

        Raises:
            NotConformingError: it has not in time.
        """
        last = await self.current(request, known)
        for _ in range(round(self.seconds_max / LOOKS_SECONDS)):
            if last.status in wanted:
                return last
            await asyncio.sleep(LOOKS_SECONDS)
            last = await self.current(request, known)
        raise NotConformingError(f"The transaction is {last.status}, not {_any_of(wanted)}.")

    async def act(self, action: SandboxAction, transaction: GatewayTransaction) -> None:
        """Make the sandbox do something about a transaction."""
        await self.methods.act(
            action,
            gateway=self.configured.address,
            id=transaction.id,
            reference=transaction.reference,
            page=transaction.hosted_page_url or "",
        )

    def webhooks(self) -> WebhookReceiver:
        """Return the receiver of webhooks.

        Raises:
            MeansMissingError: none listens.
        """
        if self.receiver is None:
            raise MeansMissingError(
                "Nothing listens for webhooks. Give --webhook-port, and have the gateway send its "
                "webhooks there."
            )
        return self.receiver

    def connected_with(self, settings: Mapping[str, str]) -> PaymentGateway:
        """Return the gateway with some settings changed; close it after use."""
        configured = self.adapter.configure({**self.environment, **settings})
        return configured.connect(self.context)

    @asynccontextmanager
    async def behind_proxy(self) -> AsyncIterator[tuple[PaymentGateway, FaultyProxy]]:
        """Connect the adapter through a proxy that can lose its requests."""
        async with running_proxy(self.configured.address) as proxy:
            gateway = self.connected_with({ADDRESS: proxy.url})
            try:
                yield gateway, proxy
            finally:
                await gateway.close()


def key_of(request: TransactionRequest) -> str:
    """Return the key of a request that may be repeated."""
    return f"key-{request.reference}"


def a_key() -> str:
    """Return a key that was never used."""
    return f"key-{secrets.token_hex(16)}"


def held(transaction: GatewayTransaction) -> GatewayTransaction:
    """Return a transaction that must be authorized."""
    return in_state(transaction, TransactionStatus.AUTHORIZED)


def in_state(transaction: GatewayTransaction, *wanted: TransactionStatus) -> GatewayTransaction:
    """Return a transaction that must be in one of these states."""
    check(
        transaction.status in wanted,
        f"The transaction is {transaction.status}, not {_any_of(frozenset(wanted))}.",
    )
    return transaction


async def refused(call: Awaitable[object], *by: type[GatewayFailure], what: str) -> GatewayFailure:
    """Return the refusal of a call that must be refused, by one of these errors.

    Raises:
        NotConformingError: it is done, or fails otherwise.
    """
    expected = by or (RefusedByPartnerError,)
    names = " or ".join(error.__name__ for error in expected)
    try:
        result = await call
    except expected as error:
        return error
    except GatewayFailure as error:
        name = type(error).__name__
        raise NotConformingError(f"{what} raises {name}, not {names}: {error.sentence}") from error
    raise NotConformingError(f"{what} succeeds with {_reported(result)}; it must raise {names}.")


async def expect_unknown(call: Callable[[], Awaitable[object]], proxy: FaultyProxy) -> None:
    """Make a call whose answer is lost: it must count as unknown.

    Raises:
        NotConformingError: it counts as done, or as refused.
    """
    error = await refused(call(), GatewayFailure, what="A call whose answer was lost")
    if proxy.met == 0:
        raise NotConformingError(
            f"The adapter sends nothing to the address in {ADDRESS}, which it must use."
        )
    check(
        not isinstance(error, RefusedByPartnerError),
        f"A call whose answer was lost counts as refused: {error.sentence}",
    )


def _any_of(wanted: frozenset[TransactionStatus]) -> str:
    return " or ".join(sorted(wanted))


def _reported(result: object) -> str:
    if isinstance(result, GatewayTransaction):
        return f"a transaction that is {result.status}"
    return type(result).__name__
