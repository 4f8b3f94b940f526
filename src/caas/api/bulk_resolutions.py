"""Bulk resolution of discrepancies by rule, and claims on the provider.

Rule a change must keep: the limits for single discrepancies also apply here.
"""

from datetime import date
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import BodyOf, QueryOf
from caas.api.context import Api
from caas.api.discrepancies import NOTE
from caas.api.idempotency import once
from caas.api.operation import Operation
from caas.api.reconciliation import NO_CONTENT, OPERATORS, TAG
from caas.api.reconciliation_answers import ROOT
from caas.api.row_answers import answer_from
from caas.api.texts import Currency, Note
from caas.billing_database.bulk_proposals import ProposedBulk
from caas.billing_database.gateway_claims import GatewayClaim
from caas.reconciliation.bulk import RECEIPT_CHARS_MAX, BulkRule
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.web.response import Response, json_response


class RuleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule: which discrepancies, which resolution, and why. Above the limit it is a proposal."""

    kind: DiscrepancyKind
    currency: Currency
    day: date | None = None
    amount_max: Annotated[int, msgspec.Meta(ge=0)] | None = None
    resolution: Resolution
    note: Note


class ClaimBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The outcome of a claim, with the provider's receipt."""

    status: Literal["sent", "accepted", "paid", "refused"]
    receipt: Annotated[str, msgspec.Meta(min_length=1, max_length=RECEIPT_CHARS_MAX)] | None = None
    note: Note


class ClaimQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters for claims."""

    status: Literal["filed", "sent", "accepted", "paid", "refused"] | None = None
    open: bool = False


class BulkAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The matched discrepancies by their status now; `left` are those that were not decided."""

    id: UUID
    met: int
    amount: int
    currency: str
    needs_second_approver: bool
    by_status: dict[str, int]
    left: list[UUID]


class ProposedBulkList(msgspec.Struct, frozen=True):
    """Proposed rules that await a second person, oldest first."""

    data: list[ProposedBulk]


class BulkRejected(msgspec.Struct, frozen=True):
    """The number of proposals rejected."""

    rejected: int


class BulkApproved(msgspec.Struct, frozen=True):
    """The number of proposals approved, and the discrepancies for which that is not possible."""

    approved: int
    left: list[UUID]


class ClaimList(msgspec.Struct, frozen=True):
    """Claims on the provider, soonest deadline first."""

    data: list[GatewayClaim]


RULE: Final = BodyOf(RuleBody)
CLAIM: Final = BodyOf(ClaimBody)
CLAIMS: Final = QueryOf(ClaimQuery)


async def resolve_by_rule(api: Api, call: Call) -> Response:
    """Resolve every discrepancy that matches a rule."""
    body = RULE.read(call.body)

    async def resolve() -> Response:
        rule = BulkRule(
            kind=body.kind, currency=body.currency, day=body.day, amount_max=body.amount_max
        )
        done = await api.platform.reconciliation.bulk.resolve(
            rule, resolution=body.resolution, note=body.note, by=call.by.actor
        )
        return json_response(201, answer_from(BulkAnswer, done))

    return await once(api.platform.tables.keys, call, body, resolve)


async def approve_rule(api: Api, call: Call) -> Response:
    """Approve, as the second person, everything that a rule proposed."""
    body = NO_CONTENT.read(call.body)

    async def approve() -> Response:
        bulk = api.platform.reconciliation.bulk
        done = await bulk.approve(call.ids["bulk_id"], by=call.by.actor)
        return json_response(200, BulkApproved(done.decided, done.left))

    return await once(api.platform.tables.keys, call, body, approve)


async def list_proposed(api: Api, _call: Call) -> Response:
    """List rules that await approval by a second person."""
    return json_response(200, ProposedBulkList(await api.platform.reconciliation.bulk.proposed()))


async def reject_rule(api: Api, call: Call) -> Response:
    """Reject everything that a rule proposed."""
    body = NOTE.read(call.body)

    async def reject() -> Response:
        rejected = await api.platform.reconciliation.bulk.reject(
            call.ids["bulk_id"], note=body.note, by=call.by.actor
        )
        return json_response(200, BulkRejected(rejected))

    return await once(api.platform.tables.keys, call, body, reject)


async def list_claims(api: Api, call: Call) -> Response:
    """List claims on the provider, soonest deadline first."""
    query = CLAIMS.read(call.scope["query_string"])
    bulk = api.platform.reconciliation.bulk
    return json_response(
        200, ClaimList(await bulk.claims(status=query.status, open_only=query.open))
    )


async def claim_step(api: Api, call: Call) -> Response:
    """Record the outcome of a claim."""
    body = CLAIM.read(call.body)

    async def step() -> Response:
        claim = await api.platform.reconciliation.bulk.claim_step(
            call.ids["discrepancy_id"], body.status, receipt=body.receipt, note=body.note,
            by=call.by.actor,
        )  # fmt: skip
        return json_response(200, claim)

    return await once(api.platform.tables.keys, call, body, step)


BULK_OPERATIONS: Final = (
    Operation(
        id="resolveByRule", tag=TAG, method="POST", path=f"{ROOT}/bulk-resolutions",
        scopes=OPERATORS, body=RULE, answers={201: BulkAnswer}, handle=resolve_by_rule,
    ),
    Operation(
        id="approveBulkResolution", tag=TAG, method="POST",
        path=f"{ROOT}/bulk-resolutions/{{bulk_id:uuid}}/approval", scopes=OPERATORS,
        body=NO_CONTENT, answers={200: BulkApproved}, handle=approve_rule,
    ),
    Operation(
        id="listProposedBulkResolutions", tag=TAG, method="GET", path=f"{ROOT}/bulk-resolutions",
        scopes=OPERATORS, answers={200: ProposedBulkList}, handle=list_proposed,
    ),
    Operation(
        id="rejectBulkResolution", tag=TAG, method="POST",
        path=f"{ROOT}/bulk-resolutions/{{bulk_id:uuid}}/rejection", scopes=OPERATORS, body=NOTE,
        answers={200: BulkRejected}, handle=reject_rule,
    ),
    Operation(
        id="listGatewayClaims", tag=TAG, method="GET", path=f"{ROOT}/claims", scopes=OPERATORS,
        query=CLAIMS, answers={200: ClaimList}, handle=list_claims,
    ),
    Operation(
        id="stepGatewayClaim", tag=TAG, method="POST",
        path=f"{ROOT}/claims/{{discrepancy_id:uuid}}/steps", scopes=OPERATORS, body=CLAIM,
        answers={200: GatewayClaim}, handle=claim_step,
    ),
)  # fmt: skip
