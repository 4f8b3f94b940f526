"""Invoices and credit notes.

`Accept` selects the format: JSON, PDF/A-3 with embedded data, or EN 16931 XML.

Rule a change must keep: a document is visible to its customer, to the dealership that sold the
vehicle, and to unrestricted callers.
"""

from datetime import date, datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import PAGE_ROWS, Limit, QueryOf
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.operation import JSON, Operation
from caas.api.ownership import own_invoice, own_order, refuse_narrowed, refuse_other_customer
from caas.api.problems import Problem
from caas.api.reconciliation import NO_CONTENT
from caas.api.row_answers import answer_from, page_of
from caas.billing.document import Document
from caas.billing_database.decisions import CreditNoteProposal
from caas.billing_database.invoices import Invoice, of_note
from caas.rules.scopes import Scope
from caas.web.problems import CallRefusedError
from caas.web.response import Response, json_response

TAG: Final = "billing"
PDF: Final = "application/pdf"
XML: Final = "application/xml"
FORMS: Final = (JSON, PDF, XML)


class InvoiceQuery(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"since": "from", "until": "to"},
):
    """Filters for documents: `from` and `to` are dates of issue, both inclusive.

    `number` is a full document number, such as 2026-000007.
    """

    customer: UUID | None = None
    subject: UUID | None = None
    number: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] | None = None
    since: date | None = None
    until: date | None = None
    cursor: UUID | None = None
    limit: Limit = PAGE_ROWS


class InvoiceSummary(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "full_number": "number",
        "last_payment": "payment",
        "iva": "tax",
        "gross": "amount",
    },
):
    """A document in a list; amounts of a credit note are negative.

    For a vehicle's invoice, amounts are net of the advance it deducts.
    """

    id: UUID
    full_number: str
    kind: str
    state: str
    simplified: bool
    customer: UUID
    subject: UUID | None
    last_payment: UUID | None
    corrects: UUID | None
    refund: UUID | None
    currency: str
    net: int
    iva: int
    gross: int
    credited: int
    replaces: UUID | None
    replaced_by: UUID | None
    issued_at: datetime
    links: dict[str, str]


class InvoicePage(msgspec.Struct, frozen=True):
    """Documents, newest first; pass `next_cursor` to get the next page."""

    data: list[InvoiceSummary]
    next_cursor: str | None


class ProposalAnswer(msgspec.Struct, frozen=True, kw_only=True, rename={"gross": "amount"}):
    """A credit note that awaits approval by a second person."""

    invoice: UUID
    gross: int
    reason: str
    term: str | None
    proposed_by: str
    proposed_at: datetime


class RepaymentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How a credit note is paid out, in minor units.

    `given_back` is refunded, completed or in progress; `promised` will be refunded once nothing
    blocks it; `covered_by_loss` is what a bank took back (chargeback) or never paid, so it is not
    refunded again.
    """

    given_back: int
    promised: int
    covered_by_loss: int


class InvoiceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A document: its status, its content and any proposed credit note."""

    summary: InvoiceSummary
    document: Document
    proposal: ProposalAnswer | None
    repayment: RepaymentAnswer | None


class SentAnswer(msgspec.Struct, frozen=True):
    """The document was sent to its customer."""

    invoice: UUID


class NotAcceptableError(CallRefusedError):
    """Documents are available as application/json, application/pdf or application/xml."""

    code = "not_acceptable"
    http_status = 406


LISTED: Final = QueryOf(InvoiceQuery)


async def list_invoices(api: Api, call: Call) -> Response:
    """List documents, newest first. A restricted key sees only its own."""
    query = LISTED.read(call.scope["query_string"])
    if query.customer is not None:
        refuse_other_customer(call.by, query.customer)
    if call.by.dealership is not None:
        if query.subject is None:
            refuse_narrowed(call.by)
        else:
            await own_order(api.platform, call.by, query.subject)
    page = await api.platform.invoices.invoices(
        customer=query.customer or call.by.customer, subject=query.subject, since=query.since,
        until=query.until, before=query.cursor, rows_max=query.limit + 1, number=query.number,
    )  # fmt: skip
    shown, more = page_of(page, query.limit)
    return json_response(200, InvoicePage([summary_of(one) for one in shown], more))


async def _repayment(api: Api, invoice: Invoice) -> RepaymentAnswer | None:
    note = await of_note(api.platform.tables.database, invoice.id)
    if note is None:
        return None
    return RepaymentAnswer(
        given_back=note.given_back, promised=note.promised, covered_by_loss=note.covered
    )


async def get_invoice(api: Api, call: Call) -> Response:
    """Return a document as JSON, PDF or XML, as `Accept` prefers."""
    form = _preferred(call.headers.get(b"accept", b"*/*").decode("latin-1"))
    invoice = await own_invoice(api.platform, call.by, call.ids["invoice_id"])
    if form == JSON:
        proposal = await api.platform.invoices.credit_notes.proposed(invoice.id)
        answer = InvoiceAnswer(
            summary=summary_of(invoice),
            document=await api.platform.invoices.document(invoice.id),
            proposal=proposal_of(proposal) if proposal else None,
            repayment=await _repayment(api, invoice),
        )
        return json_response(200, answer, (b"vary", b"accept"))
    write = api.platform.invoices.pdf if form == PDF else api.platform.invoices.xml
    file = await write(invoice.id)
    return Response(
        200,
        file.content,
        (
            (b"content-type", form.encode()),
            (b"content-disposition", f'attachment; filename="{file.name}"'.encode()),
            (b"vary", b"accept"),
        ),
    )


async def send_invoice(api: Api, call: Call) -> Response:
    """Send a document to its customer on the customer's message channel."""
    body = NO_CONTENT.read(call.body)
    refuse_narrowed(call.by)

    async def send() -> Response:
        sent = await api.platform.invoices.send(call.ids["invoice_id"])
        return json_response(202, SentAnswer(sent.id))

    return await once(api.platform.tables.keys, call, body, send)


async def issue_documents(api: Api, call: Call) -> Response:
    """Issue the documents that a payment is missing, and return all of its documents."""
    body = NO_CONTENT.read(call.body)
    refuse_narrowed(call.by)

    async def issue() -> Response:
        payment = await api.platform.tables.payments.get(call.ids["payment_id"])
        await api.platform.invoices.issuing.issue_again(payment.id)
        issued = await api.platform.invoices.invoices(subject=payment.subject)
        return json_response(200, InvoicePage([summary_of(one) for one in issued], None))

    return await once(api.platform.tables.keys, call, body, issue)


def _preferred(accept: str) -> str:
    """Return the format that the `Accept` header prefers; our first one if it has no preference."""
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept.split(",")):
        media, *parameters = (one.strip().lower() for one in part.split(";"))
        weight = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        try:
            quality = float(weight)
        except ValueError:
            quality = 0.0
        kinds = {"*/*": JSON, "application/*": JSON, "text/xml": XML}
        wanted.append((-quality, place, kinds.get(media, media)))
    for quality, _, media in sorted(wanted):
        if quality < 0 and media in FORMS:
            return media
    raise NotAcceptableError


def address_of(invoice_id: UUID) -> str:
    """Return the path of a document."""
    return f"/v1/invoices/{invoice_id}"


def summary_of(invoice: Invoice) -> InvoiceSummary:
    """Return a document as it is listed."""
    return answer_from(
        InvoiceSummary,
        invoice,
        subject=invoice.subject or invoice.subscription,
        links={"self": address_of(invoice.id)},
    )


def proposal_of(proposal: CreditNoteProposal) -> ProposalAnswer:
    """Return a credit note that awaits approval."""
    return answer_from(ProposalAnswer, proposal)


BILLERS: Final = frozenset({Scope.BILLING, Scope.OPERATIONS})
_READERS: Final = BILLERS | {Scope.ORDER_MANAGEMENT, Scope.SERVICE_CATALOG}
PATH: Final = "/v1/invoices/{invoice_id:uuid}"

INVOICE_OPERATIONS: Final = (
    Operation(
        id="listInvoices", narrowed=True, tag=TAG, method="GET", path="/v1/invoices",
        scopes=_READERS, query=LISTED, answers={200: InvoicePage, 404: Problem},
        handle=list_invoices,
    ),
    Operation(
        id="getInvoice", narrowed=True, tag=TAG, method="GET", path=PATH, scopes=_READERS,
        also=(PDF, XML),
        answers={200: InvoiceAnswer, 404: Problem, 406: Problem}, handle=get_invoice,
    ),
    Operation(
        id="issueDocuments", tag=TAG, method="POST",
        path="/v1/payments/{payment_id:uuid}/documents", scopes=BILLERS, body=NO_CONTENT,
        answers={200: InvoicePage, 404: Problem, 409: Problem}, handle=issue_documents,
    ),
    Operation(
        id="sendInvoice", tag=TAG, method="POST", path=f"{PATH}/sending", scopes=BILLERS,
        body=NO_CONTENT,
        answers={202: SentAnswer, 404: Problem}, handle=send_invoice,
    ),
)  # fmt: skip
