"""A customer's billing details: the address and tax id for documents that name the customer.

Rule a change must keep: only keys that may see the customer read them, and they are not stored with
an Idempotency-Key.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from caas.api.bodies import BodyOf
from caas.api.call import Call
from caas.api.context import Api
from caas.api.operation import Operation
from caas.api.ownership import refuse_foreign_customer
from caas.api.patterns import COUNTRY_PATTERN, WRITTEN_PATTERN
from caas.api.problems import Problem
from caas.api.row_answers import answer_from
from caas.api.texts import PersonName
from caas.billing.buyers import CHARS_MAX, checked_details
from caas.billing_database.billing_details import (
    BillingDetailsRows,
    NewBillingDetails,
)
from caas.billing_database.customers import CustomerErasedError
from caas.errors import NotFoundError
from caas.rules.scopes import Scope
from caas.web.response import Response, json_response

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
    await api.platform.order_management.customer(customer)
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


_PATH: Final = "/v1/customers/{customer_id:uuid}/billing-details"
_SCOPES: Final = frozenset({Scope.ORDER_MANAGEMENT, Scope.SERVICE_CATALOG, Scope.OPERATIONS})

BILLING_DETAILS_OPERATIONS: Final = (
    Operation(
        id="putBillingDetails", narrowed=True, tag=TAG, method="PUT", path=_PATH,
        body=DETAILS, scopes=_SCOPES,
        answers={200: BillingDetailsAnswer, 404: Problem, 409: Problem},
        handle=put_billing_details,
    ),
    Operation(
        id="getBillingDetails", narrowed=True, tag=TAG, method="GET", path=_PATH, scopes=_SCOPES,
        answers={200: BillingDetailsAnswer, 404: Problem}, handle=get_billing_details,
    ),
)  # fmt: skip
