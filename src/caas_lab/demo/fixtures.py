"""Fixtures of the scenarios: customers, dealerships, vehicles and services, over the public API.

Rules a change must keep: an action adds its arrow before it calls the platform; answers are
returned unchanged, and a refusal is no error here.
"""

from http import HTTPStatus
from typing import Any, Final

import msgspec

from caas.billing_database.identifiers import new_id
from caas_lab.demo.http_client import Reply, UnexpectedAnswerError, require_success
from caas_lab.demo.scenario import ORDER_MANAGEMENT, PAYMENT_PROCESSING
from caas_lab.demo.scenario_run import ScenarioRun, money
from caas_lab.demo.testbed import Testbed

SELLER: Final = "order-management"
CATALOG: Final = "service-catalog"
FLEET: Final = "fleet"
"""Sells services for vehicles that the platform did not sell."""
MODEL: Final = "Uno"
PRICE: Final = 3_000_000
DEPOSIT: Final = 100_000
REST: Final = PRICE - DEPOSIT
BUYER: Final = {
    "street": "Calle Mayor 1", "postcode": "28013", "city": "Madrid", "country": "ES",
    "tax_id": "12345678Z",
}  # fmt: skip
HEATED_SEATS: Final = "heated-seats"
HEATED_SEATS_PRICE: Final = 1_299
MONTH_DAYS: Final = 30

CARDS: Final = {
    "pm_ok": "a good card",
    "pm_declined": "a card its bank declines",
    "pm_insufficient_funds": "a card without funds",
    "pm_settlement_fails": "a card whose bank rejects the settlement",
    "pm_partial_settlement": "a card whose bank pays a part only",
    "pm_expires": "a card that holds funds briefly",
    None: "nothing yet",
}


class Purchase(msgspec.Struct, frozen=True):
    """An order or service order, its payment, and the platform's answer."""

    order: str
    payment: str
    reply: Reply

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self.reply.status


class Customer(msgspec.Struct, frozen=True):
    """A customer of the platform."""

    run: ScenarioRun
    id: str
    name: str
    email: str

    async def buy_heated_seats(self, vin: str, method: str | None = "pm_ok") -> Purchase:
        """Select Service + Duration, and pay for it (Diagram 4)."""
        self.run.step(
            self.name,
            PAYMENT_PROCESSING,
            f"Initiate Service Payment: heated seats, {MONTH_DAYS} days",
            f"{money(HEATED_SEATS_PRICE)} with {CARDS.get(method, method)}",
        )
        body = {
            "customer": self.id,
            "vin": vin,
            "service": HEATED_SEATS,
            "duration_days": MONTH_DAYS,
            **_paid_with(method),
        }
        reply = await self.run.testbed.platform.post("/v1/service-orders", body, scope=FLEET)
        return _purchase(self.run, reply, "createServiceOrder", customer=self.name)

    async def pay_final(self, order: str, method: str | None = "pm_ok") -> Reply:
        """Initiate Final Payment (Diagram 3)."""
        self.run.step(
            self.name,
            PAYMENT_PROCESSING,
            "Process Final Payment",
            f"{money(REST)} with {CARDS.get(method, method)}",
        )
        reply = await self.run.testbed.platform.post(
            f"/v1/orders/{order}/final-payment", _paid_with(method), scope=SELLER
        )
        data = reply.body.get("payment", reply.body)
        if data.get("type") == "final":
            self.run.watch(str(data["id"]))
        return reply

    async def withdraw(self, order: str) -> Reply:
        """Withdraw from the purchase of a vehicle (desistimiento)."""
        self.run.step(self.name, ORDER_MANAGEMENT, "withdraws from the order (desistimiento)")
        return await self.run.testbed.platform.post(
            f"/v1/orders/{order}/withdrawal", {}, scope=SELLER
        )


class Dealership(msgspec.Struct, frozen=True):
    """A dealership, which sells vehicles."""

    run: ScenarioRun
    name: str

    async def reserve(
        self,
        vin: str,
        customer: Customer,
        method: str | None = "pm_ok",
        *,
        return_url: str | None = None,
    ) -> Purchase:
        """Initiate Reservation Payment (Diagram 2)."""
        self.run.step(
            self.name,
            PAYMENT_PROCESSING,
            "Initiate Reservation Payment",
            f"{vin} for {customer.name}, {money(DEPOSIT)} with {CARDS.get(method, method)}",
        )
        body = {
            "customer": customer.id,
            "vin": vin,
            "dealership": self.name,
            "deposit": {"amount": DEPOSIT, "currency": "EUR"},
            **_paid_with(method),
            **({} if return_url is None else {"return_url": return_url}),
        }
        reply = await self.run.testbed.platform.post("/v1/orders", body, scope=SELLER)
        return _purchase(
            self.run, reply, "createOrder", customer=customer.name, dealership=self.name
        )

    async def try_to_reserve(self, vin: str, customer: Customer) -> Reply:
        """Try to reserve a vehicle that is not available."""
        self.run.step(self.name, PAYMENT_PROCESSING, f"tries to reserve it for {customer.name}")
        body = {
            "customer": customer.id,
            "vin": vin,
            "dealership": self.name,
            "deposit": {"amount": DEPOSIT, "currency": "EUR"},
            **_paid_with("pm_ok"),
        }
        return await self.run.testbed.platform.post("/v1/orders", body, scope=SELLER)


async def customer(run: ScenarioRun, name: str) -> Customer:
    """Create a customer."""
    email = f"{name.lower()}.{new_id().hex[-8:]}@example.com"
    reply = await run.testbed.platform.post(
        "/v1/customers",
        {"name": name, "email": email, "language": "en", "billing_details": BUYER},
        scope=SELLER,
    )
    return Customer(run, str(require_success(reply, "createCustomer")["id"]), name, email)


def dealership(run: ScenarioRun, name: str) -> Dealership:
    """Return a dealership."""
    return Dealership(run, name)


async def vehicle_in_stock(run: ScenarioRun) -> str:
    """Add a vehicle that the factory has not built yet."""
    vin = _new_vin()
    await _put(run, vin, public_key=None)
    return vin


async def car(run: ScenarioRun) -> str:
    """Add a finished vehicle whose public key is stored."""
    vin = _new_vin()
    key = await run.testbed.vehicles.new_car(vin)
    await _put(run, vin, public_key=key)
    return vin


async def offer_heated_seats(testbed: Testbed) -> None:
    """Add a one-time service to the catalogue."""
    body = {
        "name": "Heated seats",
        "kind": "one_time",
        "currency": "EUR",
        "prices": [{"duration_days": MONTH_DAYS, "amount": HEATED_SEATS_PRICE}],
    }
    path = f"/v1/services/{HEATED_SEATS}"
    require_success(await testbed.platform.send("PUT", path, body, scope=CATALOG), "putService")


async def ready_order(run: ScenarioRun, buyer: Customer, seller: Dealership) -> str:
    """Bring an order to where Diagram 3 begins: reserved, built, ready."""
    vin = await vehicle_in_stock(run)
    bought = await seller.reserve(vin, buyer)
    await run.wait_for_order(bought.order, "factory order placed")
    run.narrate_from_here()
    run.step("Factory", ORDER_MANAGEMENT, "Vehicle Ready")
    await run.testbed.partners.finish_production(bought.order)
    await run.wait_for_order(bought.order, "ready")
    return bought.order


async def _put(run: ScenarioRun, vin: str, *, public_key: str | None) -> None:
    body: dict[str, Any] = {"model": MODEL, "price": {"amount": PRICE, "currency": "EUR"}}
    if public_key is not None:
        body |= {"public_key": public_key, "finished": True}
    reply = await run.testbed.platform.send("PUT", f"/v1/vehicles/{vin}", body, scope=SELLER)
    require_success(reply, "putVehicle")


def _new_vin() -> str:
    return f"WVWZZZ{new_id().hex[-11:].upper()}"


def _paid_with(method: str | None) -> dict[str, str]:
    return {} if method is None else {"payment_method": method}


def _purchase(run: ScenarioRun, reply: Reply, what: str, **names: str) -> Purchase:
    """Read an order with its payment, or a decline that holds the payment.

    Raises:
        UnexpectedAnswerError: it is neither.
    """
    if reply.status == HTTPStatus.PAYMENT_REQUIRED and "payment" in reply.body:
        payment = reply.body["payment"]
        order = str(payment["subject"])
    elif reply.status < HTTPStatus.BAD_REQUEST and reply.body.get("payments"):
        payment = reply.body["payments"][0]
        order = str(reply.body["id"])
    else:
        raise UnexpectedAnswerError(f"{what}: answered {reply.status} {reply.code}")
    run.names[order] = names
    if payment["type"] == "reservation":
        run.orders.append(order)
    return Purchase(order, run.watch(str(payment["id"])), reply)
