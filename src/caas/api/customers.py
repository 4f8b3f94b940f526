"""Customers: personal data behind a pseudonymous id (decision 43), and billing details.

The billing details are the address and tax id for documents that name the customer.

Rules a change must keep: names and addresses are returned only to keys that need them, and never
appear in a path, a query, a problem or a log line; billing details are returned only to keys that
may see the customer, and are not stored with an Idempotency-Key.
"""

from datetime import date, datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from caas.api.authentication import Call
from caas.api.bodies import BodyOf, QueryOf
from caas.api.context import Api
from caas.api.idempotency import Linked, once
from caas.api.operation import Operation
from caas.api.ownership import refuse_customers_own, refuse_foreign_customer
from caas.api.problems import Problem
from caas.api.reconciliation_answers import ROOT
from caas.api.row_answers import answer_from
from caas.api.texts import COUNTRY_PATTERN, WRITTEN_PATTERN, Email, Language, PersonName
from caas.billing.buyers import CHARS_MAX, checked_details
from caas.billing_database.customers import (
    BillingDetailsRows,
    Customer,
    CustomerErasedError,
    NewBillingDetails,
)
from caas.billing_database.erasure_rows import OpenKind
from caas.errors import NotFoundError
from caas.rules.scopes import Scope
from caas.web.problems import CallRefusedError, FieldError
from caas.web.response import Response, encode, json_response

TAG: Final = "customers"

Street = Annotated[str, Meta(min_length=1, max_length=CHARS_MAX["street"], pattern=WRITTEN_PATTERN)]
Postcode = Annotated[
    str, Meta(min_length=1, max_length=CHARS_MAX["postcode"], pattern=WRITTEN_PATTERN)
]
City = Annotated[str, Meta(min_length=1, max_length=CHARS_MAX["city"], pattern=WRITTEN_PATTERN)]
Country = Annotated[str, Meta(pattern=COUNTRY_PATTERN, description="ISO 3166, such as ES.")]
TaxId = Annotated[
    str,
    Meta(
        min_length=3, max_length=40, pattern=WRITTEN_PATTERN,
        description="In the format of the customer's tax office, such as 12345678Z.",
    ),
]  # fmt: skip


class BillingDetailsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A billing address and tax id; `name` defaults to the customer's name."""

    name: PersonName | None = None
    street: Street
    postcode: Postcode
    city: City
    country: Country
    tax_id: TaxId | None = None


class BillingDetailsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The billing details printed on future documents."""

    name: str
    street: str
    postcode: str
    city: str
    country: str
    tax_id: str | None
    updated_at: datetime


class NoBillingDetailsError(NotFoundError):
    """The customer has no billing details. Add them: documents about vehicles require them."""

    code = "no_billing_details"


DETAILS: Final = BodyOf(BillingDetailsBody)


async def put_billing_details(api: Api, call: Call) -> Response:
    """Set a customer's billing address and tax id, printed on documents issued from now on."""
    body = DETAILS.read(call.body)
    customer = call.ids["customer_id"]
    await refuse_foreign_customer(api.platform, call.by, customer)
    await api.platform.order_management.customers.get(customer)
    written = await BillingDetailsRows(api.platform.tables.database).put(customer, checked(body))
    if written is None:
        raise CustomerErasedError(customer=str(customer))
    return json_response(200, answer_from(BillingDetailsAnswer, written))


def checked(body: BillingDetailsBody) -> NewBillingDetails:
    """Validate the details for use on a document.

    Raises:
        UnknownCountryError, InvalidTaxIdError, InvalidBillingDetailsError: a field is invalid.
    """
    return checked_details(
        name=body.name or "", street=body.street, postcode=body.postcode, city=body.city,
        country=body.country, tax_id=body.tax_id or "",
    )  # fmt: skip


async def get_billing_details(api: Api, call: Call) -> Response:
    """Return a customer's current billing address and tax id."""
    customer = call.ids["customer_id"]
    await refuse_foreign_customer(api.platform, call.by, customer)
    details = await BillingDetailsRows(api.platform.tables.database).find(customer)
    if details is None:
        raise NoBillingDetailsError
    return json_response(200, answer_from(BillingDetailsAnswer, details))


_DETAILS_PATH: Final = "/v1/customers/{customer_id:uuid}/billing-details"
_SCOPES: Final = frozenset({Scope.ORDER_MANAGEMENT, Scope.SERVICE_CATALOG, Scope.OPERATIONS})

BILLING_DETAILS_OPERATIONS: Final = (
    Operation(
        id="putBillingDetails", narrowed=True, tag=TAG, method="PUT", path=_DETAILS_PATH,
        body=DETAILS, scopes=_SCOPES,
        answers={200: BillingDetailsAnswer, 404: Problem, 409: Problem},
        handle=put_billing_details,
    ),
    Operation(
        id="getBillingDetails", narrowed=True, tag=TAG, method="GET", path=_DETAILS_PATH,
        scopes=_SCOPES,
        answers={200: BillingDetailsAnswer, 404: Problem}, handle=get_billing_details,
    ),
)  # fmt: skip


class CustomerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A customer and the language of their messages.

    `billing_details` appear on the customer's documents. A vehicle buyer must provide them before
    the final payment, here or with `putBillingDetails`.
    """

    name: PersonName
    email: Email
    language: Language = "es"
    billing_details: BillingDetailsBody | None = None


class CustomerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer; `name` and `email` are null after erasure."""

    id: UUID
    name: str | None
    email: str | None
    language: str
    created_at: datetime
    erased_at: datetime | None
    links: dict[str, str]


class KeptDocumentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A full invoice that still names its buyer; the personal data is removed after `until`."""

    number: str
    fields: list[str]
    until: date
    links: dict[str, str]


class KeptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The data retained about an erased customer, and why."""

    documents: list[KeptDocumentAnswer]
    """At most 500, oldest first."""
    because: str
    evidence: list[str]
    """Discrepancies with attached documents, at most 500; the documents are not inspected."""
    under_the_id: str


class ErasedAnswer(CustomerAnswer, frozen=True, kw_only=True):
    """An erased customer and the retained data; the gateways are asked to erase afterwards."""

    kept: KeptAnswer


class ErasingQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Erasure options: `end_open` first ends subscriptions and unpaid payment pages."""

    end_open: bool = False


class OpenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An open item of the customer and how to close it."""

    kind: OpenKind
    id: str
    state: str
    what_to_do: str


class StillOpenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Open items that prevent erasure. Subscriptions were ended; unpaid pages are being ended."""

    customer: UUID
    open: list[OpenAnswer]


class CustomerStillOpenError(CallRefusedError):
    """The customer still has open items, listed in `errors`, and was not erased.

    Send `?end_open=true` to end subscriptions and unpaid payment pages. Close the others first.
    """

    code = "customer_still_open"
    http_status = 409


BECAUSE: Final = (
    "A full invoice is retained unchanged, with its buyer, for the period that the market's tax "
    "law requires. Simplified invoices no longer name the customer."
)
UNDER_THE_ID: Final = (
    "Orders, payments, subscriptions and documents are retained under this id, with amounts, dates "
    "and the VIN and plate of the vehicle."
)
NEW: Final = BodyOf(CustomerBody)
ERASING: Final = QueryOf(ErasingQuery)
WHAT_TO_DO: Final = {
    OpenKind.ORDER: "Wait for delivery, or withdraw: POST /v1/orders/{id}/withdrawal.",
    OpenKind.UNPAID_ORDER: "Withdraw: POST /v1/orders/{id}/withdrawal, or send end_open=true.",
    OpenKind.VEHICLE: "Return the vehicle.",
    OpenKind.PAGE: "Wait until the payment page is paid or abandoned, or send end_open=true.",
    OpenKind.PAYMENT: "Wait for settlement, or void or refund the payment.",
    OpenKind.SUBSCRIPTION: "End it: DELETE /v1/subscriptions/{id}, or send end_open=true.",
    OpenKind.LAST_MONTH: "Wait until its last month is billed and paid.",
    OpenKind.USAGE_DISPUTE: "Decide it: POST /v1/usage-disputes/{id}/outcome.",
    OpenKind.USE: "Wait until the next billing run bills the usage, or cancel the usage.",
    OpenKind.REFUND: "Wait until the refund succeeds.",
    OpenKind.DISPUTE: "Wait until the dispute is decided.",
    OpenKind.INVOICE: "Wait until it is paid, or written off.",
    OpenKind.DOCUMENT: "Wait until its document is issued, or resolve what blocks it.",
    OpenKind.CASE: "Resolve the case in the operations console.",
    OpenKind.DISCREPANCY: "Resolve the discrepancy.",
}


async def create_customer(api: Api, call: Call) -> Response:
    """Create a customer and return its pseudonymous id."""
    body = NEW.read(call.body)
    refuse_customers_own(call.by)

    details = checked(body.billing_details) if body.billing_details else None

    async def create() -> Response:
        customer = await api.platform.order_management.ordering.create_customer(
            name=body.name, email=body.email, language=body.language,
            dealership=call.by.dealership,
        )  # fmt: skip
        if details is not None:
            await BillingDetailsRows(api.platform.tables.database).put(customer.id, details)
        path = _path(customer.id)
        return json_response(201, Linked({"self": path}), (b"location", path.encode()))

    return await _with_customer(api, await once(api.platform.tables.keys, call, body, create))


async def _with_customer(api: Api, kept: Response) -> Response:
    """Return the stored response with the current customer; names are not stored with a key."""
    path = msgspec.json.decode(kept.body, type=Linked).links["self"]
    customer = await api.platform.order_management.customers.get(UUID(path.rsplit("/", 1)[1]))
    return Response(kept.status, encode(_to_response(customer)), kept.headers)


async def get_customer(api: Api, call: Call) -> Response:
    """Return a customer."""
    customer_id = call.ids["customer_id"]
    await refuse_foreign_customer(api.platform, call.by, customer_id)
    return json_response(
        200, _to_response(await api.platform.order_management.customers.get(customer_id))
    )


async def erase_customer(api: Api, call: Call) -> Response:
    """Erase a customer's personal data once nothing is open. Financial records are retained."""
    query = ERASING.read(call.scope["query_string"])
    customer_id = call.ids["customer_id"]
    erasing = await api.platform.erasure.erase(customer_id, end_open=query.end_open)
    if not erasing.open:
        return json_response(200, await _erased(api, customer_id))
    still_open = [
        answer_from(OpenAnswer, thing, what_to_do=WHAT_TO_DO[thing.kind]) for thing in erasing.open
    ]
    if erasing.began:
        return json_response(202, StillOpenAnswer(customer=customer_id, open=still_open))
    raise CustomerStillOpenError(
        errors=tuple(FieldError(f"{one.kind} {one.id}", one.what_to_do) for one in still_open)
    )


async def _erased(api: Api, customer_id: UUID) -> ErasedAnswer:
    customer = await api.platform.order_management.customers.get(customer_id)
    kept = await api.platform.erasure.kept(customer_id)
    documents = [
        answer_from(KeptDocumentAnswer, one, links={"self": f"/v1/invoices/{one.id}"})
        for one in kept.documents
    ]
    answer = KeptAnswer(
        documents=documents,
        because=BECAUSE,
        evidence=[f"{ROOT}/evidence/{one}" for one in kept.evidence],
        under_the_id=UNDER_THE_ID,
    )
    return answer_from(ErasedAnswer, customer, kept=answer, links={"self": _path(customer.id)})


def _path(customer_id: UUID) -> str:
    return f"/v1/customers/{customer_id}"


def _to_response(customer: Customer) -> CustomerAnswer:
    return answer_from(CustomerAnswer, customer, links={"self": _path(customer.id)})


_PATH: Final = "/v1/customers/{customer_id:uuid}"
_READERS: Final = frozenset({Scope.ORDER_MANAGEMENT, Scope.SERVICE_CATALOG, Scope.OPERATIONS})

CUSTOMER_OPERATIONS: Final = (
    Operation(
        id="createCustomer", narrowed=True, tag=TAG, method="POST", path="/v1/customers", body=NEW,
        scopes=frozenset({Scope.ORDER_MANAGEMENT, Scope.SERVICE_CATALOG}),
        answers={201: CustomerAnswer}, handle=create_customer,
    ),
    Operation(
        id="getCustomer", narrowed=True, tag=TAG, method="GET", path=_PATH, scopes=_READERS,
        answers={200: CustomerAnswer, 404: Problem}, handle=get_customer,
    ),
    Operation(
        id="eraseCustomer", tag=TAG, method="DELETE", path=_PATH,
        scopes=frozenset({Scope.OPERATIONS}), query=ERASING, handle=erase_customer,
        answers={200: ErasedAnswer, 202: StillOpenAnswer, 404: Problem, 409: Problem},
    ),
)  # fmt: skip
