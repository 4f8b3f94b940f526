"""Evidence about disputes: until when it is taken, and sending it (decision 205).

Rule a change must keep: evidence is sent by a key that belongs to a person, who is on record; it is
passed on and never stored.
"""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import BodyOf
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.operation import Operation
from caas.api.problems import Problem
from caas.api.row_answers import answer_from
from caas.payment_processing.dispute_evidence import TEXT_CHARS_MAX
from caas.rules.scopes import Scope
from caas.web.limits import DOCUMENT_BODY_BYTES_MAX
from caas.web.problems import CallRefusedError
from caas.web.response import Response, json_response

TAG: Final = "payments"


class DisputeEvidenceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What speaks against a dispute: a text, a PDF, PNG or JPEG in Base64, or both."""

    text: Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)] = ""
    document: bytes = b""


class EvidenceTermsAnswer(
    msgspec.Struct, frozen=True, kw_only=True, rename={"is_taken": "taken", "is_sent": "sent"}
):
    """Whether the bank still takes evidence, until when, and whether it has any."""

    is_taken: bool
    due_by: datetime | None
    is_sent: bool


class PersonalKeyRequiredError(CallRefusedError):
    """Evidence is sent by a person. Use a key that an account has made; nothing was sent."""

    code = "personal_key_required"
    http_status = 403


EVIDENCE: Final = BodyOf(DisputeEvidenceBody)


async def get_evidence_terms(api: Api, call: Call) -> Response:
    """Return until when evidence about an open dispute is taken, as the gateway says now."""
    return await _terms(api, call)


async def send_dispute_evidence(api: Api, call: Call) -> Response:
    """Send evidence about an open dispute to the cardholder's bank. The bank takes it once.

    It needs a key that belongs to a person. Only a digest is stored.
    """
    body = EVIDENCE.read(call.body)

    async def send() -> Response:
        if call.by.account is None:
            raise PersonalKeyRequiredError
        payment = await api.platform.tables.payments.get(call.ids["payment_id"])
        await api.platform.dispute_evidence.send(
            payment, call.ids["dispute"], text=body.text, content=body.document,
            by=call.by.account,
        )  # fmt: skip
        return await _terms(api, call)

    return await once(api.platform.tables.keys, call, body, send)


async def _terms(api: Api, call: Call) -> Response:
    payment_id: UUID = call.ids["payment_id"]
    terms = await api.platform.dispute_evidence.terms(payment_id, call.ids["dispute"])
    return json_response(200, answer_from(EvidenceTermsAnswer, terms))


_PATH: Final = "/v1/payments/{payment_id:uuid}/disputes/{dispute:word}/evidence"
_CLERKS: Final = frozenset({Scope.OPERATIONS})

DISPUTE_EVIDENCE_OPERATIONS: Final = (
    Operation(
        id="getEvidenceTerms", tag=TAG, method="GET", path=_PATH, scopes=_CLERKS,
        answers={200: EvidenceTermsAnswer, 404: Problem}, handle=get_evidence_terms,
    ),
    Operation(
        id="sendDisputeEvidence", tag=TAG, method="POST", path=_PATH, scopes=_CLERKS,
        body=EVIDENCE, body_bytes_max=DOCUMENT_BODY_BYTES_MAX,
        answers={200: EvidenceTermsAnswer, 404: Problem, 409: Problem},
        handle=send_dispute_evidence,
    ),
)  # fmt: skip
