"""Discrepancies (Diagram 10, "Manual Investigation Required"): ownership, evidence, resolution.

All keys that an account created count as one person (`caas.dual_control`). A configured key has no
account and cannot approve.

Rule a change must keep: evidence is served as a download, never inline.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial
from typing import Final, Literal
from urllib.parse import quote
from uuid import UUID

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import PAGE_ROWS, BodyOf, Limit, QueryOf
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.operation import Operation
from caas.api.reconciliation import NO_CONTENT, OPERATORS, TAG
from caas.api.reconciliation_answers import (
    ROOT,
    DiscrepancyAnswer,
    DiscrepancyPage,
    EvidenceAnswer,
    discrepancy_answer,
    discrepancy_summary,
    evidence_answer,
)
from caas.api.row_answers import page_of
from caas.api.texts import Name, Note
from caas.billing_database.discrepancies import DiscrepancyFilter
from caas.reconciliation.investigation import Investigation
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.web.limits import DOCUMENT_BODY_BYTES_MAX
from caas.web.response import Response, json_response

DOWNLOAD: Final = b"application/octet-stream"


class OwnerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The new owner; the caller if omitted."""

    owner: Name | None = None


class NoteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finding or a reason."""

    note: Note


class EvidenceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document of at most five megabytes, in Base64."""

    name: Name
    media_type: Literal[
        "application/json", "application/pdf", "image/jpeg", "image/png", "text/csv", "text/plain"
    ]
    content: bytes


class ResolutionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A resolution and its reason; above a limit it becomes a proposal."""

    resolution: Resolution
    note: Note


class DiscrepancyQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters for discrepancies."""

    status: Literal["open", "proposed", "waiting", "resolved"] | None = None
    kind: DiscrepancyKind | None = None
    day: date | None = None
    owner: Name | None = None
    payment: UUID | None = None
    unresolved: bool = False
    cursor: UUID | None = None
    limit: Limit = PAGE_ROWS


OWNER: Final = BodyOf(OwnerBody)
NOTE: Final = BodyOf(NoteBody)
EVIDENCE: Final = BodyOf(EvidenceBody)
RESOLUTION: Final = BodyOf(ResolutionBody)
LISTED: Final = QueryOf(DiscrepancyQuery)


async def list_discrepancies(api: Api, call: Call) -> Response:
    """List discrepancies, soonest deadline first."""
    query = LISTED.read(call.scope["query_string"])
    asked = DiscrepancyFilter(
        status=query.status, kind=query.kind, day=query.day, owner=query.owner,
        payment_id=query.payment, unresolved=query.unresolved,
    )  # fmt: skip
    page = await api.platform.reconciliation.discrepancies.listed(
        asked, after=query.cursor, rows_max=query.limit + 1
    )
    shown, more = page_of(page, query.limit)
    to_response = [discrepancy_summary(found) for found in shown]
    return json_response(200, DiscrepancyPage(data=to_response, next_cursor=more))


async def get_discrepancy(api: Api, call: Call) -> Response:
    """Return a discrepancy with its report line, history, documents and ledger entries."""
    return await _as_it_stands(api, call)


async def assign_discrepancy(api: Api, call: Call) -> Response:
    """Assign a discrepancy to a person; without a name, to the caller."""
    body = OWNER.read(call.body)
    owner = body.owner or call.by.name
    return await _step(api, call, body, partial(_investigation(api).assign, owner=owner))


async def note_discrepancy(api: Api, call: Call) -> Response:
    """Add a note to a discrepancy."""
    body = NOTE.read(call.body)
    return await _step(api, call, body, partial(_investigation(api).note, text=body.note))


async def attach_evidence(api: Api, call: Call) -> Response:
    """Attach a document to a discrepancy."""
    body = EVIDENCE.read(call.body)

    async def attach() -> Response:
        discrepancy_id = call.ids["discrepancy_id"]
        evidence_id = await _investigation(api).attach(
            discrepancy_id, name=body.name, media_type=body.media_type, content=body.content,
            by=call.by.name,
        )  # fmt: skip
        to_response = evidence_answer(discrepancy_id, evidence_id)
        return json_response(201, to_response, (b"location", to_response.links["self"].encode()))

    return await once(api.platform.tables.keys, call, body, attach)


async def get_evidence(api: Api, call: Call) -> Response:
    """Download an attached document."""
    name, _, content = await _investigation(api).document(call.ids["evidence_id"])
    where = f"attachment; filename*=UTF-8''{quote(name, safe='')}".encode()
    return Response(200, content, ((b"content-type", DOWNLOAD), (b"content-disposition", where)))


async def resolve_discrepancy(api: Api, call: Call) -> Response:
    """Resolve a discrepancy, or propose the resolution if a second person must approve."""
    body = RESOLUTION.read(call.body)
    resolve = partial(_investigation(api).resolve, resolution=body.resolution, note=body.note)
    return await _decision(api, call, body, resolve)


async def approve_resolution(api: Api, call: Call) -> Response:
    """Approve a proposed resolution as the second person."""
    return await _decision(api, call, NO_CONTENT.read(call.body), _investigation(api).approve)


async def reject_resolution(api: Api, call: Call) -> Response:
    """Reject a proposed resolution; the discrepancy is open again."""
    body = NOTE.read(call.body)
    return await _decision(api, call, body, partial(_investigation(api).reject, note=body.note))


async def reopen_discrepancy(api: Api, call: Call) -> Response:
    """Reopen a resolved discrepancy and reverse its ledger entries."""
    body = NOTE.read(call.body)
    return await _step(api, call, body, partial(_investigation(api).reopen, note=body.note))


async def _step(
    api: Api, call: Call, body: msgspec.Struct, take: Callable[..., Awaitable[object]]
) -> Response:
    """Run an investigation step in the caller's name."""
    return await _once(api, call, body, partial(take, by=call.by.name))


async def _decision(
    api: Api, call: Call, body: msgspec.Struct, take: Callable[..., Awaitable[object]]
) -> Response:
    """Propose or decide as the person behind the key."""
    return await _once(api, call, body, partial(take, by=call.by.actor))


async def _once(
    api: Api, call: Call, body: msgspec.Struct, take: Callable[..., Awaitable[object]]
) -> Response:
    """Run the operation once and return the discrepancy."""

    async def taken() -> Response:
        await take(call.ids["discrepancy_id"])
        return await _as_it_stands(api, call)

    return await once(api.platform.tables.keys, call, body, taken)


async def _as_it_stands(api: Api, call: Call) -> Response:
    looked = await _investigation(api).check(call.ids["discrepancy_id"])
    return json_response(200, discrepancy_answer(looked))


def _investigation(api: Api) -> Investigation:
    return api.platform.reconciliation.investigation


_PATH: Final = f"{ROOT}/discrepancies/{{discrepancy_id:uuid}}"

DISCREPANCY_OPERATIONS: Final = (
    Operation(
        id="listDiscrepancies", tag=TAG, method="GET", path=f"{ROOT}/discrepancies",
        scopes=OPERATORS, query=LISTED, answers={200: DiscrepancyPage}, handle=list_discrepancies,
    ),
    Operation(
        id="getDiscrepancy", tag=TAG, method="GET", path=_PATH, scopes=OPERATORS,
        answers={200: DiscrepancyAnswer}, handle=get_discrepancy,
    ),
    Operation(
        id="assignDiscrepancy", tag=TAG, method="POST", path=f"{_PATH}/owner", scopes=OPERATORS,
        body=OWNER, answers={200: DiscrepancyAnswer}, handle=assign_discrepancy,
    ),
    Operation(
        id="noteDiscrepancy", tag=TAG, method="POST", path=f"{_PATH}/notes", scopes=OPERATORS,
        body=NOTE, answers={200: DiscrepancyAnswer}, handle=note_discrepancy,
    ),
    Operation(
        id="attachEvidence", tag=TAG, method="POST", path=f"{_PATH}/evidence", scopes=OPERATORS,
        body=EVIDENCE, body_bytes_max=DOCUMENT_BODY_BYTES_MAX, answers={201: EvidenceAnswer},
        handle=attach_evidence,
    ),
    Operation(
        id="getEvidence", tag=TAG, method="GET", path=f"{ROOT}/evidence/{{evidence_id:uuid}}",
        scopes=OPERATORS, answers={200: str}, media_type=DOWNLOAD.decode(), handle=get_evidence,
    ),
    Operation(
        id="resolveDiscrepancy", tag=TAG, method="POST", path=f"{_PATH}/resolutions",
        scopes=OPERATORS, body=RESOLUTION, answers={200: DiscrepancyAnswer},
        handle=resolve_discrepancy,
    ),
    Operation(
        id="approveResolution", tag=TAG, method="POST", path=f"{_PATH}/approval",
        scopes=OPERATORS, body=NO_CONTENT, answers={200: DiscrepancyAnswer},
        handle=approve_resolution,
    ),
    Operation(
        id="rejectResolution", tag=TAG, method="POST", path=f"{_PATH}/rejection",
        scopes=OPERATORS, body=NOTE, answers={200: DiscrepancyAnswer}, handle=reject_resolution,
    ),
    Operation(
        id="reopenDiscrepancy", tag=TAG, method="POST", path=f"{_PATH}/reopening",
        scopes=OPERATORS, body=NOTE, answers={200: DiscrepancyAnswer}, handle=reopen_discrepancy,
    ),
)  # fmt: skip
