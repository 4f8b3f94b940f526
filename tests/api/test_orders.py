"""Customers, vehicles and orders over a socket: Diagrams 2 and 3 as a channel drives them."""

import asyncio
from base64 import b64encode
from uuid import UUID, uuid4

import pytest

from caas.external_systems.payment_gateway import GatewayTransaction, TransactionRequest
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.rules.order_states import OrderState
from caas.rules.vehicle_signatures import signed_with
from tests.api.conftest import Doors, Reply
from tests.api.test_payments import count
from tests.buyers import AT_HOME
from tests.installation import VIN

EUR_500 = {"amount": 50_000, "currency": "EUR"}
PATIENCE_SECONDS = 120.0


async def customer(doors: Doors) -> str:
    """The id of a new customer."""
    body = {"name": "Ana Ruiz", "email": "ana@example.com", "language": "es",
            "billing_details": AT_HOME}  # fmt: skip
    return str((await doors.post("/v1/customers", body, caller="orders")).json["id"])


async def orders(doors: Doors, **more: object) -> Reply:
    """Order the installation's vehicle with a deposit of 500 EUR."""
    body = {
        "customer": await customer(doors), "vin": VIN, "dealership": "Madrid",
        "deposit": EUR_500, "payment_method": "pm_ok",
    }  # fmt: skip
    return await doors.post("/v1/orders", {**body, **more}, caller="orders")


async def until(doors: Doors, order_id: str, state: OrderState) -> None:
    """Let jobs run until the order is where it should be."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            order = await doors.installation.platform.order_management.orders.get(UUID(order_id))
            if order.state is state:
                return
            await doors.installation.platform.jobs.run_due()
            await asyncio.sleep(0.005)


async def test_a_customer_is_known_by_a_pseudonymous_id_and_can_be_forgotten(doors: Doors) -> None:
    made = await doors.post(
        "/v1/customers", {"name": "Ana Ruiz", "email": "ana@example.com"}, caller="orders"
    )
    path = made.headers["location"]

    seen = await doors.get(path, caller="orders")
    erased = await doors.call("DELETE", path, caller="operators")

    assert (made.status, seen.json["name"], seen.json["language"]) == (201, "Ana Ruiz", "es")
    assert "ana" not in path.lower()
    assert (erased.status, erased.json["name"], erased.json["email"]) == (200, None, None)


@pytest.mark.parametrize(
    "wrong",
    [{"email": "nobody"}, {"email": "a@b\n"}, {"name": ""}, {"name": "x" * 201}, {"name": "a\x00b"},
     {"language": "spanish"}, {"phone": "1"}],
    ids=str,
)  # fmt: skip
async def test_a_customer_described_wrongly_is_refused(
    quiet_doors: Doors, wrong: dict[str, str]
) -> None:
    body = {"name": "Ana", "email": "ana@example.com", **wrong}

    answer = await quiet_doors.post("/v1/customers", body)

    assert (answer.status, answer.json["code"]) == (422, "invalid_body")


async def test_a_customer_that_is_sent_many_times_at_once_is_one_customer(doors: Doors) -> None:
    """Fault F-G12, where only the key tells that it is the same request."""
    body, key = {"name": "Ana", "email": "ana@example.com"}, {"idempotency-key": str(uuid4())}

    answers = await asyncio.gather(
        *(doors.post("/v1/customers", body, headers=key) for _ in range(16))
    )

    assert {answer.status for answer in answers} <= {201, 409}
    assert len({answer.json["id"] for answer in answers if answer.status == 201}) == 1
    assert await count(doors, "customers") == 1


async def test_the_stock_is_put_and_listed_by_state(doors: Doors) -> None:
    price = {"amount": 2_500_000, "currency": "EUR"}
    for number in range(3):
        answer = await doors.call(
            "PUT", f"/v1/vehicles/VSSZZZ{number}", json={"model": "Uno", "price": price}
        )
        assert answer.status == 200, answer.body

    stock = (await doors.get("/v1/vehicles?state=sin%20asignar&limit=2")).json
    rest = (await doors.get(f"/v1/vehicles?cursor={stock['next_cursor']}")).json

    vins = [vehicle["vin"] for vehicle in stock["data"] + rest["data"]]
    assert vins == ["VSSZZZ0", "VSSZZZ1", "VSSZZZ2", VIN]
    assert stock["data"][0]["price"] == price


async def test_a_vehicles_key_is_never_replaced_in_silence(doors: Doors) -> None:
    body = {"model": "Uno", "price": EUR_500, "public_key": ANOTHER_KEY}

    answer = await doors.call("PUT", f"/v1/vehicles/{VIN}", json=body)

    assert (answer.status, answer.json["code"]) == (409, "vehicle_differs")


ANOTHER_KEY = b64encode(bytes(range(32))).decode()
LOW_ORDER_HEX = (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)


async def test_a_key_with_which_anybody_can_sign_is_refused(quiet_doors: Doors) -> None:
    for key in map(bytes.fromhex, LOW_ORDER_HEX):
        body = {
            "model": "Uno", "price": EUR_500, "public_key": b64encode(key).decode(),
            "finished": True,
        }  # fmt: skip
        answer = await quiet_doors.call("PUT", "/v1/vehicles/VSSZZZ1JZXW000076", json=body)
        assert (answer.status, answer.json["code"]) == (422, "unsafe_vehicle_key"), key.hex()
        assert not signed_with(key, signature=bytes(64), text="any")


async def test_a_key_that_the_factory_will_tell_is_not_set_before(doors: Doors) -> None:
    body: dict[str, object] = {"model": "Uno", "price": EUR_500}
    path = "/v1/vehicles/VSSZZZ1JZXW000077"
    await doors.call("PUT", path, json=body)

    answer = await doors.call("PUT", path, json=body | {"public_key": ANOTHER_KEY})

    assert (answer.status, answer.json["code"]) == (409, "vehicle_differs")
    assert (await doors.get(path)).json["public_key"] is None


async def test_whoever_has_a_key_may_know_which_keys_sign_commands(quiet_doors: Doors) -> None:
    answer = await quiet_doors.get("/v1/vehicle-command-keys", caller="ota")

    assert (answer.status, answer.json) == (200, {"data": []})


@pytest.mark.parametrize("vin", ["lower", "123456", "AB", "X" * 33, "A_B", "A%20B"])
async def test_an_address_that_cannot_be_a_vin_is_refused(quiet_doors: Doors, vin: str) -> None:
    body = {"model": "Uno", "price": EUR_500}

    answer = await quiet_doors.call("PUT", f"/v1/vehicles/{vin}", json=body)

    assert (answer.status, answer.json["code"]) == (422, "invalid_parameter")


async def test_reserving_answers_with_the_order_its_timeline_and_its_payment(
    doors: Doors,
) -> None:
    answer = await orders(doors)

    assert answer.status == 201, answer.body
    order = answer.json
    assert order["state"] in {"reserved", "ready"}
    assert order["vin"] == VIN
    assert order["rest"]["amount"] == order["price"]["amount"] - EUR_500["amount"]
    assert [payment["type"] for payment in order["payments"]] == ["reservation"]
    assert (await doors.get(answer.headers["location"], caller="orders")).json["id"] == order["id"]


async def test_a_declined_deposit_is_402_and_nothing_is_reserved(doors: Doors) -> None:
    answer = await orders(doors, payment_method="pm_declined")

    assert (answer.status, answer.json["code"]) == (402, "payment_declined")
    assert answer.json["payment"]["type"] == "reservation"
    vehicle = await doors.get(f"/v1/vehicles/{VIN}")
    assert vehicle.json["state"] == "sin asignar"


async def test_an_order_without_a_token_waits_on_the_hosted_page(doors: Doors) -> None:
    answer = await orders(doors, payment_method=None)

    assert answer.status == 202
    assert answer.json["payments"][0]["hosted_page_url"].startswith("http")


async def test_the_same_order_sent_again_is_the_same_order(doors: Doors) -> None:
    body = {"customer": await customer(doors), "vin": VIN, "dealership": "Madrid",
            "deposit": EUR_500, "payment_method": "pm_ok"}  # fmt: skip
    key = {"idempotency-key": str(uuid4())}

    first = await doors.post("/v1/orders", body, headers=key)
    second = await doors.post("/v1/orders", body, headers=key)

    assert (second.status, second.body) == (first.status, first.body)
    assert second.headers["idempotency-replayed"] == "true"
    assert len((await doors.get("/v1/orders")).json["data"]) == 1


async def test_a_cut_order_that_is_repeated_is_charged_once(doors: Doors) -> None:
    body = {"customer": await customer(doors), "vin": VIN, "dealership": "Madrid",
            "deposit": EUR_500, "payment_method": "pm_ok"}  # fmt: skip
    key = {"idempotency-key": str(uuid4())}
    first = await doors.post("/v1/orders", body, headers=key)
    await doors.as_if_never_answered()

    second = await doors.post("/v1/orders", body, headers=key)

    assert second.json["payments"][0]["id"] == first.json["payments"][0]["id"]
    assert second.json["id"] == first.json["id"]


async def test_the_final_payment_is_what_is_left_and_can_be_made_once(doors: Doors) -> None:
    order = (await orders(doors)).json
    await until(doors, order["id"], OrderState.READY)
    path = f"/v1/orders/{order['id']}/final-payment"

    answer = await doors.post(path, {"payment_method": "pm_ok"}, caller="orders")

    assert answer.status == 201, answer.body
    assert (answer.json["type"], answer.json["amount"]) == ("final", order["rest"]["amount"])


async def test_respond_async_is_answered_before_the_gateway_is_called(doors: Doors) -> None:
    prefer = {"Prefer": "respond-async"}
    body = {"customer": await customer(doors), "vin": VIN, "dealership": "Madrid",
            "deposit": EUR_500, "payment_method": "pm_ok"}  # fmt: skip

    ordered = await doors.post("/v1/orders", body, caller="orders", headers=prefer)
    begun = len(doors.installation.gateway.store.bookings)
    await until(doors, ordered.json["id"], OrderState.READY)
    path = f"/v1/orders/{ordered.json['id']}/final-payment"
    final = await doors.post(path, {"payment_method": "pm_ok"}, caller="orders", headers=prefer)

    assert (ordered.status, ordered.json["payments"][0]["state"], begun) == (202, "Pending", 0)
    assert (final.status, final.json["state"]) == (202, "Pending")
    for answer in (ordered, final):
        assert answer.headers["preference-applied"] == "respond-async"


async def test_a_declined_final_payment_loses_the_reservation(doors: Doors) -> None:
    order = (await orders(doors)).json
    await until(doors, order["id"], OrderState.READY)

    answer = await doors.post(
        f"/v1/orders/{order['id']}/final-payment", {"payment_method": "pm_declined"}
    )

    assert answer.status == 402
    seen = (await doors.get(f"/v1/orders/{order['id']}")).json
    assert seen["state"] == "reservation lost"
    assert (await doors.get(f"/v1/vehicles/{VIN}")).json["state"] == "sin asignar"


@pytest.mark.parametrize("state", ["Voided", "Authorized"])
async def test_a_final_payment_that_a_withdrawal_overtook_was_not_made(
    doors: Doors, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """It was answered 201, like a payment that the vehicle was paid with."""
    order = (await orders(doors)).json
    await until(doors, order["id"], OrderState.READY)
    path = f"/v1/orders/{order['id']}"
    if state == "Authorized":  # the void is on its way
        fault = {"status": 503}
        match = {"operation": "void"}
        await doors.installation.gateway_does("faults", action=fault, match=match)
    call = SeedContractGateway.initiate

    async def overtaken(
        gateway: SeedContractGateway, request: TransactionRequest, *, key: str
    ) -> GatewayTransaction:
        withdrawn = await doors.post(f"{path}/withdrawal", {}, caller="orders")
        assert (withdrawn.status, withdrawn.json["withdrawal_requested"]) == (202, True)
        return await call(gateway, request, key=key)

    monkeypatch.setattr(SeedContractGateway, "initiate", overtaken)
    answer = await doors.post(f"{path}/final-payment", {"payment_method": "pm_ok"}, caller="orders")

    assert (answer.status, answer.json["code"]) == (402, "payment_not_made"), answer.body
    assert answer.json["payment"]["state"] == state
    assert "void" in answer.json["detail"]
    assert (await doors.get(path)).json["state"] == "withdrawn"


async def test_a_reservation_that_a_withdrawal_overtook_was_not_made(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = SeedContractGateway.initiate

    async def overtaken(
        gateway: SeedContractGateway, request: TransactionRequest, *, key: str
    ) -> GatewayTransaction:
        [order] = await doors.installation.platform.order_management.orders.listed()
        await doors.installation.platform.order_management.withdrawal.withdraw(order.id)
        return await call(gateway, request, key=key)

    monkeypatch.setattr(SeedContractGateway, "initiate", overtaken)
    answer = await orders(doors)

    assert (answer.status, answer.json["code"]) == (402, "payment_not_made"), answer.body


async def test_a_customer_may_withdraw_without_giving_a_body(doors: Doors) -> None:
    order = (await orders(doors)).json

    answer = await doors.call(
        "POST", f"/v1/orders/{order['id']}/withdrawal", caller="orders",
        headers={"idempotency-key": str(uuid4())},
    )  # fmt: skip

    assert (answer.status, answer.json["state"]) == (200, "withdrawn"), answer.body


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"customer": "01890000-0000-7000-8000-000000000000"}, 404),
        ({"vin": "VINTHATISNOT"}, 404),
        ({"vin": None}, 422),
        ({"vin": None, "model": "Nobody builds this"}, 404),
        ({"deposit": {"amount": 10**12, "currency": "EUR"}}, 422),
        ({"deposit": {"amount": 50_000, "currency": "USD"}}, 422),
        ({"deposit": 50_000}, 422),
    ],
    ids=str,
)
async def test_an_order_that_cannot_be_is_refused_before_any_payment(
    doors: Doors, wrong: dict[str, object], status: int
) -> None:
    answer = await orders(doors, **wrong)

    assert answer.status == status, answer.body
    assert (await doors.get("/v1/payments")).json["data"] == []


async def test_orders_are_listed_by_customer_dealership_and_state(doors: Doors) -> None:
    order = (await orders(doors)).json

    for query in (f"customer={order['customer']}", "dealership=Madrid", f"state={order['state']}"):
        listed = (await doors.get(f"/v1/orders?{query}", caller="orders")).json["data"]
        assert [found["id"] for found in listed] == [order["id"]], query
    assert (await doors.get("/v1/orders?dealership=Vigo")).json["data"] == []


async def test_a_model_is_priced_and_ordered_by_whoever_calls_the_api(doors: Doors) -> None:
    """A price could be set from Python only, or by the first vehicle of the model, for ever."""
    dear, cheap = ({"amount": amount, "currency": "EUR"} for amount in (3_100_000, 2_900_000))
    unknown = await doors.call("PUT", "/v1/models/Uno%0A", json={"price": dear}, caller="orders")
    stranger = await doors.call("PUT", "/v1/models/Dos", json={"price": dear}, caller="services")
    model = "/v1/models/Dos%20Sport"
    first = await doors.call("PUT", model, json={"price": dear}, caller="orders")
    second = await doors.call("PUT", model, json={"price": cheap}, caller="orders")

    listed = await doors.get("/v1/models", caller="orders")
    order = await orders(doors, vin=None, model="Dos Sport")

    assert (unknown.status, stranger.status) == (422, 403)
    assert (first.json["price"], second.json["price"]) == (dear, cheap)
    assert second.json in listed.json["data"]
    assert (order.status, order.json["price"]) == (201, cheap)
