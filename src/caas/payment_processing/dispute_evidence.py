"""Sending evidence against a dispute (decision 205).

A clerk writes a text, adds a document, and sends both to the cardholder's bank, once. The text and
the document are not stored here: the log of gateway calls has their digest, and the audit log who
sent them. The dispute is won or lost by the gateway's later reports.

Rules a change must keep: what a person may send is checked here, whether the bank takes it at the
gateway; the key follows from the dispute and the digest, so that a repetition sends nothing twice;
whose evidence the bank has is what the gateway says of its digest, never what was attempted.
"""

import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from caas.billing_database.audit_events import AuditType, audit
from caas.billing_database.gateway_calls import GatewayCall, GatewayCallRecord, GatewayCalls
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Dispute
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.errors import ConflictError, NotFoundError, RefusedError, UnavailableError
from caas.external_systems.gateway_evidence import (
    DisputeResponse,
    EvidenceFile,
    EvidenceGateway,
    EvidenceTerms,
)
from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError

FILE_BYTES_MAX: Final = 4_500_000
TEXT_CHARS_MAX: Final = 4_000
OPERATION: Final = "send evidence"
ATTEMPT: Final = "attempt to send evidence"
"""Logged with its person before anything is sent, so that a lost answer has a sender."""

_SENDER: Final = re.compile(r"by (?P<account>[0-9a-f-]{36}), no answer yet")
OPENED: Final = "opened"
_BEGINS: Final = {
    b"%PDF-": "application/pdf", b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg",
}  # fmt: skip
"""How the documents begin that banks take."""


class NoSuchDisputeError(NotFoundError):
    """The payment has no dispute with this id that the gateway takes evidence about."""

    code = "dispute_not_found"


class DisputeEvidenceRefusedError(RefusedError):
    """Evidence is a text, a PDF, PNG or JPEG of at most 4.5 MB, or both. Nothing was sent."""

    code = "dispute_evidence_refused"


class EvidenceSentError(ConflictError):
    """Evidence about this dispute was sent before. The bank takes it once; nothing was sent now."""

    code = "evidence_sent"


class EvidenceNotTakenError(ConflictError):
    """The gateway takes no evidence about this dispute, or no longer. Nothing was sent."""

    code = "evidence_not_taken"


class EvidenceOutcomeUnknownError(UnavailableError):
    """The gateway did not answer. Open the dispute again: it shows whether evidence was sent."""

    code = "evidence_outcome_unknown"


class DisputeEvidence:
    """Sends evidence through the gateways that take it."""

    def __init__(
        self, *, tables: BillingDatabase, gateways: Sequence[object], calls: GatewayCalls
    ) -> None:
        """Send through these gateways; those that take no evidence are left out."""
        self._tables = tables
        self._rows = RefundRows(tables.database)
        self._calls = calls
        self._gateways = {it.name: it for it in gateways if isinstance(it, EvidenceGateway)}

    async def offered(self, payment_id: UUID) -> list[Dispute]:
        """Return the open disputes of a payment that evidence can be sent about."""
        if await self._taking(payment_id) is None:
            return []
        disputes = await self._rows.disputes_of(payment_id)
        return [it for it in disputes if it.state == OPENED and it.gateway_dispute_id]

    async def terms(self, payment_id: UUID, dispute_id: str) -> EvidenceTerms:
        """Return until when the gateway takes evidence about a dispute of a payment.

        If the gateway has evidence from here whose answer was lost, its sender is recorded.

        Raises:
            NoSuchDisputeError: the payment has no such open dispute.
            EvidenceOutcomeUnknownError: the gateway did not answer.
        """
        gateway = await self._gateway_of(payment_id, dispute_id)
        try:
            terms = await gateway.evidence_terms(dispute_id)
        except GatewayFailure as failure:
            raise EvidenceOutcomeUnknownError(dispute=dispute_id) from failure
        if terms.sent_digest is not None:
            await self._complete(payment_id, dispute_id, terms.sent_digest)
        return terms

    async def send(
        self, payment: Payment, dispute_id: str, *, text: str, content: bytes, by: UUID
    ) -> None:
        """Send evidence to the cardholder's bank; `by` is the account of the person who does.

        A repetition of what this person sent ends well if the bank has it; nothing is sent again.

        Raises:
            DisputeEvidenceRefusedError: it is neither a text nor a document that banks take.
            NoSuchDisputeError: the payment has no such open dispute.
            EvidenceSentError, EvidenceNotTakenError: the bank takes none, or no more.
            EvidenceOutcomeUnknownError: whether it was sent is not known.
        """
        evidence = _checked(text, content)
        gateway = await self._gateway_of(payment.id, dispute_id)
        terms = await self.terms(payment.id, dispute_id)
        if terms.is_sent and terms.sent_digest == evidence.digest:
            calls = await self._calls_about(payment.id, dispute_id, evidence.digest)
            if by in _senders(calls):
                return
        if terms.is_sent:
            raise EvidenceSentError(dispute=dispute_id)
        if not terms.is_taken:
            raise EvidenceNotTakenError(dispute=dispute_id)
        key = f"evidence:{dispute_id}:{evidence.digest}"
        what, attempt = _described(evidence), f"by {by}, no answer yet"
        await self._log(payment, dispute_id, what, "unknown", attempt, operation=ATTEMPT)
        try:
            await gateway.send_evidence(dispute_id, evidence, key=key)
        except RefusedByPartnerError as refusal:
            await self._log(payment, dispute_id, what, "refused", refusal.sentence)
            raise await self._refused(gateway, dispute_id) from refusal
        except GatewayFailure as failure:
            await self._log(payment, dispute_id, what, "unknown", failure.sentence)
            raise EvidenceOutcomeUnknownError(dispute=dispute_id) from failure
        await self._sent(payment, dispute_id, what, by)

    async def _sent(self, payment: Payment, dispute_id: str, content: str, by: UUID) -> None:
        """Record that the bank has it, and from whom."""
        await self._log(payment, dispute_id, content, "answered", "sent")
        await audit(
            AuditType.EVIDENCE_SENT, by=by, within=self._tables.database, subject=payment.id
        )

    async def _complete(self, payment_id: UUID, dispute_id: str, digest: str) -> None:
        """Record the sender of evidence that the gateway has, and whose answer was lost.

        Of several who sent the same, it is the last.
        """
        calls = await self._calls_about(payment_id, dispute_id, digest)
        senders = _senders(calls)
        is_answered = any(it.operation == OPERATION and it.outcome != "unknown" for it in calls)
        if senders and not is_answered:
            payment = await self._tables.payments.get(payment_id)
            await self._sent(payment, dispute_id, f"sha256 {digest}", senders[-1])

    async def _calls_about(
        self, payment_id: UUID, dispute_id: str, digest: str
    ) -> list[GatewayCallRecord]:
        """Return the log of what was sent about a dispute with this digest."""
        calls = await self._calls.of(payment_id, None)
        about = f"{dispute_id}: "
        return [it for it in calls if it.summary.startswith(about) and digest in it.summary]

    async def _gateway_of(self, payment_id: UUID, dispute_id: str) -> EvidenceGateway:
        gateway, offered = await self._taking(payment_id), await self.offered(payment_id)
        if gateway is None or dispute_id not in {it.gateway_dispute_id for it in offered}:
            raise NoSuchDisputeError(dispute=dispute_id)
        return gateway

    async def _taking(self, payment_id: UUID) -> EvidenceGateway | None:
        """Return the payment's gateway; None if it takes no evidence."""
        payment = await self._tables.payments.get(payment_id)
        return self._gateways.get(payment.gateway)

    async def _refused(self, gateway: EvidenceGateway, dispute_id: str) -> ConflictError:
        """Return why a gateway refuses: another person was faster, or it takes none any more."""
        try:
            is_sent = (await gateway.evidence_terms(dispute_id)).is_sent
        except GatewayFailure:
            is_sent = False
        error = EvidenceSentError if is_sent else EvidenceNotTakenError
        return error(dispute=dispute_id)

    async def _log(
        self,
        payment: Payment,
        dispute_id: str,
        content: str,
        outcome: str,
        answer: str,
        *,
        operation: str = OPERATION,
    ) -> None:
        await self._calls.add(
            GatewayCall(
                gateway=payment.gateway, operation=operation, payment_id=payment.id,
                outcome=outcome, took_ms=0,
                transaction_id=payment.gateway_transaction_id,
                summary=f"{dispute_id}: {content}: {answer}",
            )
        )  # fmt: skip


def _senders(calls: Sequence[GatewayCallRecord]) -> list[UUID]:
    """Return the accounts of the people who tried to send it, in order."""
    found = [_SENDER.search(it.summary) for it in calls if it.operation == ATTEMPT]
    return [UUID(sender["account"]) for sender in found if sender]


def _described(evidence: DisputeResponse) -> str:
    """Describe evidence for the log: sizes and the digest, never its content."""
    file = evidence.file
    document = f", {file.media_type} of {len(file.content)} bytes" if file else ""
    return f"text of {len(evidence.text)} characters{document}, sha256 {evidence.digest}"


def _checked(text: str, content: bytes) -> DisputeResponse:
    media_type = next((it for begin, it in _BEGINS.items() if content.startswith(begin)), None)
    is_usable = not content or (media_type is not None and len(content) <= FILE_BYTES_MAX)
    if not is_usable or len(text) > TEXT_CHARS_MAX or not (text.strip() or content):
        raise DisputeEvidenceRefusedError
    file = EvidenceFile(media_type=media_type, content=content) if media_type else None
    return DisputeResponse(text=text.strip(), file=file)
