"""Partners are called with credentials, and a partner that does not take them refuses no order."""

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from caas.access_settings import FACTORY, partner_credential
from caas.external_systems.admin_registration import AdminRegistration, MatriculationRequest
from caas.external_systems.factory import Factory, FactoryOrder
from caas.external_systems.http import (
    GatewayFailure,
    HttpClient,
    RefusedByPartnerError,
    Secret,
)
from caas.external_systems.transport_system import DeliveryRequest, TransportSystem
from caas.order_management import partner_calls
from caas_simulators.order_partners import running
from caas_simulators.partner_world import PartnerSettings
from tests.external_systems.certificates import mutual_tls
from tests.external_systems.scripted_server import answering, http_answer, scripted_server

VIN = "WVWZZZ1JZXW000001"
ORDER = FactoryOrder(order_id="order-1", model="Ibiza", vin=VIN)


@pytest.fixture
async def partners_url() -> AsyncIterator[str]:
    """Partners that know two tokens, because one is being replaced."""
    settings = PartnerSettings(seed=1, tokens=frozenset({"pt_old", "pt_new"}))
    async with running(settings) as (server, _world):
        yield server.url


async def called(url: str, token: str | None) -> list[str]:
    """Call each of the three, and return what they said."""
    http = HttpClient(url, partner="partner", api_key=Secret(token) if token else None)
    stated: list[str] = []
    seen: list[str] = []
    for call in (
        lambda: Factory(http).place_factory_order(ORDER),
        lambda: AdminRegistration(http).register_vehicle(
            MatriculationRequest(order_id="order-1", vin=VIN, customer_reference="c-1")
        ),
        lambda: TransportSystem(http).schedule_delivery(
            DeliveryRequest(order_id="order-1", vin=VIN, destination="Vigo")
        ),
        lambda: Factory(http).find_factory_orders("order-1"),
    ):
        try:
            await call()
        except RefusedByPartnerError as refusal:
            stated.append(f"{refusal.status} {refusal.refusal}")
            seen.append(f"{refusal}{refusal!r}{refusal.facts}")
        else:
            stated.append("done")
    await http.close()
    assert token is None or not any(token in text for text in seen)
    return stated


async def test_each_partner_wants_a_token_it_knows(partners_url: str) -> None:
    refused = ["401 unauthorized"] * 4

    assert await called(partners_url, None) == refused
    assert await called(partners_url, "pt_stolen") == refused
    assert await called(partners_url, "pt_old") == ["done"] * 4
    assert await called(partners_url, "pt_new") == ["done"] * 4


async def test_a_token_that_is_not_taken_refuses_no_order(partners_url: str) -> None:
    """A refusal gives the deposit back and releases the vehicle; a wrong token is our own fault."""
    http = HttpClient(partners_url, partner="The factory", api_key=Secret("pt_wrong"))
    factory = Factory(http)

    reported = await partner_calls.ask(
        lambda: factory.place_factory_order(ORDER),
        lambda: factory.find_factory_orders(ORDER.order_id),
        attempt=1,
    )
    await http.close()

    assert isinstance(reported, partner_calls.NoPartnerResponse)
    assert "unauthorized" in reported.because
    assert "pt_wrong" not in reported.because


async def test_a_client_certificate_is_shown_and_one_without_is_not_let_in(
    tmp_path: Path,
) -> None:
    pair = mutual_tls(tmp_path)
    environment = {
        "CAAS_FACTORY_URL": "https://localhost",
        "CAAS_FACTORY_CLIENT_CERTIFICATE": f"{pair.certificate},{pair.key}",
        "CAAS_FACTORY_CERTIFICATE_AUTHORITY": str(pair.authority),
    }
    shown = partner_credential(FACTORY, environment)
    reported = {"factory_order_id": "fac_1", "reference": "order-1", "vin": VIN}
    answer = http_answer(json.dumps(reported).encode(), status="201 Created")

    async with scripted_server(answering(answer), tls=pair.server) as server:
        url = f"https://localhost:{server.port}"
        with_it = HttpClient(url, partner="The factory", api_key=shown.token, tls=shown.tls)
        confirmed = await Factory(with_it).place_factory_order(ORDER)
        await with_it.close()
        trusting = ssl.create_default_context(cafile=pair.authority)
        without = HttpClient(url, partner="The factory", tls=trusting)
        with pytest.raises(GatewayFailure):
            await Factory(without).place_factory_order(ORDER)
        await without.close()

    assert confirmed.factory_order_id == "fac_1"
    assert len(server.requests) == 1
    assert str(pair.key) not in repr(shown)
