"""Evidence against a dispute, sent through the gateway: an option beside the port.

Seed: Common Discrepancy Scenarios, "Chargeback"; decision 37. A gateway that takes evidence offers
`EvidenceGateway`; at the others it is entered in their own console.

Rules a change must keep: a bank is sent evidence once; of what is sent, only a digest is stored.
"""

import hashlib
from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec


class EvidenceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A document: PDF, PNG or JPEG."""

    media_type: str
    content: bytes


class DisputeResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What speaks against a dispute: a text, a document, or both."""

    text: str
    file: EvidenceFile | None

    @property
    def digest(self) -> str:
        """The digest of the text and the document."""
        document = self.file.content if self.file is not None else b""
        parts = (self.text.encode(), document)
        digests = b"".join(hashlib.sha256(part).digest() for part in parts)
        return hashlib.sha256(digests).hexdigest()


class EvidenceTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a gateway still takes evidence about a dispute, until when, and if it has any.

    `sent_digest` is the digest of the evidence that was sent; None where the gateway does not know
    it, as of evidence that was sent in its own console.
    """

    is_taken: bool
    due_by: datetime | None
    is_sent: bool
    sent_digest: str | None = None


@runtime_checkable
class EvidenceGateway(Protocol):
    """A gateway that takes evidence about disputes."""

    @property
    def name(self) -> str:
        """The name under which its disputes are stored."""
        ...

    async def evidence_terms(self, dispute_id: str) -> EvidenceTerms:
        """Return until when the gateway takes evidence about a dispute.

        Raises:
            GatewayFailure: it gave no usable answer.
        """
        ...

    async def send_evidence(
        self, dispute_id: str, evidence: DisputeResponse, *, key: str
    ) -> EvidenceTerms:
        """Send evidence to the cardholder's bank.

        Raises:
            RefusedByPartnerError: the gateway does not take it.
            GatewayFailure: whether it was sent is not known.
        """
        ...
