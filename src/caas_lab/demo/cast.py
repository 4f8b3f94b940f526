"""The cast: who acts in the diagrams, each with what that party can do, over public doors only.

Dealerships and customers speak to the platform's public API (through the Corporate Intranet, the
Web Platform and the Mobile Application of Diagram 1); gateway, bank, factory and cars act through
the simulators' control planes.

Rules a change must keep: an actor tells what it does before it does it; what is answered is
returned as it came, a refusal is no error here.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from caas.billing_database.identifiers import new_id
from caas_lab.demo.calls import Reply, UnexpectedAnswerError, done
from caas_lab.demo.play import Play, money
from caas_lab.demo.stage import Stage
from caas_lab.demo.story import ORDER_MANAGEMENT, PAYMENT_PROCESSING

SELLER: Final = "order-management"
CATALOG: Final = "service-catalog"
FLEET: Final = "fleet"
"""Sells services for cars of the play that nobody bought."""
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


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order of whatever kind with its payment, and how the platform answered."""

    order: str
    payment: str
    reply: Reply

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self.reply.status


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody who buys."""

    play: Play
    id: str
    name: str
    email: str

    async def buys_heated_seats(self, vin: str, method: str | None = "pm_ok") -> Purchase:
        """Select Service + Duration, and pay for it (Diagram 4)."""
        self.play.step(
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
        reply = await self.play.stage.platform.post("/v1/service-orders", body, scope=FLEET)
        return _purchase(self.play, reply, "createServiceOrder", customer=self.name)

    async def pays_the_rest(self, order: str, method: str | None = "pm_ok") -> Reply:
        """Initiate Final Payment (Diagram 3)."""
        self.play.step(
            self.name,
            PAYMENT_PROCESSING,
            "Process Final Payment",
            f"{money(REST)} with {CARDS.get(method, method)}",
        )
        reply = await self.play.stage.platform.post(
            f"/v1/orders/{order}/final-payment", _paid_with(method), scope=SELLER
        )
        told = reply.body.get("payment", reply.body)
        if told.get("type") == "final":
            self.play.watch(str(told["id"]))
        return reply

    async def withdraws(self, order: str) -> Reply:
        """Withdraw from the purchase of a vehicle (desistimiento)."""
        self.play.step(self.name, ORDER_MANAGEMENT, "withdraws from the order (desistimiento)")
        return await self.play.stage.platform.post(
            f"/v1/orders/{order}/withdrawal", {}, scope=SELLER
        )


@dataclass(frozen=True, slots=True)
class Dealership:
    """Somebody who sells, over the Corporate Intranet."""

    play: Play
    name: str

    async def reserves(
        self,
        vin: str,
        customer: Customer,
        method: str | None = "pm_ok",
        *,
        return_url: str | None = None,
    ) -> Purchase:
        """Initiate Reservation Payment (Diagram 2)."""
        self.play.step(
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
        reply = await self.play.stage.platform.post("/v1/orders", body, scope=SELLER)
        return _purchase(
            self.play, reply, "createOrder", customer=customer.name, dealership=self.name
        )

    async def tries_to_reserve(self, vin: str, customer: Customer) -> Reply:
        """Ask for a vehicle that should not be had."""
        self.play.step(self.name, PAYMENT_PROCESSING, f"tries to reserve it for {customer.name}")
        body = {
            "customer": customer.id,
            "vin": vin,
            "dealership": self.name,
            "deposit": {"amount": DEPOSIT, "currency": "EUR"},
            **_paid_with("pm_ok"),
        }
        return await self.play.stage.platform.post("/v1/orders", body, scope=SELLER)


async def customer(play: Play, name: str) -> Customer:
    """Let a customer be known to the platform."""
    email = f"{name.lower()}.{new_id().hex[-8:]}@example.com"
    reply = await play.stage.platform.post(
        "/v1/customers",
        {"name": name, "email": email, "language": "en", "billing_details": BUYER},
        scope=SELLER,
    )
    return Customer(play, str(done(reply, "createCustomer")["id"]), name, email)


def dealership(play: Play, name: str) -> Dealership:
    """Let a dealership open."""
    return Dealership(play, name)


async def vehicle_in_stock(play: Play) -> str:
    """Put a vehicle into stock that the factory has not built yet."""
    vin = _new_vin()
    await _put(play, vin, public_key=None)
    return vin


async def car(play: Play) -> str:
    """Put a car on the road whose public key the platform knows."""
    vin = _new_vin()
    key = await play.stage.vehicles.new_car(vin)
    await _put(play, vin, public_key=key)
    play.cars.append(vin)
    return vin


async def heated_seats_on_offer(stage: Stage) -> None:
    """Put a one-time service into the catalogue."""
    body = {
        "name": "Heated seats",
        "kind": "one_time",
        "currency": "EUR",
        "prices": [{"duration_days": MONTH_DAYS, "amount": HEATED_SEATS_PRICE}],
    }
    path = f"/v1/services/{HEATED_SEATS}"
    done(await stage.platform.send("PUT", path, body, scope=CATALOG), "putService")


async def ready_order(play: Play, buyer: Customer, seller: Dealership) -> str:
    """Bring an order as far as Diagram 3 begins: reserved, built, ready."""
    vin = await vehicle_in_stock(play)
    bought = await seller.reserves(vin, buyer)
    await play.order_is(bought.order, "factory order placed")
    play.begins_here()
    play.step("Factory", ORDER_MANAGEMENT, "Vehicle Ready")
    await play.stage.partners.factory_finishes(bought.order)
    await play.order_is(bought.order, "ready")
    return bought.order


async def _put(play: Play, vin: str, *, public_key: str | None) -> None:
    body: dict[str, Any] = {"model": MODEL, "price": {"amount": PRICE, "currency": "EUR"}}
    if public_key is not None:
        body |= {"public_key": public_key, "finished": True}
    reply = await play.stage.platform.send("PUT", f"/v1/vehicles/{vin}", body, scope=SELLER)
    done(reply, "putVehicle")


def _new_vin() -> str:
    return f"WVWZZZ{new_id().hex[-11:].upper()}"


def _paid_with(method: str | None) -> dict[str, str]:
    return {} if method is None else {"payment_method": method}


def _purchase(play: Play, reply: Reply, what: str, **names: str) -> Purchase:
    """Read an order with its payment, or a decline with the payment inside.

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
    play.people[order] = names
    if payment["type"] == "reservation":
        play.orders.append(order)
    return Purchase(order, play.watch(str(payment["id"])), reply)
