"""The Factory, Admin Registration and the Transport System: asked once, believed if they agree."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
import pytest

from caas.external_systems.admin_registration import (
    AdminRegistration,
    Matriculation,
    MatriculationRequest,
)
from caas.external_systems.factory import (
    Factory,
    FactoryOrder,
    FactoryOrderConfirmation,
    read_vehicle_ready,
)
from caas.external_systems.http import (
    HttpClient,
    HttpLimits,
    NotSentError,
    OutcomeUnknownError,
    RefusedByPartnerError,
)
from caas.external_systems.transport_system import (
    DeliveryRequest,
    ScheduledDelivery,
    TransportSystem,
    read_delivery_completed,
)
from tests.external_systems.scripted_server import answering, http_answer, scripted_server

VIN = "WVWZZZ1JZXW000001"
QUICK = HttpLimits(total_seconds=0.5, connect_seconds=0.25)
ORDERED = {"factory_order_id": "fac_1", "reference": "order-1", "vin": VIN}
REGISTERED = {
    "plate": "1234 BCD",
    "registered_at": "2026-11-24T11:00:00+01:00",
    "reference": "order-1",
    "vin": VIN,
}
SCHEDULED = {
    "delivery_id": "del_1",
    "scheduled_for": "2026-11-30T09:00:00Z",
    "reference": "order-1",
    "vin": VIN,
}


async def ordering(http: HttpClient) -> object:
    """Place the factory order."""
    order = FactoryOrder(order_id="order-1", model="Ibiza", vin=VIN, dealership="Vigo")
    return await Factory(http).place_factory_order(order)


async def registering(http: HttpClient) -> object:
    """Register the vehicle."""
    request = MatriculationRequest(order_id="order-1", vin=VIN, customer_reference="customer-1")
    return await AdminRegistration(http).register_vehicle(request)


async def scheduling(http: HttpClient) -> object:
    """Schedule the delivery."""
    request = DeliveryRequest(order_id="order-1", vin=VIN, destination="Vigo")
    return await TransportSystem(http).schedule_delivery(request)


EACH_ASKING = pytest.mark.parametrize(
    "asking", [ordering, registering, scheduling], ids=["factory", "registration", "transport"]
)
EACH = pytest.mark.parametrize(
    ("asking", "reported"),
    [(ordering, ORDERED), (registering, REGISTERED), (scheduling, SCHEDULED)],
    ids=["factory", "registration", "transport"],
)
Asking = Callable[[HttpClient], Awaitable[object]]


async def asked(
    asking: Asking,
    reported: object,
    *,
    status: str = "201 Created",
    content_type: str = "application/json",
) -> tuple[object, bytes]:
    """What asking brings, and the request that was sent."""
    answer = http_answer(json.dumps(reported).encode(), status=status, content_type=content_type)
    async with scripted_server(answering(answer)) as server:
        http = HttpClient(server.url, partner="partner", limits=QUICK)
        try:
            return await asking(http), server.requests[0]
        finally:
            await http.close()


async def test_a_factory_order_is_placed_under_the_order_s_own_key() -> None:
    confirmation, request = await asked(ordering, ORDERED)

    assert confirmation == FactoryOrderConfirmation(factory_order_id="fac_1", vin=VIN)
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /orders ")
    assert b"Idempotency-Key: order-1:place_factory_order\r\n" in head
    assert json.loads(body) == {
        "reference": "order-1",
        "model": "Ibiza",
        "vin": VIN,
        "dealership": "Vigo",
    }


async def test_the_bare_answer_of_the_contract_is_enough() -> None:
    confirmation, _ = await asked(ordering, {"factory_order_id": "fac_1"})

    assert confirmation == FactoryOrderConfirmation(factory_order_id="fac_1")


async def test_a_vehicle_is_registered_under_the_order_s_own_key() -> None:
    matriculation, request = await asked(registering, REGISTERED)

    assert matriculation == Matriculation(
        plate="1234 BCD", registered_at=datetime(2026, 11, 24, 10, tzinfo=UTC)
    )
    assert request.startswith(b"POST /registrations ")
    assert b"Idempotency-Key: order-1:register_vehicle\r\n" in request


async def test_a_delivery_is_scheduled_under_the_order_s_own_key() -> None:
    delivery, request = await asked(scheduling, SCHEDULED)

    assert delivery == ScheduledDelivery(
        delivery_id="del_1", scheduled_for=datetime(2026, 11, 30, 9, tzinfo=UTC)
    )
    assert request.startswith(b"POST /deliveries ")
    assert b"Idempotency-Key: order-1:schedule_delivery\r\n" in request


@EACH_ASKING
@pytest.mark.parametrize("status", ["409 Conflict", "422 Unprocessable Content"])
async def test_a_refusal_is_told_with_its_code(asking: Asking, status: str) -> None:
    problem = {"code": "model_discontinued", "detail": "No longer built."}

    with pytest.raises(RefusedByPartnerError) as caught:
        await asked(asking, problem, status=status, content_type="application/problem+json")

    assert caught.value.refusal == "model_discontinued"


@EACH
@pytest.mark.parametrize(
    ("status", "content_type"),
    [
        ("500 Internal Server Error", "application/problem+json"),
        ("502 Bad Gateway", "text/html"),
        ("404 Not Found", "text/html"),
        ("202 Accepted", "application/json"),
        ("307 Temporary Redirect", "application/json"),
        ("201 Created", "text/html"),
    ],
)
async def test_everything_else_is_unknown(
    asking: Asking, reported: dict[str, object], status: str, content_type: str
) -> None:
    with pytest.raises(OutcomeUnknownError):
        await asked(asking, reported, status=status, content_type=content_type)


@EACH
@pytest.mark.parametrize(
    "facts",
    [{"reference": "order-2"}, {"vin": "WVWZZZ1JZXW000002"}, {"vin": "short"}, {"reference": 7}],
)
async def test_an_answer_about_another_order_or_vehicle_is_unknown(
    asking: Asking, reported: dict[str, object], facts: dict[str, object]
) -> None:
    with pytest.raises(OutcomeUnknownError):
        await asked(asking, reported | facts)


@EACH
async def test_an_answer_without_its_own_facts_is_unknown(
    asking: Asking, reported: dict[str, object]
) -> None:
    for name in set(reported) - {"reference", "vin"}:
        with pytest.raises(OutcomeUnknownError):
            await asked(asking, {key: value for key, value in reported.items() if key != name})


@EACH_ASKING
async def test_a_partner_that_is_not_there_was_not_reached(asking: Asking) -> None:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()

    with pytest.raises(NotSentError):
        await asking(HttpClient(f"http://127.0.0.1:{port}", partner="partner", limits=QUICK))


async def ordered(http: HttpClient) -> tuple[object, ...]:
    """Look the factory orders up."""
    return await Factory(http).find_factory_orders("order-1")


async def registered(http: HttpClient) -> tuple[object, ...]:
    """Look the matriculations up."""
    return await AdminRegistration(http).find_matriculations("order-1")


async def scheduled(http: HttpClient) -> tuple[object, ...]:
    """Look the deliveries up."""
    return await TransportSystem(http).find_deliveries("order-1")


LookUp = Callable[[HttpClient], Awaitable[tuple[object, ...]]]


RECORDS = pytest.mark.parametrize(
    ("look_up", "reported"),
    [(ordered, ORDERED), (registered, REGISTERED), (scheduled, SCHEDULED)],
    ids=["factory", "registration", "transport"],
)


@RECORDS
@pytest.mark.parametrize("count", [0, 1, 2])
async def test_a_lookup_tells_how_often_it_was_done(
    look_up: LookUp, reported: dict[str, object], count: int
) -> None:
    found, request = await asked(look_up, {"data": [reported] * count}, status="200 OK")

    assert isinstance(found, tuple)
    assert len(found) == count
    assert request.split(b" ")[1].endswith(b"?reference=order-1")


@RECORDS
@pytest.mark.parametrize("spoil", [{"reference": "order-2"}, {"reference": None}, {"vin": 7}])
async def test_a_lookup_that_brings_another_s_record_proves_nothing(
    look_up: LookUp, reported: dict[str, object], spoil: dict[str, object]
) -> None:
    with pytest.raises(OutcomeUnknownError):
        await asked(look_up, {"data": [reported | spoil]}, status="200 OK")


@pytest.mark.parametrize("look_up", [ordered, registered, scheduled])
async def test_a_partner_without_lookup_does_not_prove_absence(look_up: LookUp) -> None:
    with pytest.raises(RefusedByPartnerError):
        await asked(
            look_up,
            {"code": "unknown_path"},
            status="404 Not Found",
            content_type="application/problem+json",
        )


def event(type_: str, **data: object) -> bytes:
    """A partner's webhook body."""
    body = {"id": "evt_1", "type": type_, "occurred_at": "2026-11-24T11:00:00+01:00", "data": data}
    return json.dumps(body).encode()


def test_the_factory_tells_that_a_vehicle_is_ready_and_which_key_it_signs_with() -> None:
    public_key = "B" * 43 + "="

    ready = read_vehicle_ready(event("vehicle.ready", **ORDERED, public_key=public_key))

    assert (ready.factory_order_id, ready.vin, ready.order_id) == ("fac_1", VIN, "order-1")
    assert ready.public_key == public_key
    assert ready.occurred_at == datetime(2026, 11, 24, 10, tzinfo=UTC)


def test_the_transport_tells_that_a_delivery_is_completed() -> None:
    completed = read_delivery_completed(event("delivery.completed", **SCHEDULED))

    assert (completed.delivery_id, completed.vin, completed.order_id) == ("del_1", VIN, "order-1")


@pytest.mark.parametrize(
    "body",
    [
        event("vehicle.scrapped", **ORDERED),
        event("vehicle.ready", vin=VIN),
        event("vehicle.ready", factory_order_id="fac_1", vin="short"),
        event("vehicle.ready", **ORDERED, public_key="not a key"),
        event("vehicle.ready", **ORDERED, public_key="A" * 43 + "="),
        b"{}",
        b"",
    ],
)
def test_what_the_factory_did_not_agree_to_tell_is_not_read(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        read_vehicle_ready(body)


@pytest.mark.parametrize(
    "body", [event("delivery.lost", **SCHEDULED), event("delivery.completed", vin=VIN), b"null"]
)
def test_what_the_transport_did_not_agree_to_tell_is_not_read(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        read_delivery_completed(body)
