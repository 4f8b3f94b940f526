"""F-P7: a key for one customer or one dealership sees and touches nothing of anybody else."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

import pytest

from caas.api.application import OPERATIONS
from caas.billing_database.api_keys import ApiKeys
from tests.api.conftest import Doors, Reply
from tests.installation import VIN

THEIR_KEY = "t" * 43


@dataclass(slots=True)
class World:
    """Two customers, an order and a service order of the first, and a key for somebody."""

    doors: Doors
    mine: UUID
    theirs: UUID
    order: dict[str, object]
    service_order: dict[str, object]

    async def as_somebody(
        self, method: str, path: str, body: object = None, *,
        customer: UUID | None = None, dealership: str | None = None,
    ) -> Reply:  # fmt: skip
        """Make a call with a key for this customer or this dealership, of every scope."""
        key = f"{customer}{dealership}{THEIR_KEY}"
        await ApiKeys(self.doors.installation.database).put(
            key_hash=hashlib.sha256(key.encode()).digest(), name="somebody",
            scopes=frozenset({"any"}), customer=customer, dealership=dealership,
        )  # fmt: skip
        headers = {"authorization": f"Bearer {key}", "idempotency-key": str(uuid4())}
        more = {} if body is None else {"json": body}
        return await self.doors.call(method, path, caller=None, headers=headers, **more)


@pytest.fixture
async def world(doors: Doors) -> World:
    """A reserved vehicle in Madrid, and heated seats in it."""
    mine, theirs = await doors.installation.customer(), await doors.installation.customer()
    order = await doors.post("/v1/orders", {
        "customer": str(mine), "vin": VIN, "dealership": "Madrid",
        "deposit": {"amount": 40_000, "currency": "EUR"}, "payment_method": "pm_ok",
    })  # fmt: skip
    service_order = await doors.post("/v1/service-orders", {
        "customer": str(mine), "vin": VIN, "service": "heated-seats", "duration_days": 30,
        "payment_method": "pm_ok",
    })  # fmt: skip
    assert (order.status, service_order.status) == (201, 201)
    return World(doors, mine, theirs, order.json, service_order.json)


def things_of_the_first(world: World) -> dict[str, tuple[str, str, object]]:
    """Every call about one thing of the first customer's."""
    order, service_order = world.order, world.service_order
    reservation = order["payments"][0]["id"]  # type: ignore[index]
    payment = f"/v1/payments/{service_order['payment']}"
    return {
        "payment": ("GET", payment, None),
        "reservation payment": ("GET", f"/v1/payments/{reservation}", None),
        "void": ("POST", f"{payment}/void", {"reason": "mine"}),
        "refund": ("POST", f"{payment}/refunds", {"amount": 1, "reason": "mine"}),
        "settlement": ("POST", f"{payment}/settlements", {
            "settlement_id": "s1", "settled": True, "settled_amount": 1299, "currency": "EUR"}),
        "order": ("GET", f"/v1/orders/{order['id']}", None),
        "final payment": ("POST", f"/v1/orders/{order['id']}/final-payment", {}),
        "withdrawal": ("POST", f"/v1/orders/{order['id']}/withdrawal", {}),
        "service order": ("GET", f"/v1/service-orders/{service_order['id']}", None),
        "customer": ("GET", f"/v1/customers/{world.mine}", None),
    }  # fmt: skip


async def test_what_is_anothers_is_not_found_by_a_customers_key(world: World) -> None:
    for name, (method, path, body) in things_of_the_first(world).items():
        answer = await world.as_somebody(method, path, body, customer=world.theirs)
        assert answer.status == 404, (name, answer.body)


async def test_what_is_anothers_is_not_found_by_a_dealerships_key(world: World) -> None:
    for name, (method, path, body) in things_of_the_first(world).items():
        answer = await world.as_somebody(method, path, body, dealership="Vigo")
        assert answer.status == 404, (name, answer.body)


async def test_what_is_their_own_is_found(world: World) -> None:
    for name in ("payment", "reservation payment", "order", "service order", "customer"):
        method, path, body = things_of_the_first(world)[name]
        answer = await world.as_somebody(method, path, body, customer=world.mine)
        assert answer.status == 200, (name, answer.body)


async def test_a_dealership_finds_its_own_orders_payments_and_customers_and_no_services(
    world: World,
) -> None:
    found = {
        name: (await world.as_somebody(method, path, body, dealership="Madrid")).status
        for name, (method, path, body) in things_of_the_first(world).items()
        if method == "GET"
    }

    assert found == {
        "payment": 404, "reservation payment": 200, "order": 200, "service order": 404,
        "customer": 200,
    }  # fmt: skip


async def test_a_dealerships_key_sets_no_vehicles_key(world: World) -> None:
    body = {"model": "Uno", "price": {"amount": 1, "currency": "EUR"}, "public_key": "B" * 43 + "="}

    answer = await world.as_somebody(
        "PUT", "/v1/vehicles/VSSZZZ1JZXW000078", body, dealership="Madrid"
    )

    assert answer.status == 403
    assert (await world.as_somebody("GET", "/v1/vehicles/VSSZZZ1JZXW000078", None)).status == 404


async def test_lists_show_a_narrowed_key_its_own_and_refuse_to_show_others(world: World) -> None:
    for path in ("/v1/payments", "/v1/orders", "/v1/service-orders"):
        own = await world.as_somebody("GET", path, customer=world.mine)
        none = await world.as_somebody("GET", path, customer=world.theirs)
        asked = await world.as_somebody(
            "GET", f"{path}?customer={world.mine}", customer=world.theirs
        )
        assert own.json["data"], path
        assert none.json["data"] == [], path
        assert (asked.status, asked.json["code"]) == (403, "not_yours"), path


async def test_a_dealership_lists_payments_of_its_orders_only(world: World) -> None:
    of_order = f"/v1/payments?subject={world.order['id']}"

    everything = await world.as_somebody("GET", "/v1/payments", dealership="Madrid")
    own = await world.as_somebody("GET", of_order, dealership="Madrid")
    others = await world.as_somebody("GET", of_order, dealership="Vigo")
    elsewhere = await world.as_somebody("GET", "/v1/payments", dealership="Vigo")

    assert (everything.status, others.status) == (200, 404)
    assert len(own.json["data"]) == 1
    assert own.json["data"][0] in everything.json["data"]
    assert {one["subject"] for one in everything.json["data"]} == {world.order["id"]}
    assert elsewhere.json["data"] == []


async def test_nobody_buys_or_charges_in_anothers_name(world: World) -> None:
    service = {"customer": str(world.mine), "vin": VIN, "service": "heated-seats",
               "duration_days": 30}  # fmt: skip
    order = {"customer": str(world.mine), "vin": VIN, "dealership": "Madrid",
             "deposit": {"amount": 1, "currency": "EUR"}}  # fmt: skip
    charge = {"subject": world.service_order["id"], "customer": str(world.mine), "amount": 1299,
              "currency": "EUR"}  # fmt: skip
    as_them = {**charge, "customer": str(world.theirs)}

    for path, body in (
        ("/v1/service-orders", service), ("/v1/orders", order), ("/v1/payments/service", charge),
        ("/v1/payments/service", as_them), ("/v1/payments/final", as_them),
        ("/v1/subscriptions", {**service, "payment_method": "pm_ok"} | {}),
    ):  # fmt: skip
        subscribing = path == "/v1/subscriptions"
        sent = {k: v for k, v in body.items() if not subscribing or k != "duration_days"}
        answer = await world.as_somebody("POST", path, sent, customer=world.theirs)
        assert (answer.status, answer.json["code"]) == (403, "not_yours"), (path, answer.body)


async def test_what_is_about_everybody_is_refused_to_a_key_for_somebody(world: World) -> None:
    service = {"name": "x", "kind": "one_time", "currency": "EUR",
               "prices": [{"duration_days": 1, "amount": 1}]}  # fmt: skip
    vehicle = {"model": "Uno", "price": {"amount": 1, "currency": "EUR"}}

    for method, path, body in (
        ("PUT", "/v1/services/new", service),
        ("PUT", "/v1/vehicles/NEWVIN", vehicle),
        ("POST", "/v1/billing/runs", {"month": "2026-01"}),
        ("DELETE", f"/v1/customers/{world.mine}", None),
        ("POST", "/v1/customers", {"name": "x", "email": "x@example.com"}),
    ):
        answer = await world.as_somebody(method, path, body, customer=world.mine)
        assert (answer.status, answer.json["code"]) == (403, "not_yours"), path


PUBLIC: Final = "it is the same for everybody"
LOOKS_WHOSE: Final[dict[str, str]] = {
    "initiateReservationPayment": "the order's customer and dealership",
    "initiateFinalPayment": "the order's customer and dealership",
    "initiateServicePayment": "the service order's customer",
    "initiateSubscriptionPayment": "refused: an invoice is charged by Billing",
    "voidPayment": "the payment's customer or order",
    "queryPaymentStatus": "the payment's customer or order",
    "listPayments": "the customer's, or those of the dealership's orders",
    "listEvents": "the customer's, or those of the dealership's orders",
    "recordSettlement": "the payment's customer or order, and then refused",
    "confirmDelivery": "the payment's customer or order",
    "refundPayment": "the payment's customer or order; refused to customers",
    "createCustomer": "refused to customers; a dealership's is its own",
    "getCustomer": "the customer, or who is known to the dealership",
    "returnVehicle": "the order that the vehicle was delivered for",
    "getVehicle": "the vehicle's order, or it is in stock",
    "listVehicles": "in stock, or refused",
    "vehicleCommandKeys": PUBLIC,
    "listModels": PUBLIC,
    "listEntitlements": "the customer's terms, or the vehicle's dealership",
    "createOrder": "the customer and the dealership that it names",
    "payFinal": "the order's customer and dealership",
    "withdrawFromOrder": "the order's customer and dealership",
    "getOrder": "the order's customer and dealership",
    "listOrders": "the customer or dealership asked for",
    "getService": PUBLIC,
    "listServices": PUBLIC,
    "createServiceOrder": "the customer that it names; refused to dealerships",
    "withdrawFromService": "the service order's customer",
    "getServiceOrder": "the service order's customer",
    "listServiceOrders": "the customer asked for; refused to dealerships",
    "subscribe": "the customer that it names; refused to dealerships",
    "endSubscription": "the subscription's customer",
    "changePaymentMethod": "the subscription's customer",
    "getSubscription": "the subscription's customer",
    "listSubscriptions": "the customer asked for; refused to dealerships",
    "listInvoices": "the customer asked for, or the order that a dealership names",
    "getInvoice": "the document's customer, or the dealership of its order",
    "putBillingDetails": "the customer, or who is known to the dealership",
    "getBillingDetails": "the customer, or who is known to the dealership",
    "recordUsage": "the subscription's customer, and then refused",
}
"""What each call that a narrowed key may make looks at; any other call is about everybody."""


def test_a_call_is_for_narrowed_keys_only_when_it_looks_whose_a_thing_is() -> None:
    assert {it.id for it in OPERATIONS if it.needs_key and it.narrowed} == set(LOOKS_WHOSE)


async def test_every_call_about_everybody_is_refused_to_every_key_for_somebody(
    world: World,
) -> None:
    """Whatever its scopes: the figures of the whole system are nobody's own."""
    wrong = []
    for operation in OPERATIONS:
        if not operation.needs_key or operation.narrowed:
            continue
        path = re.sub(r"{\w+:uuid}", str(uuid4()), operation.path)
        path = re.sub(r"{\w+(:\w+)?}", "2026-01-01", path)
        body: dict[str, object] | None = {} if operation.method in {"POST", "PUT"} else None
        for customer, dealership in ((world.mine, None), (None, "Madrid")):
            answer = await world.as_somebody(
                operation.method, path, body, customer=customer, dealership=dealership
            )
            if answer.status != 403 or answer.json["code"] != "not_yours":
                wrong.append((operation.id, dealership, answer.status, answer.body[:100]))
    assert wrong == []


async def test_a_dealership_reads_of_others_terms_only_until_when_they_take_a_service(
    world: World,
) -> None:
    installation, path = world.doors.installation, f"/v1/vehicles/{VIN}/entitlements"
    await installation.platform.service_catalog.put_service(
        code="range-plus", name="Range plus", kind="one_time", currency="EUR",
        prices=[{"duration_days": 30, "amount": 900}],
    )  # fmt: skip
    sold = await world.doors.post("/v1/service-orders", {
        "customer": str(world.theirs), "vin": VIN, "service": "range-plus", "duration_days": 30,
        "payment_method": "pm_ok",
    })  # fmt: skip
    running = await installation.until(
        UUID(sold.json["payment"]), lambda it: it.captured_amount > 0
    )

    seen = await world.as_somebody("GET", path, dealership="Madrid")
    everything = await world.doors.get(path)

    assert seen.status == 200, seen.body
    terms = {one["service"]: one["terms"] for one in seen.json["data"]}
    (full,) = {one["service"]: one["terms"] for one in everything.json["data"]}["range-plus"]
    assert terms["heated-seats"][0]["customer"] == str(world.mine)
    assert terms["range-plus"] == [dict.fromkeys(full) | {"state": "taken", "until": full["until"]}]
    assert (full["customer"], full["payment"]) == (str(world.theirs), str(running.id))
