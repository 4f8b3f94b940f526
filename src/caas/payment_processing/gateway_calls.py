"""Calls to the payment gateway, with the retries of Diagram 11, and their audit log.

Every call about a payment is recorded with its outcome, which operations see between the payment's
events. The record is a summary of the answer; the payment follows the answer itself.

Rules a change must keep:

- Every attempt of an operation sends the same key; a decline or another definite refusal is never
  retried; an unknown outcome of an earlier attempt stays unknown, whatever a later attempt reports
  about itself.
- Waits and calls together stay within the caller's patience.
- The log passes every answer and failure through unchanged; a call that cannot be recorded does not
  affect its payment; pages of settlement reports are recorded elsewhere.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date
from itertools import count
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

import msgspec
import structlog

from caas.billing_database.gateway_calls import WRITES, GatewayCall, GatewayCalls
from caas.errors import CaasError
from caas.external_systems.gateway_modifications import AcceptedRequest
from caas.external_systems.http_answers import (
    GatewayFailure,
    NotSentError,
    OutcomeUnknownError,
    RefusedByPartnerError,
    TooManyRequestsError,
    UnknownReason,
    noted_writes,
)
from caas.external_systems.payment_gateway import (
    Capabilities,
    GatewayEvent,
    GatewayRefund,
    GatewayTransaction,
    PaymentGateway,
    SettlementFile,
    SettlementPage,
    TransactionRequest,
)
from caas.rules.durations import Durations
from caas.rules.retry_strategy import wait_before_retry
from caas.rules.time_scale import TimeScale

AUTHORIZE: Final = "authorize"
CAPTURE: Final = "capture"
VOID: Final = "void"
PROBE: Final = "probe"
COMPENSATE: Final = "compensate"
LOOK_FOR_SIBLINGS: Final = "look_for_siblings"
POLL_SETTLEMENT: Final = "poll_settlement"

SAFETY_NET_SECONDS: Final = 75.0
"""When a worker resumes an operation that its process has not finished."""

SYNCHRONOUS_PATIENCE_SECONDS: Final = 25.0
NO_PATIENCE: Final = 0.0

Answer = TypeVar("Answer")


class NoAnswer(msgspec.Struct, frozen=True):
    """No usable answer within the caller's patience.

    `wait_seconds` is the next wait of the retry table, None when its retries are exhausted;
    `tries` counts the attempts; with `maybe_sent`, one may have reached the gateway; with
    `unreached`, there was no connection for the last one; `patience_seconds` is what is left.
    """

    tries: int
    wait_seconds: float | None
    maybe_sent: bool
    because: str
    unreached: bool = False
    patience_seconds: float = NO_PATIENCE


class Refused(msgspec.Struct, frozen=True):
    """A definite refusal; with `maybe_done`, an earlier attempt may have succeeded."""

    error: RefusedByPartnerError
    maybe_done: bool


class KeyLifetime(msgspec.Struct, frozen=True):
    """How long a gateway honours a key, in seconds; None if it ignores keys."""

    seconds: float | None

    @classmethod
    def of(cls, capabilities: Capabilities) -> "KeyLifetime":
        """Return the lifetime that a gateway declares."""
        lifetime = capabilities.idempotency_key_lifetime
        return cls(None if lifetime is None else lifetime.total_seconds())

    def covers(self, age_seconds: float) -> bool:
        """Return whether the gateway still honours a key of this age."""
        return self.seconds is not None and age_seconds < self.seconds


KEY_NEEDS_NO_LIFE: Final = KeyLifetime(float("inf"))
"""The lifetime for operations that have no second effect: a capture, a void."""


def key_of(payment_id: UUID, operation: str, *, issue: int = 1) -> str:
    """Return the Idempotency-Key of an operation; a new issue only after proof of absence."""
    return f"{payment_id}:{operation}" if issue == 1 else f"{payment_id}:{operation}:{issue}"


async def call_with_retry(
    call: Callable[[], Awaitable[Answer]],
    *,
    time_scale: TimeScale,
    patience_seconds: float = NO_PATIENCE,
    earlier_tries: int = 0,
    maybe_sent: bool = False,
    key_lifetime: KeyLifetime = KEY_NEEDS_NO_LIFE,
    on_unknown: Callable[[str], Awaitable[None]] | None = None,
    waits_for_connection: bool = True,
) -> Answer | NoAnswer | Refused:
    """Call until there is an answer, the retries are exhausted, or the patience ends.

    An operation that may have been sent is not sent again once the gateway may have forgotten its
    key. `on_unknown` is awaited with the reason right after each such attempt. Without
    `waits_for_connection` it ends as soon as the gateway cannot be reached.
    """
    clock = asyncio.get_running_loop().time
    first_sent = clock()
    for tries in count(earlier_tries + 1):
        started = clock()
        try:
            return await call()
        except RefusedByPartnerError as refusal:
            return Refused(refusal, maybe_sent)
        except (NotSentError, TooManyRequestsError, OutcomeUnknownError) as failure:
            if isinstance(failure, OutcomeUnknownError):
                if on_unknown is not None:
                    await on_unknown(failure.sentence)
                maybe_sent = True
            no_answer = _no_answer(failure, tries, maybe_sent=maybe_sent)
        patience_seconds -= clock() - started
        no_answer = msgspec.structs.replace(no_answer, patience_seconds=patience_seconds)
        if no_answer.unreached and not (maybe_sent or waits_for_connection):
            return no_answer
        if maybe_sent and no_answer.wait_seconds is not None:
            age = clock() - first_sent + time_scale.seconds(no_answer.wait_seconds)
            if not key_lifetime.covers(age):
                return msgspec.structs.replace(no_answer, wait_seconds=None)
        if no_answer.wait_seconds is None or no_answer.wait_seconds > patience_seconds:
            return no_answer
        patience_seconds -= no_answer.wait_seconds
        await asyncio.sleep(time_scale.seconds(no_answer.wait_seconds))
    raise AssertionError("count never ends")


def _no_answer(
    failure: NotSentError | TooManyRequestsError | OutcomeUnknownError,
    tries: int,
    *,
    maybe_sent: bool,
) -> NoAnswer:
    asked = failure.retry_after_seconds if isinstance(failure, TooManyRequestsError) else None
    wait = wait_before_retry(failure.kind, retry=tries, retry_after=asked)
    unreached = isinstance(failure, NotSentError)
    return NoAnswer(tries, wait, maybe_sent, failure.sentence, unreached)


_log = structlog.get_logger()
_WAITED: ContextVar[list[float] | None] = ContextVar("waited", default=None)
"""The seconds that this task has waited for the gateway so far."""


@contextmanager
def measured_beside_gateway(durations: Durations, *labels: str) -> Iterator[None]:
    """Record how long the block takes beside its gateway calls; nothing if it raises."""
    clock = asyncio.get_running_loop().time
    waited: list[float] = []
    before = _WAITED.get()
    _WAITED.set(waited)
    began = clock()
    try:
        yield
    finally:
        _WAITED.set(before)  # a token cannot be used where a dead task is cleaned up
    durations.add(max(clock() - began - sum(waited), 0.0), *labels)


def _note_waited(seconds: float) -> None:
    waited = _WAITED.get()
    if waited is not None:
        waited.append(seconds)


class AuditedGateway:
    """A gateway that records every call."""

    def __init__(self, gateway: PaymentGateway, calls: GatewayCalls) -> None:
        self._gateway = gateway
        self._calls = calls
        self._has_refused = True  # before this process began, for all it knows

    @property
    def name(self) -> str:
        """The gateway's own name."""
        return self._gateway.name

    @property
    def capabilities(self) -> Capabilities:
        """What the gateway can do."""
        return self._gateway.capabilities

    async def initiate(self, request: TransactionRequest, *, key: str) -> GatewayTransaction:
        """Authorize a charge."""
        return await self._recorded(
            lambda: self._gateway.initiate(request, key=key), "initiate",
            payment_id=_payment(request.reference), key=key, amount=request.amount,
        )  # fmt: skip

    async def find(self, transaction_id: str) -> GatewayTransaction | None:
        """Look up a transaction."""
        return await self._recorded(
            lambda: self._gateway.find(transaction_id), "find", transaction_id=transaction_id
        )

    async def find_by_reference(
        self, reference: str, *, customer_reference: str
    ) -> tuple[GatewayTransaction, ...]:
        """Look up a payment's transactions."""
        return await self._recorded(
            lambda: self._gateway.find_by_reference(
                reference, customer_reference=customer_reference
            ),
            "find by reference",
            payment_id=_payment(reference),
        )  # fmt: skip

    async def capture(
        self, transaction_id: str, amount: int, *, key: str
    ) -> GatewayTransaction | AcceptedRequest:
        """Capture a charge."""
        return await self._recorded(
            lambda: self._gateway.capture(transaction_id, amount, key=key), "capture",
            transaction_id=transaction_id, key=key, amount=amount,
        )  # fmt: skip

    async def void(
        self, transaction_id: str, reason: str, *, key: str
    ) -> GatewayTransaction | AcceptedRequest:
        """Void held funds."""
        return await self._recorded(
            lambda: self._gateway.void(transaction_id, reason, key=key), "void",
            transaction_id=transaction_id, key=key,
        )  # fmt: skip

    async def refund(
        self, transaction_id: str, amount: int, reason: str, *, key: str
    ) -> GatewayRefund:
        """Refund a captured charge."""
        return await self._recorded(
            lambda: self._gateway.refund(transaction_id, amount, reason, key=key), "refund",
            transaction_id=transaction_id, key=key, amount=amount,
        )  # fmt: skip

    async def find_refunds(self, transaction_id: str) -> tuple[GatewayRefund, ...]:
        """Look up a transaction's refunds."""
        return await self._recorded(
            lambda: self._gateway.find_refunds(transaction_id), "find refunds",
            transaction_id=transaction_id,
        )  # fmt: skip

    async def settlements(self, day: date, cursor: str | None = None) -> SettlementPage:
        """Fetch a page of a settlement report."""
        return await self._gateway.settlements(day, cursor)

    async def settlement_file(self, day: date, path: Path) -> SettlementFile | None:
        """Download a settlement report, where the gateway offers files."""
        return await self._gateway.settlement_file(day, path)

    def read_event(self, body: bytes) -> GatewayEvent | None:
        """Decode a verified webhook; no call is made."""
        return self._gateway.read_event(body)

    async def account(self) -> str | None:
        """Return the account and mode of the gateway's credentials."""
        return await self._gateway.account()

    async def close(self) -> None:
        """Close every connection."""
        await self._gateway.close()

    async def _recorded(
        self,
        call: Callable[[], Awaitable[Answer]],
        operation: str,
        *,
        payment_id: UUID | None = None,
        transaction_id: str | None = None,
        key: str | None = None,
        amount: int | None = None,
    ) -> Answer:
        clock = asyncio.get_running_loop().time
        began, outcome, summary = clock(), "answered", ""
        try:
            try:
                answer = await _as_a_whole(call)
            finally:
                _note_waited(clock() - began)
        except GatewayFailure as failure:
            outcome, summary = _outcome_of(failure), failure.sentence
            raise
        else:
            summary = _summary_of(answer)
            return answer
        finally:
            if summary:
                await self._write(
                    GatewayCall(
                        gateway=self.name, operation=operation, payment_id=payment_id,
                        transaction_id=transaction_id,
                        key=key, amount=amount, outcome=outcome, summary=summary,
                        took_ms=round((clock() - began) * 1000),
                    )
                )  # fmt: skip

    async def _write(self, call: GatewayCall) -> None:
        """Record a call; one that is accepted closes the cases of those that were not before."""
        self._has_refused |= call.outcome == "refused"
        try:
            await self._calls.add(call)
            if self._has_refused and call.outcome == "answered" and call.operation in WRITES:
                self._has_refused = await self._calls.accepted_again(call.gateway)
        except CaasError as error:
            _log.warning("gateway_call.not_recorded", operation=call.operation,
                         payment_id=str(call.payment_id), because=error.code)  # fmt: skip


async def _as_a_whole(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Call an operation of several requests: it was not sent only if none of them was.

    Raises:
        OutcomeUnknownError: a request was not sent or was turned away after another had arrived.
    """
    with noted_writes() as writes:
        try:
            return await call()
        except (NotSentError, TooManyRequestsError) as failure:
            if not writes:
                raise
            raise OutcomeUnknownError(
                partner=failure.partner,
                call=failure.call,
                reason=UnknownReason.INTERRUPTED,
                detail=f"{writes[-1]} had arrived before",
            ) from failure


def _outcome_of(failure: GatewayFailure) -> str:
    match failure:
        case RefusedByPartnerError():
            return "refused"
        case TooManyRequestsError():
            return "turned away"
        case NotSentError():
            return "not sent"
        case _:
            return "unknown"


def _summary_of(answer: object) -> str:
    """Summarize an answer: ids, states and codes, never names."""
    match answer:
        case GatewayTransaction(id=found, status=status, decline_code=code):
            return " ".join(filter(None, (status, code, found)))
        case AcceptedRequest(id=found):
            return f"accepted {found}"
        case GatewayRefund(id=found, status=status):
            return f"{status} {found}"
        case tuple() if answer:
            return ", ".join(_summary_of(one) for one in answer)
        case _:
            return "nothing of it"


def _payment(reference: str) -> UUID | None:
    try:
        return UUID(reference)
    except ValueError:
        return None
