"""Which gateways `./caas up` simulates beside the one of new payments."""

from pathlib import Path

import pytest

from caas import local_gateways, local_secrets
from caas.billing_database.connection import Database
from caas.billing_database.payments import Payments
from caas.gateway_settings import KEPT
from caas.local_gateways import SimulatedGateway
from tests.billing_database.test_transitions import new_payment


@pytest.mark.parametrize(
    ("settings", "simulated"),
    [
        ({}, [SimulatedGateway.ADYEN]),
        ({"CAAS_GATEWAYS_KEPT": "stripe"}, [SimulatedGateway.STRIPE, SimulatedGateway.ADYEN]),
        ({"CAAS_GATEWAYS_KEPT": "stripe", "CAAS_GATEWAY_STRIPE_URL": "https://api.example"},
         [SimulatedGateway.ADYEN]),
        ({"CAAS_GATEWAY": "adyen"}, []),
    ],
)  # fmt: skip
async def test_those_with_payments_and_those_that_the_settings_name(
    database: Database, settings: dict[str, str], simulated: list[SimulatedGateway]
) -> None:
    await Payments(database).accept(new_payment(gateway="adyen"))

    kept = await local_gateways.to_keep({"CAAS_DATABASE_URL": database.dsn, **settings})

    assert kept == simulated


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        ({}, "stripe"),
        ({KEPT: "stripe"}, "stripe"),
        ({KEPT: "adyen, stripe"}, "adyen,stripe"),
        ({KEPT: "adyen"}, "adyen,stripe"),
    ],
)
def test_a_kept_gateway_is_named_once(tmp_path: Path, named: dict[str, str], kept: str) -> None:
    settings = local_gateways.settings_of_kept(
        SimulatedGateway.STRIPE, "http://127.0.0.1:1", local_secrets.kept(tmp_path), named
    )

    assert settings[KEPT] == kept
