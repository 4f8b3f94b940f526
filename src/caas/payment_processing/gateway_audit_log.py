"""Audit log of gateway calls: every call about a payment is recorded with its outcome.

Operations see the calls between a payment's events. The record is a summary of the answer; the
payment follows the answer itself.

Rules a change must keep: every answer and every failure passes through unchanged; a call that
cannot be recorded does not disturb its payment; pages of settlement reports are recorded
elsewhere.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import structlog

from caas.billing_database.gateway_calls import GatewayCall, GatewayCalls
from caas.errors import CaasError
from caas.external_systems.http_answers import (
    GatewayFailure,
    NotSentError,
    RefusedByPartnerError,
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

Answer = TypeVar("Answer")

_log = structlog.get_logger()


class AuditedGateway:
    """A gateway that records every call."""

    def __init__(self, gateway: PaymentGateway, calls: GatewayCalls) -> None:
        self._gateway = gateway
        self._calls = calls

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

    async def find_by_reference(self, reference: str) -> tuple[GatewayTransaction, ...]:
        """Look up a payment's transactions."""
        return await self._recorded(
            lambda: self._gateway.find_by_reference(reference), "find by reference",
            payment_id=_payment(reference),
        )  # fmt: skip

    async def capture(self, transaction_id: str, amount: int, *, key: str) -> GatewayTransaction:
        """Capture a charge."""
        return await self._recorded(
            lambda: self._gateway.capture(transaction_id, amount, key=key), "capture",
            transaction_id=transaction_id, key=key, amount=amount,
        )  # fmt: skip

    async def void(self, transaction_id: str, reason: str, *, key: str) -> GatewayTransaction:
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
            answer = await call()
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
                        operation=operation, payment_id=payment_id, transaction_id=transaction_id,
                        key=key, amount=amount, outcome=outcome, summary=summary,
                        took_ms=round((clock() - began) * 1000),
                    )
                )  # fmt: skip

    async def _write(self, call: GatewayCall) -> None:
        try:
            await self._calls.add(call)
        except CaasError as error:
            _log.warning("gateway_call.not_recorded", operation=call.operation,
                         payment_id=str(call.payment_id), because=error.code)  # fmt: skip


def _outcome_of(failure: GatewayFailure) -> str:
    if isinstance(failure, RefusedByPartnerError):
        return "refused"
    return "not sent" if isinstance(failure, NotSentError) else "unknown"


def _summary_of(answer: object) -> str:
    """Summarize an answer: ids, states and codes, never names."""
    match answer:
        case GatewayTransaction(id=found, status=status, decline_code=code):
            return " ".join(filter(None, (status, code, found)))
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
