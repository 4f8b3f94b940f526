"""Disputes at Stripe: until when evidence is taken, and sending it.

Rules a change must keep: a document goes to the file host of the API that was configured, and to no
other; evidence counts as sent only when the dispute says so.
"""

import hashlib
from typing import Annotated, Final
from urllib.parse import quote, urlsplit

import msgspec

from caas.external_systems import stripe_wire
from caas.external_systems.gateway_evidence import DisputeResponse, EvidenceFile, EvidenceTerms
from caas.external_systems.http import HttpClient
from caas.external_systems.http_answers import decoded
from caas.external_systems.stripe_http import Fields, StripeHttp, accepted, agreed, other_id
from caas.external_systems.stripe_settlements import API_HOST, FILE_HOST
from caas.external_systems.stripe_wire import Id, Seconds, moment

DISPUTES: Final = "/v1/disputes"
FILES: Final = "/v1/files"
DIGEST: Final = "evidence_digest"
"""In the metadata of a dispute: which evidence was submitted, and thereby whose."""
TAKES_EVIDENCE: Final = frozenset({"needs_response", "warning_needs_response"})
NAMES: Final = {
    "application/pdf": "evidence.pdf", "image/png": "evidence.png", "image/jpeg": "evidence.jpg",
}  # fmt: skip


class EvidenceDetails(msgspec.Struct, frozen=True):
    """Until when a dispute can be answered, and how often it was; no answer is taken at 0."""

    submission_count: Annotated[int, msgspec.Meta(ge=0)]
    due_by: Seconds | None = None


class DisputedCharge(msgspec.Struct, frozen=True):
    """A dispute as Stripe writes it, as far as its evidence is concerned."""

    id: Id
    status: str
    evidence_details: EvidenceDetails
    metadata: dict[str, str] = {}

    @property
    def terms(self) -> EvidenceTerms:
        """The port's value."""
        details = self.evidence_details
        is_sent = details.submission_count > 0
        return EvidenceTerms(
            is_taken=self.status in TAKES_EVIDENCE and not is_sent and bool(details.due_by),
            due_by=moment(details.due_by) if details.due_by else None,
            is_sent=is_sent,
            sent_digest=self.metadata.get(DIGEST) if is_sent else None,
        )


_DECODER: Final = msgspec.json.Decoder(DisputedCharge)


class StripeDisputes:
    """The disputes of a Stripe account."""

    def __init__(self, http: StripeHttp) -> None:
        """Speak over this client."""
        self._http = http

    async def terms(self, dispute_id: str) -> EvidenceTerms:
        """Return until when evidence is taken."""
        answer = accepted(await self._http.get(_path(dispute_id)))
        dispute = decoded(answer, _DECODER)
        return agreed(answer, dispute.terms, other_id(dispute.id, dispute_id))

    async def send(self, dispute_id: str, evidence: DisputeResponse, *, key: str) -> EvidenceTerms:
        """Upload the document, then submit it with the text to the bank."""
        fields: Fields = [("submit", "true"), (f"metadata[{DIGEST}]", evidence.digest)]
        if evidence.text:
            fields.append(("evidence[uncategorized_text]", evidence.text))
        if evidence.file is not None:
            uploaded = await self._upload(evidence.file, key=f"{key}:file")
            fields.append(("evidence[uncategorized_file]", uploaded))
        answer = accepted(await self._http.post(_path(dispute_id), fields, key=key))
        dispute = decoded(answer, _DECODER)
        different = other_id(dispute.id, dispute_id)
        if not dispute.terms.is_sent:
            different.append("nothing submitted")
        return agreed(answer, dispute.terms, different)

    async def _upload(self, file: EvidenceFile, *, key: str) -> str:
        """Store a document at Stripe; return its id there."""
        boundary, body = _multipart(file)
        client = self._http.client.beside(
            _files_of(self._http.client),
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        try:
            answer = accepted(await client.send("POST", FILES, body=body, key=key))
        finally:
            await client.close()
        return decoded(answer, stripe_wire.NAMED_DECODER).id


def _multipart(file: EvidenceFile) -> tuple[str, bytes]:
    """Return the boundary and the body of a form with a document."""
    boundary = f"caas-{hashlib.sha256(file.content).hexdigest()}"
    head = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="purpose"\r\n\r\ndispute_evidence\r\n'
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{NAMES[file.media_type]}"\r\n'
        f"Content-Type: {file.media_type}\r\n\r\n"
    )
    return boundary, head.encode() + file.content + f"\r\n--{boundary}--\r\n".encode()


def _files_of(client: HttpClient) -> str:
    is_stripe = urlsplit(client.base_url).hostname == API_HOST
    return f"https://{FILE_HOST}" if is_stripe else client.base_url


def _path(dispute_id: str) -> str:
    return f"{DISPUTES}/{quote(dispute_id, safe='')}"
