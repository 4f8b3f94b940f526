"""A vehicle comes back after desistimiento and is sold again, over a socket."""

from uuid import UUID, uuid4

from caas.billing_database.self_check import self_check
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from tests.api.conftest import Doors, Reply
from tests.api.planting import found_after, pay_on
from tests.api.test_orders import orders, until
from tests.installation import VIN

RETURN = f"/v1/vehicles/{VIN}/return"
PLANTED = (
    ("insert into vehicle_assignments select gen_random_uuid(), vin, order_id, customer, false,"
     " since, until, ended_because from vehicle_assignments where not active",
     "assignments_end_with_their_vehicle"),
    ("update vehicle_assignments set until = until + interval '300 days' where not active",
     "assignments_end_with_their_vehicle"),
)  # fmt: skip


async def bought(doors: Doors) -> str:
    """Let a customer buy the installation's vehicle and have it delivered; return the order."""
    order = (await orders(doors)).json
    await until(doors, order["id"], OrderState.READY)
    path = f"/v1/orders/{order['id']}/final-payment"
    paid = await doors.post(path, {"payment_method": "pm_ok"}, caller="orders")
    assert paid.status == 201, paid.body
    await until(doors, order["id"], OrderState.DELIVERY_SCHEDULED)
    scheduled = await doors.installation.platform.order_management.orders.get(UUID(order["id"]))
    await doors.installation.platform.order_management.partner_events.delivery_completed(
        scheduled.delivery_id or ""
    )
    return str(order["id"])


async def withdrawn(doors: Doors, order: str) -> Reply:
    return await doors.post(f"/v1/orders/{order}/withdrawal", {}, caller="orders")


async def test_a_returned_vehicle_is_sold_and_delivered_to_another_customer(doors: Doors) -> None:
    first = await bought(doors)
    answer = await withdrawn(doors, first)
    kept = (await doors.get(f"/v1/vehicles/{VIN}")).json["state"]

    returned = await doors.post(RETURN, {}, caller="orders")
    second = await bought(doors)

    assert (answer.status, answer.json["state"], kept) == (200, "withdrawn", "delivered")
    assert (returned.status, returned.json["state"]) == (200, "sin asignar"), returned.body
    assert returned.json["in_stock_since"] is not None
    vehicle = (await doors.get(f"/v1/vehicles/{VIN}")).json
    assert vehicle["state"] == "delivered"
    assert [transition["event"] for transition in vehicle["events"]].count("Vehicle returned") == 1
    seen = [(await doors.get(f"/v1/orders/{order}")).json for order in (first, second)]
    assert [order["state"] for order in seen] == ["withdrawn", "delivered"]
    assert seen[0]["customer"] != seen[1]["customer"]


async def test_what_a_former_owner_has_not_paid_stands_in_nobodys_way(doors: Doors) -> None:
    """Their open page kept the new owner from buying the service until it lapsed."""
    installation, customers = doors.installation, []
    page, broken = "", ["not asked"]
    await installation.offer_heated_seats()
    for _ in range(2):
        order = await bought(doors)
        customers.append((await doors.get(f"/v1/orders/{order}")).json["customer"])
        seats = {"customer": customers[-1], "vin": VIN, "service": "heated-seats",
                 "duration_days": 30}  # fmt: skip
        ordered = await doors.post("/v1/service-orders", seats, caller="services")
        assert ordered.status == 202, ordered.body
        if len(customers) == 1:
            await withdrawn(doors, order)
            broken = [
                it.invariant.name for it in await self_check(installation.database) if it.broken
            ]
            await doors.post(RETURN, {}, caller="orders")
            page = ordered.json["payments"][0]["hosted_page_url"]

    await pay_on(page)

    payments = (await doors.get(f"/v1/payments?customer={customers[0]}&type=service")).json["data"]
    late = await installation.until(
        UUID(payments[0]["id"]), lambda p: p.state is PaymentState.VOIDED
    )
    assert (late.captured_amount, broken) == (0, [])
    for planted, invariant in PLANTED:
        assert invariant in await found_after(installation.database, planted), planted


async def test_a_return_sent_again_with_its_key_is_answered_as_the_first(doors: Doors) -> None:
    await withdrawn(doors, await bought(doors))
    key = {"idempotency-key": str(uuid4())}

    first = await doors.post(RETURN, {}, headers=key, caller="operators")
    await orders(doors)
    again = await doors.post(RETURN, {}, headers=key, caller="operators")

    assert (again.status, again.body) == (first.status, first.body)
    assert (await doors.get(f"/v1/vehicles/{VIN}")).json["state"] != "sin asignar"


async def test_a_vehicle_that_was_never_delivered_is_not_returned(doors: Doors) -> None:
    in_stock = await doors.post(RETURN, {})
    await orders(doors)
    reserved = await doors.post(RETURN, {})

    assert [(it.status, it.json["code"]) for it in (in_stock, reserved)] == [
        (409, "not_delivered"),
        (409, "not_delivered"),
    ]


async def test_a_vehicle_whose_customer_keeps_it_is_not_returned(doors: Doors) -> None:
    order = await bought(doors)

    answer = await doors.post(RETURN, {})

    assert (answer.status, answer.json["code"]) == (409, "not_withdrawn")
    assert order in answer.json["detail"]
    assert (await doors.get(f"/v1/vehicles/{VIN}")).json["state"] == "delivered"


async def test_a_vehicle_nobody_knows_is_not_returned(quiet_doors: Doors) -> None:
    unknown = await quiet_doors.post("/v1/vehicles/VSSZZZNOBODY/return", {})
    foreign = await quiet_doors.post(RETURN, {}, caller="billing")

    assert (unknown.status, unknown.json["code"]) == (404, "vehicle_not_found")
    assert foreign.status == 403
