"""Customers: a name and an address behind a pseudonymous id (decision 43).

Rule a change must keep: a name or an address is answered only to keys that need them, and never
stands in a path, a query, a problem or a log line.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.api.answers import Answer, answer_of
from caas.api.bodies import BodyOf
from caas.api.call import Call
from caas.api.idempotency import once
from caas.api.operation import Operation
from caas.api.ownership import refuse_foreign_customer, refuse_narrowed
from caas.api.problems import Problem
from caas.api.rooms import Api
from caas.api.texts import Email, Language, PersonName
from caas.billing_database.customers import Customer
from caas.rules.scopes import Scope

TAG: Final = "customers"


class CustomerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who a customer is, and in which language they are written to."""

    name: PersonName
    email: Email
    language: Language = "es"


class CustomerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer; without name and email once erased."""

    id: UUID
    name: str | None
    email: str | None
    language: str
    created_at: datetime
    erased_at: datetime | None
    links: dict[str, str]


NEW: Final = BodyOf(CustomerBody)


async def create_customer(api: Api, call: Call) -> Answer:
    """Write down a customer, known from then on by a pseudonymous id."""
    body = NEW.read(call.body)
    if call.by.customer is not None:
        refuse_narrowed(call.by)

    async def create() -> Answer:
        customer = await api.rooms.order_management.create_customer(
            name=body.name, email=body.email, language=body.language
        )
        told = _told(customer)
        return answer_of(201, told, (b"location", told.links["self"].encode()))

    return await once(api.rooms.books.keys, call, body, create)


async def get_customer(api: Api, call: Call) -> Answer:
    """Return a customer."""
    customer_id = call.ids["customer_id"]
    await refuse_foreign_customer(api.rooms, call.by, customer_id)
    return answer_of(200, _told(await api.rooms.order_management.customer(customer_id)))


async def erase_customer(api: Api, call: Call) -> Answer:
    """Forget a customer's name and address; the books stay whole."""
    refuse_narrowed(call.by)
    return answer_of(
        200, _told(await api.rooms.order_management.erase_customer(call.ids["customer_id"]))
    )


def _told(customer: Customer) -> CustomerAnswer:
    return CustomerAnswer(
        id=customer.id,
        name=customer.name,
        email=customer.email,
        language=customer.language,
        created_at=customer.created_at,
        erased_at=customer.erased_at,
        links={"self": f"/v1/customers/{customer.id}"},
    )


_PATH: Final = "/v1/customers/{customer_id:uuid}"
_READERS: Final = frozenset({Scope.ORDER_MANAGEMENT, Scope.SERVICE_CATALOG, Scope.OPERATIONS})

CUSTOMER_OPERATIONS: Final = (
    Operation(
        id="createCustomer", tag=TAG, method="POST", path="/v1/customers", body=NEW,
        scopes=frozenset({Scope.ORDER_MANAGEMENT, Scope.SERVICE_CATALOG}),
        answers={201: CustomerAnswer}, handle=create_customer,
    ),
    Operation(
        id="getCustomer", tag=TAG, method="GET", path=_PATH, scopes=_READERS,
        answers={200: CustomerAnswer, 404: Problem}, handle=get_customer,
    ),
    Operation(
        id="eraseCustomer", tag=TAG, method="DELETE", path=_PATH,
        scopes=frozenset({Scope.OPERATIONS}), answers={200: CustomerAnswer, 404: Problem},
        handle=erase_customer,
    ),
)  # fmt: skip
