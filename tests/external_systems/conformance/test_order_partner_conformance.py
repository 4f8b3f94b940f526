"""The simulated order partners keep to what our clients rely on (F-R3)."""

from collections.abc import AsyncIterator

import pytest

from caas.external_systems.admin_registration import AdminRegistration, MatriculationRequest
from caas.external_systems.factory import Factory, FactoryOrder
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.transport_system import DeliveryRequest, TransportSystem
from caas_simulators.order_partners import running
from caas_simulators.partner_world import PartnerSettings
from tests.ways_in import PARTNER_TOKEN

VIN = "WVWZZZ1JZXW000001"


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    """The partners, over real HTTP."""
    async with running(PartnerSettings()) as (server, _world):
        client = HttpClient(server.url, partner="partner", api_key=Secret(PARTNER_TOKEN))
        yield client
        await client.close()


async def test_a_factory_order_is_placed_once_and_found(http: HttpClient) -> None:
    factory = Factory(http)
    order = FactoryOrder(order_id="order-1", model="Ibiza", dealership="Vigo")

    first = await factory.place_factory_order(order)
    again = await factory.place_factory_order(order)

    assert again == first
    assert first.vin is not None
    assert await factory.find_factory_orders("order-1") == (first,)
    assert await factory.find_factory_orders("order-2") == ()


async def test_a_vehicle_is_registered_once_and_found(http: HttpClient) -> None:
    registration = AdminRegistration(http)
    request = MatriculationRequest(order_id="order-1", vin=VIN, customer_reference="customer-1")

    first = await registration.register_vehicle(request)
    again = await registration.register_vehicle(request)

    assert again == first
    assert await registration.find_matriculations("order-1") == (first,)
    assert await registration.find_matriculations("order-2") == ()


async def test_a_delivery_is_scheduled_once_and_found(http: HttpClient) -> None:
    transport = TransportSystem(http)
    request = DeliveryRequest(order_id="order-1", vin=VIN, destination="Vigo")

    first = await transport.schedule_delivery(request)
    again = await transport.schedule_delivery(request)

    assert again == first
    assert await transport.find_deliveries("order-1") == (first,)
    assert await transport.find_deliveries("order-2") == ()
