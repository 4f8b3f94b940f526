"""Who may know and do what: every asker, every kind of thing, every way of having touched it.

Nothing that an asker does by itself makes another's customer, vehicle or payment theirs; what is
not theirs is answered as if it did not exist.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from caas.billing_database.api_keys import ApiKeys
from caas.rules.order_states import OrderState
from tests.api.conftest import Doors, Reply
from tests.api.test_orders import until
from tests.buyers import AT_HOME

A, B = "Autos Sol", "Motor Norte"
CAR_OF_X, CAR_OF_Y, CAR_IN_STOCK = "WVWZZZ1JZXWOFX001", "WVWZZZ1JZXWOFY001", "WVWZZZ1JZXWSTOCK1"
DEPOSIT: Final = {"amount": 50_000, "currency": "EUR"}
TRAFFIC: Final = {
    "name": "Live traffic", "kind": "subscription", "currency": "EUR", "monthly_fee": 990,
    "metered": [{"unit": "route", "unit_price": 5}],
}  # fmt: skip
RESTRICTED: Final = ("dealership A", "dealership B", "customer X", "customer Y")
UNRESTRICTED: Final = ("order-management", "service-catalog", "operations")


@dataclass(slots=True)
class Market:
    """Two dealerships, a customer with a car of each, and what X bought for theirs."""

    doors: Doors
    keys: dict[str, str] = field(default_factory=dict)
    x: str = ""
    y: str = ""
    things: dict[str, str] = field(default_factory=dict)

    async def key(
        self, who: str, scope: str, *, customer: str | None = None, dealership: str | None = None
    ) -> None:
        """Give somebody a key."""
        self.keys[who] = f"{who}-{uuid4()}-{uuid4()}".replace(" ", "-")
        await ApiKeys(self.doors.installation.database).put(
            key_hash=hashlib.sha256(self.keys[who].encode()).digest(), name=who.replace(" ", "-"),
            scopes=frozenset({scope}), customer=UUID(customer) if customer else None,
            dealership=dealership,
        )  # fmt: skip

    async def asks(self, who: str, method: str, path: str, body: object = None) -> Reply:
        """Make a call with somebody's key."""
        headers = {"authorization": f"Bearer {self.keys[who]}", "idempotency-key": str(uuid4())}
        more: dict[str, Any] = {} if body is None else {"json": body}
        return await self.doors.call(method, path, caller=None, headers=headers, **more)

    async def creates(self, who: str, name: str) -> str:
        """Create a customer with somebody's key."""
        body = {"name": name, "email": f"{name.lower()}@example.com", "billing_details": AT_HOME}
        made = await self.asks(who, "POST", "/v1/customers", body)
        assert made.status == 201, made.body
        return str(made.json["id"])

    async def orders(
        self, who: str, customer: str, vin: str, dealership: str, method: str | None = "pm_ok"
    ) -> Reply:
        """Order a vehicle with somebody's key."""
        paid = {} if method is None else {"payment_method": method}
        body = {"customer": customer, "vin": vin, "dealership": dealership, "deposit": DEPOSIT}
        return await self.asks(who, "POST", "/v1/orders", {**body, **paid})

    async def buys(self, customer: str, vin: str, dealership: str) -> str:
        """Let a customer buy a vehicle and get it; return the order."""
        await self.doors.installation.car(vin)
        made = await self.orders("order-management", customer, vin, dealership)
        assert made.status == 201, made.body
        order = str(made.json["id"])
        management = self.doors.installation.platform.order_management
        await until(self.doors, order, OrderState.READY)
        rest = {"payment_method": "pm_ok"}
        await self.asks("order-management", "POST", f"/v1/orders/{order}/final-payment", rest)
        await until(self.doors, order, OrderState.DELIVERY_SCHEDULED)
        delivery = (await management.orders.get(UUID(order))).delivery_id
        assert delivery is not None, "a scheduled delivery has an id"
        await management.partner_events.delivery_completed(delivery)
        await until(self.doors, order, OrderState.DELIVERED)
        return order

    async def sells(self, who: str, customer: str, vin: str, service: str) -> Reply:
        """Sell a one-time service or a subscription with somebody's key."""
        body: dict[str, object] = {
            "customer": customer, "vin": vin, "service": service, "payment_method": "pm_ok"
        }  # fmt: skip
        if service == "traffic":
            return await self.asks(who, "POST", "/v1/subscriptions", body)
        return await self.asks(who, "POST", "/v1/service-orders", {**body, "duration_days": 30})


@pytest.fixture
async def market(doors: Doors) -> Market:
    """X bought a car at A, and a service and a subscription for it; Y bought a car at B."""
    market = Market(doors)
    for scope in (*UNRESTRICTED, "fleet", "any"):
        await market.key(scope, scope)
    await market.key("dealership A", "any", dealership=A)
    await market.key("dealership B", "any", dealership=B)
    market.x = await market.creates("dealership A", "Ximena")
    market.y = await market.creates("dealership B", "Yago")
    await market.key("customer X", "any", customer=market.x)
    await market.key("customer Y", "any", customer=market.y)
    put = await market.asks("service-catalog", "PUT", "/v1/services/traffic", TRAFFIC)
    assert put.status == 200, put.body
    await doors.installation.car(CAR_IN_STOCK)
    order = await market.buys(market.x, CAR_OF_X, A)
    await market.buys(market.y, CAR_OF_Y, B)
    heated = await market.sells("customer X", market.x, CAR_OF_X, "heated-seats")
    traffic = await market.sells("customer X", market.x, CAR_OF_X, "traffic")
    assert heated.status in {201, 202}, heated.body
    assert traffic.status in {201, 202}, traffic.body
    payments = (await market.asks("any", "GET", f"/v1/payments?subject={order}")).json["data"]
    market.things = {
        "customer": f"/v1/customers/{market.x}",
        "order": f"/v1/orders/{order}",
        "reservation payment": f"/v1/payments/{payments[-1]['id']}",
        "final payment": f"/v1/payments/{payments[0]['id']}",
        "service order": f"/v1/service-orders/{heated.json['id']}",
        "service payment": f"/v1/payments/{heated.json['payment']}",
        "subscription": traffic.headers["location"],
        "vehicle": f"/v1/vehicles/{CAR_OF_X}",
        "vehicle in stock": f"/v1/vehicles/{CAR_IN_STOCK}",
    }
    return market


OF_A_SALE: Final = {"customer", "order", "reservation payment", "final payment", "vehicle"}
OF_SERVICES: Final = {"service order", "service payment", "subscription"}
EVERYBODYS: Final = {"vehicle in stock"}
SEEN: Final = {
    "customer X": OF_A_SALE | OF_SERVICES | EVERYBODYS,
    "customer Y": EVERYBODYS,
    "dealership A": OF_A_SALE | EVERYBODYS,
    "dealership B": EVERYBODYS,
}


async def test_each_sees_what_is_theirs_and_the_rest_looks_as_if_it_did_not_exist(
    market: Market,
) -> None:
    wrong = []
    for who in RESTRICTED:
        for thing, path in market.things.items():
            status = (await market.asks(who, "GET", path)).status
            if status != (200 if thing in SEEN[who] else 404):
                wrong.append((who, thing, status))
    assert wrong == []


async def test_a_key_for_everybody_sees_whatever_its_scope_reads(market: Market) -> None:
    for thing, path in market.things.items():
        statuses = {(await market.asks(who, "GET", path)).status for who in UNRESTRICTED}
        assert 200 in statuses, thing
        assert statuses <= {200, 403}, thing
        assert (await market.asks("any", "GET", path)).status == 200, thing


async def test_each_key_lists_its_own_payments_and_no_others(market: Market) -> None:
    def payments(*names: str) -> set[str]:
        return {market.things[name].rpartition("/")[2] for name in names}

    of_sale = payments("reservation payment", "final payment")
    of_services = payments("service payment")
    listed = {
        who: {one["id"] for one in (await market.asks(who, "GET", "/v1/payments")).json["data"]}
        for who in RESTRICTED
    }
    of_car = {
        who: {
            one["id"]
            for one in (await market.asks(who, "GET", f"/v1/payments?vin={CAR_OF_X}")).json["data"]
        }
        for who in RESTRICTED
    }

    assert listed["dealership A"] == of_car["dealership A"] == of_sale
    assert of_car["customer X"] >= of_sale | of_services
    assert listed["customer X"] == of_car["customer X"]
    assert of_car["customer Y"] == of_car["dealership B"] == set()
    assert not (listed["customer Y"] | listed["dealership B"]) & listed["customer X"]


async def test_each_key_reads_its_own_events_and_no_others(market: Market) -> None:
    def ids(*names: str) -> set[str]:
        return {market.things[name].rpartition("/")[2] for name in names}

    seen: dict[str, set[str]] = {}
    for who in RESTRICTED:
        page = (await market.asks(who, "GET", "/v1/events?limit=100")).json
        seen[who] = {
            str(one["data"].get(thing)) for one in page["data"] for thing in ("payment", "order")
        } - {"None"}

    assert seen["dealership A"] == ids("order", "reservation payment", "final payment")
    assert seen["customer X"] >= ids("order", "reservation payment", "service payment")
    assert not seen["customer Y"] & seen["customer X"]
    assert not seen["dealership B"] & seen["dealership A"]


WAYS: Final = {
    "created": 200, "bought there": 200, "bought there and withdrew": 200,
    "named in an unpaid order": 404, "named in a failed payment": 404, "nothing": 404,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
async def test_a_dealership_knows_whom_it_created_or_sold_to(market: Market, way: str) -> None:
    owner = "dealership B" if way == "created" else "order-management"
    customer = await market.creates(owner, "Zoe")
    method = {"named in an unpaid order": None, "named in a failed payment": "pm_declined"}
    if way not in {"created", "nothing"}:
        made = await market.orders(
            "order-management", customer, CAR_IN_STOCK, B, method.get(way, "pm_ok")
        )
        assert made.status in {201, 202, 402}, made.body
        if way == "bought there and withdrew":
            path = f"/v1/orders/{made.json['id']}/withdrawal"
            assert (await market.asks("order-management", "POST", path, {})).status == 200

    path = f"/v1/customers/{customer}"
    statuses = {
        who: (await market.asks(who, "GET", path)).status for who in (*RESTRICTED, *UNRESTRICTED)
    }

    assert statuses == {
        "dealership A": 404, "dealership B": WAYS[way], "customer X": 404, "customer Y": 404,
        "order-management": 200, "service-catalog": 200, "operations": 200,
    }  # fmt: skip


async def test_naming_anothers_customer_is_answered_as_if_there_were_none(market: Market) -> None:
    """Its own deposit on an order in a stranger's name would otherwise buy the stranger's data."""
    for method in (None, "pm_declined", "pm_ok"):
        named = await market.orders("dealership B", market.x, CAR_IN_STOCK, B, method)
        nobody = await market.orders("dealership B", str(uuid4()), CAR_IN_STOCK, B, method)
        assert (named.status, named.json["code"]) == (404, "customer_not_found"), method
        assert (nobody.status, nobody.json["code"]) == (404, "customer_not_found"), method

    assert (await market.asks("dealership B", "GET", f"/v1/customers/{market.x}")).status == 404
    assert (await market.asks("dealership B", "GET", "/v1/orders")).json["data"][0:1][0][
        "customer"
    ] == market.y


FOREIGN: Final = "vehicle_not_theirs"
SALES: Final = {
    ("customer X", "x", CAR_OF_X): None,
    ("customer X", "x", CAR_OF_Y): FOREIGN,
    ("customer X", "x", CAR_IN_STOCK): FOREIGN,
    ("customer X", "x", "NOBODYSCAR"): FOREIGN,
    ("customer X", "y", CAR_OF_Y): "not_yours",
    ("dealership A", "x", CAR_OF_X): "not_yours",
    ("service-catalog", "x", CAR_OF_X): None,
    ("service-catalog", "x", CAR_OF_Y): FOREIGN,
    ("service-catalog", "x", CAR_IN_STOCK): FOREIGN,
    ("fleet", "x", CAR_OF_Y): None,
    ("fleet", "x", CAR_IN_STOCK): None,
    ("any", "y", CAR_OF_X): None,
    ("order-management", "x", CAR_OF_X): "scope_missing",
}


@pytest.mark.parametrize("service", ["massage", "parking"])
async def test_a_service_is_sold_to_whom_the_vehicle_was_delivered_or_by_a_fleet(
    market: Market, service: str
) -> None:
    one_time = {"kind": "one_time", "prices": [{"duration_days": 30, "amount": 1499}]}
    monthly = {"kind": "subscription", "monthly_fee": 500}
    offer = {"name": service, "currency": "EUR", **(one_time if service == "massage" else monthly)}
    wrong = []
    for number, ((who, customer, vin), refused) in enumerate(SALES.items()):
        code = f"{service}-{number}"
        await market.asks("service-catalog", "PUT", f"/v1/services/{code}", offer)
        body: dict[str, object] = {
            "customer": market.x if customer == "x" else market.y, "vin": vin, "service": code,
            "payment_method": "pm_ok", **({"duration_days": 30} if service == "massage" else {}),
        }  # fmt: skip
        path = "/v1/service-orders" if service == "massage" else "/v1/subscriptions"
        sold = await market.asks(who, "POST", path, body)
        reported = sold.json.get("code") if sold.status >= 400 else None
        if reported != refused:
            wrong.append((who, customer, vin, sold.status, reported))
    assert wrong == []


async def test_a_vehicle_that_was_given_back_is_theirs_no_more(market: Market) -> None:
    order = market.things["order"]
    withdrawn = await market.asks("order-management", "POST", f"{order}/withdrawal", {})
    assert withdrawn.status == 200, withdrawn.body

    sold = await market.sells("customer X", market.x, CAR_OF_X, "heated-seats")

    assert (sold.status, sold.json["code"]) == (422, FOREIGN), sold.body


async def test_what_is_decided_about_customers_is_not_theirs_to_say(market: Market) -> None:
    """Use is a meter's to tell, settlement the bank's, a refund the seller's."""
    subscription = market.things["subscription"].rsplit("/", 1)[1]
    settled = {"settlement_id": "s1", "settled": True, "settled_amount": 1299, "currency": "EUR"}
    used = {"subscription": subscription, "quantity": 1, "at": "2026-01-01T00:00:00Z",
            "source_id": "meter-1"}  # fmt: skip
    payment = market.things["service payment"]
    wrong = []
    for path, body in (
        ("/v1/usage", used),
        (f"{payment}/settlements", settled),
        (f"{payment}/refunds", {"amount": 1, "reason": "mine"}),
    ):
        for who, status in (("customer X", 403), ("customer Y", 404), ("dealership A", 404)):
            answer = await market.asks(who, "POST", path, body)
            if answer.status != status:
                wrong.append((who, path, answer.status, answer.body))
    assert wrong == []


async def test_others_neither_withdraw_nor_end_what_is_not_theirs(market: Market) -> None:
    wrong = []
    for who in ("customer Y", "dealership B"):
        for method, path in (
            ("POST", f"{market.things['order']}/withdrawal"),
            ("POST", f"{market.things['service order']}/withdrawal"),
            ("POST", f"{market.things['subscription']}/payment-method"),
            ("DELETE", market.things["subscription"]),
        ):
            answer = await market.asks(who, method, path, {} if method == "POST" else None)
            if answer.status != 404:
                wrong.append((who, path, answer.status))
    assert wrong == []


async def test_a_narrowed_key_lists_the_stock_and_its_own(market: Market) -> None:
    stock = await market.asks("customer Y", "GET", "/v1/vehicles")
    others = await market.asks("customer Y", "GET", "/v1/vehicles?state=delivered")

    assert CAR_OF_X not in {vehicle["vin"] for vehicle in stock.json["data"]}
    assert CAR_IN_STOCK in {vehicle["vin"] for vehicle in stock.json["data"]}
    assert (others.status, others.json["code"]) == (403, "not_yours")
    for path in ("/v1/payments", "/v1/service-orders", "/v1/subscriptions"):
        listed = await market.asks("customer Y", "GET", path)
        customers = {one["customer"] for one in listed.json["data"]}
        assert customers <= {market.y}, path
