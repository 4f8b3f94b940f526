"""Erasing a customer: nothing of theirs goes on, and nowhere stands who they were (decision 92)."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from caas.billing_database.connection import Database
from caas.billing_database.payments import Payment
from caas.billing_database.self_check import self_check
from caas.external_systems.local_outbox import LocalOutbox
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from tests.api.conftest import Doors, Reply, standing_open
from tests.api.planting import as_owner, pay_on
from tests.api.test_orders import until
from tests.api.test_payments import count
from tests.api.test_services import TRAFFIC, until_active
from tests.api.test_webhooks import tells
from tests.buyers import gives_details
from tests.installation import VIN, standing

EUR_400 = {"amount": 40_000, "currency": "EUR"}
"""A deposit whose invoice need not name its buyer."""

NAME: Final = "Zenobiaquintanilla"
EMAIL: Final = "zq.unica@correo.example"
PHONE: Final = "+34 612 345 678"
STREET: Final = "Calle de la Quintanilla 7"
PLANTED: Final = (NAME, EMAIL, PHONE)
OTHER_CAR: Final = "WVWZZZ1JZXWOTHER1"
NOTHING_TAKEN: Final = frozenset({PaymentState.FAILED, PaymentState.VOIDED})
ERASE: Final = """
update caas.customers set erased_at = caas.db_now(), name = null, email = null
 where id = '{customer}'
"""
BILL: Final = """
insert into caas.invoices (id, kind, subscription, customer)
values (gen_random_uuid(), 'invoice', '{subscription}', '{customer}')
"""


@pytest.fixture
async def outbox(tmp_path: Path) -> Path:
    """The folder that this machine's messages are written to."""
    return tmp_path / "outbox"


@pytest.fixture
async def doors(database: Database, outbox: Path) -> AsyncIterator[Doors]:
    """The API over an installation that writes its messages into a folder."""
    async with standing(database, channel=LocalOutbox(outbox)) as installation:
        await installation.car()
        await installation.car(OTHER_CAR)
        await installation.offer_heated_seats()
        async with standing_open(installation) as opened:
            put = await opened.call("PUT", "/v1/services/traffic", json=TRAFFIC)
            assert put.status == 200, put.body
            yield opened


@dataclass(slots=True)
class Zenobia:
    """A customer whose name, address and telephone number stand nowhere else."""

    doors: Doors
    id: str

    async def erased(self, *, end_open: bool = False) -> Reply:
        """Ask for her to be erased."""
        query = "?end_open=true" if end_open else ""
        return await self.doors.call("DELETE", f"/v1/customers/{self.id}{query}")

    async def orders(self, method: str | None = "pm_ok", vin: str = VIN) -> Reply:
        """Let her order a vehicle."""
        paid = {} if method is None else {"payment_method": method}
        body = {"customer": self.id, "vin": vin, "dealership": "Madrid", "deposit": EUR_400}
        return await self.doors.post("/v1/orders", {**body, **paid})

    async def buys_seats(self, method: str | None = "pm_ok") -> Reply:
        """Sell her heated seats."""
        paid = {} if method is None else {"payment_method": method}
        body = {"customer": self.id, "vin": VIN, "service": "heated-seats", "duration_days": 30}
        return await self.doors.post("/v1/service-orders", {**body, **paid})

    async def subscribes(self) -> str:
        """Subscribe her to live traffic, and wait until it is active; return its path."""
        body = {"customer": self.id, "vin": VIN, "service": "traffic", "payment_method": "pm_ok"}
        begun = await self.doors.post("/v1/subscriptions", body)
        await until_active(self.doors, begun.headers["location"])
        return begun.headers["location"]

    async def payment(self, subject: str) -> Any:
        """Return the last payment of something as the API tells it."""
        return (await self.doors.get(f"/v1/payments?subject={subject}")).json["data"][0]

    async def nothing_on_its_way(self) -> None:
        """Let the cars answer, and the bank settle everything; who is on a page stays there."""
        installation = self.doors.installation
        for reported in (await self.doors.get(f"/v1/payments?customer={self.id}")).json["data"]:
            payment = await installation.until(UUID(reported["id"]), has_come_to_the_bank)
            if payment.state is PaymentState.CAPTURING:
                await installation.until_settled(payment.id)
        await installation.rest()


def has_come_to_the_bank(payment: Payment) -> bool:
    """Say whether only the bank can move a payment on, or whoever stands on its page."""
    on_a_page = payment.state is PaymentState.PENDING and payment.hosted_page_url is not None
    return on_a_page or payment.state not in {PaymentState.PENDING, PaymentState.AUTHORIZED}


@pytest.fixture
async def zenobia(doors: Doors) -> Zenobia:
    """The customer, created under a known Idempotency-Key."""
    made = await doors.post("/v1/customers", {"name": NAME, "email": EMAIL}, headers=KEY)
    assert (made.status, made.json["name"]) == (201, NAME), made.body
    return Zenobia(doors, made.json["id"])


KEY: Final = {"idempotency-key": str(uuid4())}


def kinds(answer: Reply) -> set[str]:
    """Return what an answer says is open."""
    if answer.status == 202:
        return {one["kind"] for one in answer.json["open"]}
    return {re.sub(r" \S+$", "", one["at"]) for one in answer.json.get("errors", [])}


async def delivered(zenobia: Zenobia, **more: str) -> str:
    """Have her buy a vehicle and have it delivered; return the order."""
    doors = zenobia.doors
    await gives_details(doors.installation.database, UUID(zenobia.id))
    order = (await zenobia.orders()).json["id"]
    await until(doors, order, OrderState.READY)
    rest = {"payment_method": "pm_ok", **more}
    assert (await doors.post(f"/v1/orders/{order}/final-payment", rest)).status in {201, 202}
    await until(doors, order, OrderState.DELIVERY_SCHEDULED)
    management = doors.installation.platform.order_management
    delivery = (await management.orders.get(UUID(order))).delivery_id
    assert delivery is not None, "a scheduled delivery has an id"
    await management.partner_events.delivery_completed(delivery)
    return str(order)


async def test_a_subscription_stands_in_the_way_and_is_ended_when_asked(zenobia: Zenobia) -> None:
    path = await zenobia.subscribes()

    refused = await zenobia.erased()
    running = (await zenobia.doors.get(path)).json["state"]
    begun = await zenobia.erased(end_open=True)

    assert (refused.status, refused.json["code"]) == (409, "customer_still_open"), refused.body
    assert (kinds(refused), running) == ({"subscription"}, "active")
    assert (begun.status, kinds(begun)) == (202, {"last month"}), begun.body
    assert (await zenobia.doors.get(path)).json["state"] == "cancelled"
    assert (await zenobia.doors.get(f"/v1/customers/{zenobia.id}")).json["name"] == NAME


async def test_disputed_use_stands_in_the_way_and_the_erased_are_not_billed(
    zenobia: Zenobia,
) -> None:
    doors, database = zenobia.doors, zenobia.doors.installation.database
    path = await zenobia.subscribes()
    active = (await doors.get(path)).json
    used = {"subscription": active["id"], "quantity": 3, "at": active["activated_at"],
            "source_id": "meter-1", "unit": "route"}  # fmt: skip
    await doors.post("/v1/usage", used, caller="services")
    doubt = {"subscription": active["id"], "source_id": "meter-1", "reason": "never drove there"}
    dispute = (await doors.post("/v1/usage-disputes", doubt, caller="operators")).json["id"]
    await doors.call("DELETE", path)
    await zenobia.nothing_on_its_way()

    open_ = await zenobia.erased(end_open=True)
    await as_owner(database, ERASE.format(customer=zenobia.id))
    found = [it.invariant.name for it in await self_check(database) if it.broken]
    outcome = f"/v1/usage-disputes/{dispute}/outcome"
    billed = await doors.post(outcome, {"outcome": "billed"}, caller="operators")
    cancelled = await doors.post(outcome, {"outcome": "cancelled"}, caller="operators")
    late = await doors.post("/v1/usage", {**used, "source_id": "late"}, caller="services")
    more = await doors.post("/v1/usage-disputes", doubt, caller="operators")

    assert kinds(open_) >= {"usage dispute", "use", "last month"}, open_.body
    assert "erased_customers_have_nothing_active" in found
    assert (billed.status, billed.json["code"]) == (409, "customer_erased"), billed.body
    assert cancelled.status == 200, cancelled.body
    assert (late.json["counted"], more.status) == (False, 409), late.body
    with pytest.raises(asyncpg.CheckViolationError, match="was erased"):
        await as_owner(database, BILL.format(subscription=active["id"], customer=zenobia.id))


async def test_a_vehicle_on_its_way_stands_in_the_way_whatever_is_asked(zenobia: Zenobia) -> None:
    order = (await zenobia.orders()).json["id"]
    await until(zenobia.doors, order, OrderState.READY)

    refused = await zenobia.erased()
    asked = await zenobia.erased(end_open=True)

    assert kinds(refused) >= {"order"}, refused.body
    assert kinds(asked) >= {"order"}, asked.body
    assert (await zenobia.doors.get(f"/v1/orders/{order}")).json["state"] == "ready"


async def test_money_on_its_way_stands_in_the_way_until_it_has_arrived(zenobia: Zenobia) -> None:
    payment_id = UUID((await zenobia.buys_seats()).json["payment"])
    installation = zenobia.doors.installation
    await installation.until(payment_id, lambda p: p.state is PaymentState.CAPTURING)
    on_its_way = await zenobia.erased(end_open=True)
    await installation.until_settled(payment_id)
    arrived = await zenobia.erased()

    assert kinds(on_its_way) == {"payment"}, on_its_way.body
    assert arrived.status == 200, arrived.body


async def test_what_may_still_move_money_or_a_vehicle_stands_in_the_way(zenobia: Zenobia) -> None:
    installation, order = zenobia.doors.installation, await delivered(zenobia)
    seats = UUID((await zenobia.buys_seats()).json["payment"])
    await zenobia.nothing_on_its_way()
    await installation.gateway_does("faults", match={"operation": "refund"}, action={"status": 503})
    back = {"amount": 100, "reason": "goodwill", "term": "keep"}
    asked = await zenobia.doors.post(f"/v1/payments/{seats}/refunds", back)
    paid_back = await zenobia.erased(end_open=True)
    withdrawn = await zenobia.doors.post(f"/v1/orders/{order}/withdrawal", {})
    not_returned = await zenobia.erased(end_open=True)

    assert (asked.status, withdrawn.status) in {(201, 200), (202, 200)}, (
        asked.body,
        withdrawn.body,
    )
    assert kinds(paid_back) >= {"refund"}, paid_back.body
    assert kinds(not_returned) >= {"refund", "vehicle"}, not_returned.body
    assert (await zenobia.doors.get(f"/v1/customers/{zenobia.id}")).json["name"] == NAME


async def test_a_dispute_stands_in_the_way_until_the_bank_decides(zenobia: Zenobia) -> None:
    installation = zenobia.doors.installation
    payment_id = UUID((await zenobia.buys_seats()).json["payment"])
    await installation.until(payment_id, lambda p: p.captured_amount > 0)
    await zenobia.nothing_on_its_way()
    payment = await installation.until(payment_id, lambda p: p.state is PaymentState.SETTLED)
    transaction = payment.gateway_transaction_id
    opened = {"id": "evt_dispute", "type": "dispute.opened",
              "occurred_at": "2026-11-23T10:00:00Z", "data": {
        "id": "dsp_1", "transaction_id": transaction, "amount": 1299, "currency": "EUR",
        "reason": "fraudulent", "status": "opened"}}  # fmt: skip
    reported = await tells(zenobia.doors, msgspec.json.encode(opened), event_id="evt_dispute")
    await installation.rest()

    refused = await zenobia.erased(end_open=True)

    assert reported.status in {200, 204}, reported.body
    assert kinds(refused) >= {"dispute"}, refused.body


async def test_a_service_paid_after_its_customer_was_erased_is_not_charged(
    zenobia: Zenobia,
) -> None:
    order = (await zenobia.buys_seats(None)).json
    page = order["payments"][0]["hosted_page_url"]
    refused = await zenobia.erased()
    erased = await zenobia.erased(end_open=True)

    await pay_on(page)

    assert (refused.status, kinds(refused)) == (409, {"page"}), refused.body
    assert (erased.status, erased.json["name"]) == (200, None), erased.body
    installation = zenobia.doors.installation
    payment = await installation.until(UUID(order["payment"]), lambda p: p.state in NOTHING_TAKEN)
    assert payment.captured_amount == 0
    assert await count(zenobia.doors, "ota_commands") == 0


async def test_an_erasure_that_ends_what_is_open_ends_the_page_of_a_service(
    zenobia: Zenobia,
) -> None:
    """It was only said to: the page stayed open until it ran out."""
    order = (await zenobia.buys_seats(None)).json

    erased = await zenobia.erased(end_open=True)
    installation = zenobia.doors.installation
    payment_id = UUID(order["payment"])
    failed = await installation.until(payment_id, lambda p: p.state is PaymentState.FAILED)

    assert (erased.status, failed.decline_code) == (200, "abandoned")
    [booking] = installation.gateway.store.bookings.values()
    assert booking.transaction.status == "voided"


async def test_a_reservation_paid_after_its_customer_was_erased_reserves_nothing(
    zenobia: Zenobia,
) -> None:
    order = (await zenobia.orders(None)).json
    refused = await zenobia.erased()
    erased = await zenobia.erased(end_open=True)

    await pay_on(order["payments"][0]["hosted_page_url"])

    assert kinds(refused) == {"page", "unpaid order"}, refused.body
    assert erased.status == 200, erased.body
    payment_id = UUID(order["payments"][0]["id"])
    await zenobia.doors.installation.until(payment_id, lambda p: p.state in NOTHING_TAKEN)
    stands = (await zenobia.doors.get(f"/v1/orders/{order['id']}")).json["state"]
    vehicle = (await zenobia.doors.get(f"/v1/vehicles/{VIN}")).json["state"]
    assert (stands, vehicle) == ("withdrawn", "sin asignar")


async def test_nobody_sells_anything_to_who_was_erased(zenobia: Zenobia) -> None:
    unpaid = (await zenobia.orders("pm_declined")).json["payment"]["subject"]
    seats = (await zenobia.buys_seats("pm_declined")).json["payment"]["subject"]
    assert (await zenobia.erased()).status == 200

    for path, subject, amount in (
        ("/v1/payments/reservation", unpaid, 40_000), ("/v1/payments/service", seats, 1299),
    ):  # fmt: skip
        body = {"subject": subject, "customer": zenobia.id, "amount": amount, "currency": "EUR",
                "payment_method": "pm_ok"}  # fmt: skip
        answer = await zenobia.doors.post(path, body)
        assert (answer.status, answer.json["code"]) == (409, "customer_erased"), (path, answer.body)
    assert (await zenobia.orders()).json["code"] == "customer_erased"
    assert (await zenobia.buys_seats()).json["code"] == "customer_erased"


async def test_a_repeated_creation_tells_what_is_known_now(zenobia: Zenobia) -> None:
    body = {"name": NAME, "email": EMAIL}
    before = await zenobia.doors.post("/v1/customers", body, headers=KEY)
    assert (await zenobia.erased()).status == 200

    after = await zenobia.doors.post("/v1/customers", body, headers=KEY)

    assert (before.status, before.json["id"], before.json["name"]) == (201, zenobia.id, NAME)
    assert (after.status, after.json["id"], after.json["name"]) == (201, zenobia.id, None)
    assert after.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("text", PLANTED)
async def test_text_that_says_who_a_customer_is_comes_into_no_book(
    zenobia: Zenobia, text: str
) -> None:
    payment = (await zenobia.buys_seats()).json["payment"]
    path = f"/v1/payments/{payment}"
    settlement = {"settlement_id": text, "settled": True, "settled_amount": 1299,
                  "currency": "EUR"}  # fmt: skip
    order = {"customer": zenobia.id, "vin": OTHER_CAR, "deposit": EUR_400}
    refused = {
        "void": await zenobia.doors.post(f"{path}/void", {"reason": f"for {text}, please"}),
        "refund": await zenobia.doors.post(
            f"{path}/refunds", {"amount": 1, "reason": f"for {text}, please"}
        ),
        "settlement": await zenobia.doors.post(f"{path}/settlements", settlement),
        "dealership": await zenobia.doors.post("/v1/orders", {**order, "dealership": text}),
    }

    assert {call: answer.status for call, answer in refused.items()} == dict.fromkeys(refused, 422)
