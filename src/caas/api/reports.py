"""Report uploads, previews, format mappings and fee terms.

Rules a change must keep: a file that is sent twice is applied once; a preview changes nothing.
"""

from datetime import date
from typing import Annotated, Any, Final

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import BodyOf, QueryOf
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.operation import Operation
from caas.api.problems import Problem
from caas.api.reconciliation import OPERATORS, PATIENCE_SECONDS, TAG
from caas.api.reconciliation_answers import ROOT, ReconciledAnswer, day_answer, run_answer
from caas.api.texts import GatewayName
from caas.billing_database.report_terms import FeeTerm, KeptMapping
from caas.reconciliation import Expected
from caas.reconciliation.finance_terms import AMOUNT_MAX, Preview
from caas.web.limits import DOCUMENT_BODY_BYTES_MAX
from caas.web.response import Response, json_response

LINES_MAX: Final = 10**9
Net = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
Part = Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)]


class FileBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A report file of at most five megabytes, in Base64; use the command line for larger ones.

    `lines` is the number of lines after the header, `nets` their net total, such as "24.88 EUR".
    Where there are several gateways, `gateway` is the one whose report it is.
    """

    day: date
    content: bytes
    lines: Annotated[int, msgspec.Meta(ge=0, le=LINES_MAX)] | None = None
    nets: Annotated[list[Net], msgspec.Meta(max_length=20)] = []
    gateway: GatewayName | None = None


class PreviewBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A report file of at most five megabytes, in Base64, and a mapping to try."""

    content: bytes
    mapping: dict[str, Any] | None = None


class MappingBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named provider format; a retired one is no longer used."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    mapping: dict[str, Any]
    retired: bool = False


class FeeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Agreed provider fees: parts per million of the amount, a fixed part and a tolerance.

    Without a gateway, they are agreed with that of new payments.
    """

    method: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    valid_from: date
    rate_ppm: Part
    fixed: Part
    tolerance: Part = 0
    provider: Annotated[str, msgspec.Meta(min_length=1, max_length=40)] = "*"
    gateway: GatewayName | None = None


class FeeQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The date for which fees are listed, and the gateway; without one, that of new payments."""

    day: date
    gateway: GatewayName | None = None


class MappingList(msgspec.Struct, frozen=True):
    """The newest version of each stored mapping, and the built-in ones."""

    data: list[KeptMapping]
    shipped: dict[str, Any]


class FeeList(msgspec.Struct, frozen=True):
    """The fees in force on a date."""

    data: list[FeeTerm]


FILE: Final = BodyOf(FileBody)
PREVIEW: Final = BodyOf(PreviewBody)
MAPPING: Final = BodyOf(MappingBody)
FEE: Final = BodyOf(FeeBody)
FEES_ON: Final = QueryOf(FeeQuery)


async def upload_report(api: Api, call: Call) -> Response:
    """Reconcile a day from an uploaded report file."""
    body = FILE.read(call.body)

    async def upload() -> Response:
        done = await api.platform.reconciliation.reconcile_content(
            body.day, body.content, gateway=body.gateway,
            expected=Expected(lines=body.lines, nets=tuple(body.nets)),
            patience_seconds=PATIENCE_SECONDS,
        )  # fmt: skip
        to_response = run_answer(done.run)
        answer = ReconciledAnswer(
            run=to_response, day=day_answer(done.day), links=to_response.links
        )
        return json_response(201, answer, (b"location", to_response.links["self"].encode()))

    return await once(api.platform.tables.keys, call, body, upload)


async def preview_report(api: Api, call: Call) -> Response:
    """Parse a file without applying it, and return the result."""
    body = PREVIEW.read(call.body)

    async def preview() -> Response:
        reconciliation = api.platform.reconciliation
        return json_response(200, await reconciliation.preview_content(body.content, body.mapping))

    return await once(api.platform.tables.keys, call, body, preview)


async def list_mappings(api: Api, _call: Call) -> Response:
    """List stored and built-in format mappings."""
    terms = api.platform.reconciliation.finance_terms
    return json_response(200, MappingList(await terms.mappings(), dict(await terms.shipped())))


async def keep_mapping(api: Api, call: Call) -> Response:
    """Store a format mapping as the newest version of its name."""
    body = MAPPING.read(call.body)

    async def keep() -> Response:
        kept = await api.platform.reconciliation.finance_terms.keep_mapping(
            body.name, body.mapping, by=call.by.name, retired=body.retired
        )
        return json_response(201, kept)

    return await once(api.platform.tables.keys, call, body, keep)


async def list_fees(api: Api, call: Call) -> Response:
    """List the fees in force on a date."""
    query = FEES_ON.read(call.scope["query_string"])
    terms = api.platform.reconciliation.of(query.gateway).finance_terms
    return json_response(200, FeeList(await terms.fees(query.day)))


async def keep_fee(api: Api, call: Call) -> Response:
    """Set the agreed fee of a payment method and line type, from a date on."""
    body = FEE.read(call.body)

    async def keep() -> Response:
        terms = api.platform.reconciliation.of(body.gateway).finance_terms
        await terms.keep_fee(
            body.method, body.kind, body.valid_from, (body.rate_ppm, body.fixed, body.tolerance),
            provider=body.provider, by=call.by.name,
        )  # fmt: skip
        return json_response(201, FeeList(await terms.fees(body.valid_from)))

    return await once(api.platform.tables.keys, call, body, keep)


REPORT_OPERATIONS: Final = (
    Operation(
        id="uploadSettlementReport", tag=TAG, method="POST", path=f"{ROOT}/reports",
        scopes=OPERATORS, body=FILE, body_bytes_max=DOCUMENT_BODY_BYTES_MAX,
        answers={201: ReconciledAnswer, 404: Problem}, handle=upload_report,
    ),
    Operation(
        id="previewSettlementReport", tag=TAG, method="POST", path=f"{ROOT}/reports/preview",
        scopes=OPERATORS, body=PREVIEW, body_bytes_max=DOCUMENT_BODY_BYTES_MAX,
        answers={200: Preview}, handle=preview_report,
    ),
    Operation(
        id="listReportMappings", tag=TAG, method="GET", path=f"{ROOT}/mappings",
        scopes=OPERATORS, answers={200: MappingList}, handle=list_mappings,
    ),
    Operation(
        id="keepReportMapping", tag=TAG, method="POST", path=f"{ROOT}/mappings",
        scopes=OPERATORS, body=MAPPING, answers={201: KeptMapping}, handle=keep_mapping,
    ),
    Operation(
        id="listFeeTerms", tag=TAG, method="GET", path=f"{ROOT}/fee-terms", scopes=OPERATORS,
        query=FEES_ON, answers={200: FeeList, 404: Problem}, handle=list_fees,
    ),
    Operation(
        id="keepFeeTerm", tag=TAG, method="POST", path=f"{ROOT}/fee-terms", scopes=OPERATORS,
        body=FEE, answers={201: FeeList, 404: Problem}, handle=keep_fee,
    ),
)  # fmt: skip
