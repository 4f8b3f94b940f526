"""The order partners of Diagrams 2 and 3: Factory, Admin Registration, Transport System."""

import asyncio
import itertools
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from caas_simulators.order_partners import running
from caas_simulators.partner_records import plate
from caas_simulators.partner_world import PartnerSettings
from caas_simulators.webhook_sender import Target
from tests.simulators.gateway_client import API_KEY, SECRET, Gateway, Receiver

DAY = 86_400
ORDER = {"reference": "ord-1", "vin": None, "model": "Uno", "dealership": "Vigo"}
REGISTRATION = {
    "reference": "ord-1",
    "vin": "VSS1",
    "customer_reference": "cus-1",
    "order_id": "ord-1",
}
DELIVERY = {"reference": "ord-1", "vin": "VSS1", "order_id": "ord-1", "destination": "Lugo"}
OURS = {"Authorization": "Bearer sk_simulated"}
BODIES = [("/orders", ORDER), ("/registrations", REGISTRATION), ("/deliveries", DELIVERY)]


@asynccontextmanager
async def partners_running(settings: PartnerSettings) -> AsyncIterator[Gateway]:
    """Run the partners and a caller of theirs."""
    async with (
        running(settings) as (server, _world),
        aiohttp.ClientSession(headers=OURS) as session,
    ):
        yield Gateway(server.url, session)


@pytest.fixture
async def partners(receiver: Receiver) -> AsyncIterator[Gateway]:
    """Run the partners; they tell the receiver."""
    settings = PartnerSettings(
        seed=1,
        time_scale=1000,
        factory_webhooks=Target(f"{receiver.url}/webhooks/factory", [SECRET]),
        transport_webhooks=Target(f"{receiver.url}/webhooks/transport", [SECRET]),
    )
    async with partners_running(settings) as one:
        yield one


async def test_the_factory_takes_an_order_and_gives_a_vin(partners: Gateway) -> None:
    reply = await partners.post("/orders", ORDER)

    assert reply.status == 201
    assert reply.body["status"] == "in_production"
    assert re.fullmatch(r"VSS[A-HJ-NPR-Z0-9]{14}", reply.body["vin"])


async def test_a_vin_that_is_given_is_kept(partners: Gateway) -> None:
    reply = await partners.post("/orders", ORDER | {"vin": "VSSZZZ6JZ9R056308"})

    assert reply.body["vin"] == "VSSZZZ6JZ9R056308"


async def test_a_vehicle_is_ready_when_it_is_built(partners: Gateway, receiver: Receiver) -> None:
    order = (await partners.post("/orders", ORDER)).body

    await partners.control("POST", "/advance", {"seconds": 30 * DAY + 1})
    ready = await receiver.until("vehicle.ready")

    assert receiver.received[0].genuine
    assert ready["data"] == {
        "factory_order_id": order["factory_order_id"],
        "order_id": "ord-1",
        "reference": "ord-1",
        "vin": order["vin"],
        "public_key": None,
    }
    assert ready.keys() == {"id", "type", "occurred_at", "data"}
    found = await partners.get(f"/orders/{order['factory_order_id']}")
    assert found.body["status"] == "ready"


async def test_a_vehicle_can_be_made_ready_with_its_key(
    partners: Gateway, receiver: Receiver
) -> None:
    order = (await partners.post("/orders", ORDER)).body["factory_order_id"]

    await partners.control("POST", f"/ready/{order}", {"public_key": "a2V5"})
    await partners.control("POST", "/webhooks/idle")
    await partners.control("POST", "/advance", {"seconds": 31 * DAY})
    await partners.control("POST", "/webhooks/idle")

    assert [one.body["data"]["public_key"] for one in receiver.received] == ["a2V5"]


async def test_a_finished_car_joins_the_fleet_and_brings_its_key(receiver: Receiver) -> None:
    asked: list[Any] = []

    async def take_in(request: web.Request) -> web.Response:
        asked.append((request.path, await request.json()))
        return web.json_response({"vin": "x", "public_key": "Zmxl"}, status=201)

    async with fleet(take_in) as fleet_url:
        settings = PartnerSettings(
            factory_webhooks=Target(receiver.url, [SECRET]), fleet_url=fleet_url
        )
        async with partners_running(settings) as partners:
            order = (await partners.post("/orders", ORDER)).body
            await partners.control("POST", f"/ready/{order['factory_order_id']}")
            ready = await receiver.until("vehicle.ready")

    assert asked == [("/_control/vehicles", {"vin": order["vin"]})]
    assert ready["data"]["public_key"] == "Zmxl"


async def test_a_fleet_that_is_away_keeps_no_vehicle_from_being_ready(
    receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = PartnerSettings(
        factory_webhooks=Target(receiver.url, [SECRET]), fleet_url="http://127.0.0.1:1"
    )
    async with partners_running(settings) as partners:
        order = (await partners.post("/orders", ORDER)).body["factory_order_id"]
        await partners.control("POST", f"/ready/{order}")
        ready = await receiver.until("vehicle.ready")

    assert ready["data"]["public_key"] is None
    assert "did not take in" in capsys.readouterr().err


@asynccontextmanager
async def fleet(handler: Any) -> AsyncIterator[str]:
    """Run a stand-in for the fleet's control plane."""
    application = web.Application()
    application.router.add_post("/_control/vehicles", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_registration_gives_a_spanish_plate(partners: Gateway) -> None:
    first = await partners.post("/registrations", REGISTRATION)
    second = await partners.post("/registrations", REGISTRATION | {"reference": "ord-2"})

    assert (first.status, second.status) == (201, 201)
    assert re.fullmatch(r"\d{4} [BCDFGHJKLMNPRSTVWXYZ]{3}", first.body["plate"])
    assert first.body["plate"] != second.body["plate"]
    assert first.body["registered_at"].endswith("Z")


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0000 BBB"), (9_999, "9999 BBB"), (10_000, "0000 BBC")]
)
def test_plates_count_on_like_the_real_ones(number: int, text: str) -> None:
    assert plate(number) == text


def test_no_two_plates_of_a_series_are_alike() -> None:
    plates = [plate(number) for number in range(9_000, 9_000 + 250_000)]

    assert len(set(plates)) == len(plates)


async def test_a_delivery_is_scheduled_and_completed_later(
    partners: Gateway, receiver: Receiver
) -> None:
    scheduled = await partners.post("/deliveries", DELIVERY)

    await partners.control("POST", "/advance", {"seconds": 3 * DAY + 1})
    completed = await receiver.until("delivery.completed")

    assert scheduled.status == 201
    assert scheduled.body["scheduled_for"].endswith("Z")
    assert completed["data"]["delivery_id"] == scheduled.body["delivery_id"]
    assert completed["data"]["order_id"] == "ord-1"
    assert receiver.received[0].genuine


async def test_a_delivery_can_be_completed_at_once(partners: Gateway, receiver: Receiver) -> None:
    delivery = (await partners.post("/deliveries", DELIVERY)).body["delivery_id"]

    await partners.control("POST", f"/completed/{delivery}")

    assert (await receiver.until("delivery.completed"))["data"]["vin"] == "VSS1"


@pytest.mark.parametrize(("path", "body"), BODIES)
async def test_the_same_key_is_done_once(
    partners: Gateway, path: str, body: dict[str, object]
) -> None:
    first = await partners.post(path, body, "k")
    again = await partners.post(path, body, "k")
    other = await partners.post(path, body | {"reference": "ord-9"}, "k")

    assert (again.status, again.text) == (201, first.text)
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
    assert len((await partners.ledger())[path[1:]]) == 1


@pytest.mark.parametrize(("path", "body"), BODIES)
async def test_what_was_done_can_be_looked_up(
    partners: Gateway, path: str, body: dict[str, object]
) -> None:
    done = (await partners.post(path, body, "k")).body

    by_reference = await partners.get(f"{path}?reference=ord-1")
    by_key = await partners.get(f"{path}?idempotency_key=k")
    nothing = await partners.get(f"{path}?reference=ord-2")
    no_such_key = await partners.get(f"{path}?idempotency_key=other")

    assert by_reference.body == by_key.body == {"data": [done]}
    assert nothing.body == no_such_key.body == {"data": []}


@pytest.mark.parametrize(("path", "body"), BODIES)
async def test_a_partner_may_do_it_and_never_answer(
    partners: Gateway, path: str, body: dict[str, object]
) -> None:
    await partners.script({"operation": path[1:], "times": 1}, hang_after_apply=0.05)

    with pytest.raises(aiohttp.ClientError):
        await partners.post(path, body, "k")
    found = await partners.get(f"{path}?idempotency_key=k")
    again = await partners.post(path, body, "k")

    assert found.body == {"data": [again.body]}
    assert len((await partners.ledger())[path[1:]]) == 1


@pytest.mark.parametrize(("path", "body"), BODIES)
@pytest.mark.parametrize("status", [409, 422, 500, 503])
async def test_a_partner_may_refuse_or_break_and_has_done_nothing(
    partners: Gateway, path: str, body: dict[str, object], status: int
) -> None:
    await partners.script({"operation": path[1:], "times": 1}, status=status, code="model_ended")

    refused = await partners.post(path, body, "k")
    again = await partners.post(path, body, "k")

    assert (refused.status, refused.body["code"]) == (status, "model_ended")
    assert again.status == 201


async def test_two_keys_for_one_order_show_as_two_orders(partners: Gateway) -> None:
    await partners.post("/orders", ORDER, "k1")
    await partners.post("/orders", ORDER, "k2")

    ledger = await partners.control("GET", "/ledger?reference=ord-1")

    assert len(ledger["orders"]) == 2
    assert [call["key"] for call in ledger["calls"]] == ["k1", "k2"]


async def test_a_vehicle_may_never_be_ready(partners: Gateway, receiver: Receiver) -> None:
    await partners.script({"operation": "any"}, never_ready=True)

    await partners.post("/orders", ORDER)
    await partners.post("/deliveries", DELIVERY)
    await partners.control("POST", "/advance", {"seconds": 365 * DAY})
    await partners.control("POST", "/webhooks/idle")

    assert receiver.received == []


async def test_a_vehicle_may_be_slow(partners: Gateway, receiver: Receiver) -> None:
    await partners.script({"operation": "orders"}, done_after_seconds=100 * DAY)

    await partners.post("/orders", ORDER)
    await partners.control("POST", "/advance", {"seconds": 99 * DAY})
    await partners.control("POST", "/webhooks/idle")
    after_99_days = list(receiver.types)
    await partners.control("POST", "/advance", {"seconds": 2 * DAY})
    await receiver.until("vehicle.ready")

    assert after_99_days == []


async def test_readiness_can_be_told_twice_or_forged(partners: Gateway, receiver: Receiver) -> None:
    await partners.script({"operation": "webhook", "times": 1}, duplicate=1)
    await partners.script({"operation": "webhook", "times": 1}, forged_signature=True)
    order = (await partners.post("/orders", ORDER)).body["factory_order_id"]

    await partners.control("POST", f"/ready/{order}")
    await partners.control("POST", "/webhooks/idle")
    await partners.control("POST", f"/ready/{order}")
    await partners.control("POST", "/webhooks/idle")

    assert [one.genuine for one in receiver.received] == [True, True, False]
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 2


async def test_one_partners_webhooks_can_be_aimed_elsewhere(
    partners: Gateway, receiver: Receiver
) -> None:
    await partners.control(
        "POST", "/webhooks", {"name": "transport", "url": "http://127.0.0.1:1", "types": ["none"]}
    )

    delivery = (await partners.post("/deliveries", DELIVERY)).body["delivery_id"]
    await partners.control("POST", f"/completed/{delivery}")
    await partners.control("POST", "/webhooks/idle")
    unknown = await partners.request("POST", "/_control/webhooks", {"name": "dealer"})

    assert receiver.received == []
    assert unknown.status == 422


async def test_keys_can_be_forgotten(partners: Gateway) -> None:
    await partners.post("/orders", ORDER, "k")

    await partners.control("POST", "/forget-keys")
    await partners.post("/orders", ORDER, "k")

    assert len((await partners.ledger())["orders"]) == 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/orders", 400),
        ("GET", "/orders/fac_none", 404),
        ("GET", "/orders/a/b", 404),
        ("POST", "/orders/fac_none", 404),
        ("PUT", "/orders", 404),
        ("GET", "/nonsense", 404),
        ("POST", "/_control/ready/fac_none", 404),
        ("POST", "/_control/completed/del_none", 404),
        ("GET", "/_control/nonsense", 404),
        ("POST", "/_control/advance", 422),
    ],
)
async def test_what_is_not_there_is_said_so(
    partners: Gateway, method: str, path: str, status: int
) -> None:
    assert (await partners.request(method, path, {})).status == status


@pytest.mark.parametrize("body", [{}, {"reference": 5}, {"vin": "VSS1"}])
async def test_an_order_nobody_can_understand_is_422(
    partners: Gateway, body: dict[str, object]
) -> None:
    assert (await partners.post("/orders", body)).status == 422


async def test_a_post_without_a_key_is_refused(partners: Gateway) -> None:
    reply = await partners.request("POST", "/orders", ORDER)

    assert (reply.status, reply.body["code"]) == (400, "idempotency_key_missing")


async def test_without_control_there_is_no_control_plane() -> None:
    async with partners_running(PartnerSettings(control=False)) as partners:
        assert (await partners.get("/_control/ledger")).status == 404


async def test_the_control_plane_lists_what_it_can_do(partners: Gateway) -> None:
    listing = await partners.control("GET", "/")

    assert "POST /_control/ready/{factory_order_id}" in listing["paths"]
    assert "deliveries" in listing["operations"]


async def test_a_lookup_can_fail(partners: Gateway) -> None:
    await partners.script({"operation": "find"}, no_lookup=501)

    assert (await partners.get("/orders?reference=ord-1")).status == 501


async def test_the_partners_run_as_a_process_of_their_own() -> None:
    process = await asyncio.create_subprocess_exec(
        *itertools.chain(
            (sys.executable, "-m", "caas_simulators", "partners", "--seed", "1"),
            ("--build-seconds", "60", "--delivery-seconds", "60"),
        ),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    url = json.loads(await process.stdout.readline())["url"]
    signed = {"authorization": f"Bearer {API_KEY}"}
    async with aiohttp.ClientSession() as nobody, aiohttp.ClientSession(headers=signed) as ours:
        stranger = await Gateway(url, nobody).post("/orders", ORDER)
        reply = await Gateway(url, ours).post("/orders", ORDER)
    process.terminate()

    assert (stranger.status, reply.status) == (401, 201)
    assert await asyncio.wait_for(process.wait(), 10) == 0
