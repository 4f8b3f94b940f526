"""The Service Catalog and one-time services (Diagrams 4 and 8), with withdrawal (desistimiento).

Rules a change must keep: a caller names a service and a duration, never a price; a service order is
returned with its payment, because its state derives from it.
"""

import re
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import NOTHING, PAGE_ROWS, BodyOf, Limit, QueryOf, refuse_named_token
from caas.api.context import Api
from caas.api.first_answers import FIRST_ANSWERS, PaidWith, prefers_async, purchase_answer
from caas.api.idempotency import keyed, once
from caas.api.operation import Operation
from caas.api.ownership import own_service_order, refuse_narrowed, refuse_other_customer
from caas.api.problems import InvalidParameterError, Problem
from caas.api.row_answers import page_of
from caas.api.service_answers import (
    ServiceAnswer,
    ServiceList,
    ServiceOrderAnswer,
    ServiceOrderPage,
    service_answer,
    service_order_answer,
    service_order_path,
)
from caas.api.texts import (
    KIND_PATTERN,
    SERVICE_CODE_PATTERN,
    Amount,
    Currency,
    Days,
    LanguageCode,
    MeteredBody,
    MoneyBody,
    PersonName,
    PositiveAmount,
    ServiceCode,
    Vin,
    shown,
)
from caas.billing_database.payments import Payment
from caas.payment_processing import PaymentRequest
from caas.rules.payment_states import PaymentState
from caas.rules.scopes import Scope
from caas.service_catalog import PRICES_MAX
from caas.web.idempotency import checkout
from caas.web.problems import RETRY_AFTER
from caas.web.response import Response, json_response

UNDONE: Final = frozenset({PaymentState.FAILED, PaymentState.VOIDED, PaymentState.REFUNDED})


async def withdraw_from_service(api: Api, call: Call) -> Response:
    """Withdraw from a one-time service (desistimiento). It ends and its payments are refunded."""
    body = NOTHING.read(call.body)
    order_id = call.ids["order_id"]

    async def withdraw() -> Response:
        await own_service_order(api.platform, call.by, order_id)
        await api.platform.payment_processing.withdraw_from_service(
            order_id, requested_by=call.by.name
        )
        payments = await api.platform.tables.payments.listed(subject=order_id)
        order = await api.platform.service_catalog.service_order(order_id)
        refunds = await api.platform.payment_processing.refunds_of(payments)
        content = service_order_answer(order, payments, refunds)
        if all(payment.state in UNDONE for payment in payments):
            return json_response(200, content)
        return json_response(202, content, RETRY_AFTER)

    return await once(api.platform.tables.keys, call, body, withdraw)


TAG: Final = "services"
NAMES_MAX: Final = 20
_CODE: Final = re.compile(SERVICE_CODE_PATTERN)


class PriceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price of a one-time service for a duration."""

    duration_days: Days
    amount: PositiveAmount


class ServiceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A service: `one_time` with prices by duration, or `subscription` with a monthly fee.

    `repeat_purchase` says whether buying a one-time service that is already running in the vehicle
    extends it or is rejected.
    """

    name: PersonName
    names: Annotated[dict[LanguageCode, PersonName], msgspec.Meta(max_length=NAMES_MAX)] = {}
    kind: Annotated[str, msgspec.Meta(pattern=KIND_PATTERN)]
    currency: Currency
    prices: Annotated[list[PriceBody], msgspec.Meta(max_length=PRICES_MAX)] = []
    monthly_fee: Amount | None = None
    metered: Annotated[list[MeteredBody], msgspec.Meta(max_length=PRICES_MAX)] = []
    offered: bool = True
    repeat_purchase: Literal["extend", "refuse"] = "extend"


class ServiceOrderBody(PaidWith, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service, the vehicle and the duration ("Select Service + Duration").

    At another price than `expected_amount`, the one that the customer saw, nothing is bought.
    """

    customer: UUID
    vin: Vin
    service: ServiceCode
    duration_days: Days
    expected_amount: MoneyBody | None = None


class ServiceOrderQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters for service orders."""

    customer: UUID | None = None
    vin: Vin | None = None
    cursor: UUID | None = None
    limit: Limit = PAGE_ROWS


PUT: Final = BodyOf(ServiceBody)
NEW: Final = BodyOf(ServiceOrderBody)
LISTED: Final = QueryOf(ServiceOrderQuery)


async def put_service(api: Api, call: Call) -> Response:
    """Create or change a service of the catalogue. Changes apply to new purchases."""
    body = PUT.read(call.body)
    service = await api.platform.service_catalog.put_service(
        code=code_of(call),
        name=body.name,
        kind=body.kind,
        currency=body.currency,
        prices=[msgspec.structs.asdict(price) for price in body.prices],
        monthly_fee=body.monthly_fee,
        metered=[msgspec.structs.asdict(metered) for metered in body.metered],
        offered=body.offered,
        names=body.names,
        repeat_purchase=body.repeat_purchase,
    )
    return json_response(200, service_answer(service))


async def get_service(api: Api, call: Call) -> Response:
    """Return a service of the catalogue."""
    return json_response(
        200, service_answer(await api.platform.service_catalog.service(code_of(call)))
    )


async def list_services(api: Api, _call: Call) -> Response:
    """List the services of the catalogue."""
    offered = await api.platform.service_catalog.services()
    return json_response(200, ServiceList(data=[service_answer(service) for service in offered]))


async def create_service_order(api: Api, call: Call) -> Response:
    """Buy a one-time service for a vehicle. It is charged once the vehicle confirms activation."""
    body = NEW.read(call.body)
    refuse_other_customer(call.by, body.customer)
    if call.by.dealership is not None:
        refuse_narrowed(call.by)

    request = keyed(call, body)

    async def ordered() -> PaymentRequest:
        await refuse_named_token(api.platform, body.customer, body.payment_method)
        order = await api.platform.service_catalog.create_service_order(
            customer=body.customer, vin=body.vin, service=body.service,
            duration_days=body.duration_days, by_fleet=call.by.sells_for_any_vehicle,
            request_key=request.order_key, shown=shown(body.expected_amount),
        )  # fmt: skip
        return PaymentRequest(
            subject=order.id, customer=order.customer, amount=order.amount,
            currency=order.currency, payment_method=body.payment_method,
            return_url=body.return_url, caller_key=request.payment_key,
            respond_async=prefers_async(call),
        )  # fmt: skip

    async def buy() -> Response:
        initiate = api.platform.payment_processing.initiate_service_payment
        payment = await checkout(api.platform.tables, request, initiate, ordered)
        return await purchase_answer(api, call, payment, to_response)

    async def to_response(payment: Payment) -> tuple[ServiceOrderAnswer, str]:
        return await _to_response(api, payment.subject), service_order_path(payment.subject)

    return await once(api.platform.tables.keys, call, body, buy)


async def get_service_order(api: Api, call: Call) -> Response:
    """Return a service order with its payments."""
    order_id = call.ids["order_id"]
    await own_service_order(api.platform, call.by, order_id)
    return json_response(200, await _to_response(api, order_id))


async def list_service_orders(api: Api, call: Call) -> Response:
    """List service orders, newest first. A restricted key sees only its own."""
    query = LISTED.read(call.scope["query_string"])
    if query.customer is not None:
        refuse_other_customer(call.by, query.customer)
    if call.by.dealership is not None:
        refuse_narrowed(call.by)
    page = await api.platform.service_catalog.service_orders(
        customer=query.customer or call.by.customer, vin=query.vin, before=query.cursor
    )
    shown, more = page_of(page, query.limit)
    to_response = [service_order_answer(order, ()) for order in shown]
    return json_response(200, ServiceOrderPage(data=to_response, next_cursor=more))


def code_of(call: Call) -> str:
    """Return the service code in the path.

    Raises:
        InvalidParameterError: it is not a valid code.
    """
    code = str(call.ids["service_code"])
    if _CODE.match(code) is None:
        raise InvalidParameterError("A service code consists of lower-case letters, digits and -.")
    return code


async def _to_response(api: Api, order_id: UUID) -> ServiceOrderAnswer:
    order = await api.platform.service_catalog.service_order(order_id)
    payments = await api.platform.tables.payments.listed(subject=order_id)
    refunds = await api.platform.payment_processing.refunds_of(payments)
    return service_order_answer(order, payments, refunds)


_SELLERS: Final = frozenset({Scope.SERVICE_CATALOG, Scope.FLEET})
_EDITORS: Final = frozenset({Scope.SERVICE_CATALOG, Scope.OPERATIONS})
_READERS: Final = _SELLERS | {Scope.OPERATIONS}
_PATH: Final = "/v1/service-orders/{order_id:uuid}"

SERVICE_OPERATIONS: Final = (
    Operation(
        id="putService", tag=TAG, method="PUT", path="/v1/services/{service_code:str}",
        scopes=_EDITORS,
        body=PUT, answers={200: ServiceAnswer}, handle=put_service,
    ),
    Operation(
        id="getService", narrowed=True,
        tag=TAG, method="GET", path="/v1/services/{service_code:str}",
        answers={200: ServiceAnswer, 404: Problem}, handle=get_service,
    ),
    Operation(
        id="listServices", narrowed=True, tag=TAG, method="GET", path="/v1/services",
        answers={200: ServiceList}, handle=list_services,
    ),
    Operation(
        id="createServiceOrder", pays=True, narrowed=True,
        tag=TAG, method="POST", path="/v1/service-orders", body=NEW,
        scopes=_SELLERS, handle=create_service_order,
        answers={
            **FIRST_ANSWERS, 201: ServiceOrderAnswer, 202: ServiceOrderAnswer, 404: Problem,
            409: Problem,
        },
    ),
    Operation(
        id="withdrawFromService", narrowed=True, tag=TAG, method="POST", path=f"{_PATH}/withdrawal",
        scopes=_READERS, body=NOTHING, handle=withdraw_from_service,
        answers={200: ServiceOrderAnswer, 202: ServiceOrderAnswer, 404: Problem, 409: Problem},
    ),
    Operation(
        id="getServiceOrder", narrowed=True, tag=TAG, method="GET", path=_PATH, scopes=_READERS,
        answers={200: ServiceOrderAnswer, 404: Problem}, handle=get_service_order,
    ),
    Operation(
        id="listServiceOrders", narrowed=True,
        tag=TAG, method="GET", path="/v1/service-orders", scopes=_READERS,
        query=LISTED, answers={200: ServiceOrderPage}, handle=list_service_orders,
    ),
)  # fmt: skip
