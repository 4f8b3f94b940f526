"""One database, one payment gateway.

Switched to another adapter, the platform would have asked a gateway that had never heard of them
about payments under way: not there, it would have said, and a charged payment would have counted as
one that never was. Webhooks of the old gateway that were still to be read would have been read in
the words of the new one.
"""

import asyncpg
import pytest

from caas import startup_checks
from caas.app import now
from caas.billing_database.connection import Database
from caas.billing_database.payments import Payments
from caas.errors import StartupError
from caas.external_systems.gateway_adapters import GatewayContext, configured
from caas.external_systems.payment_gateway import PaymentGateway
from tests.billing_database.test_transitions import new_payment
from tests.external_systems.stripe_asked import KnownCustomers, NothingReported


def gateway(adapter: str) -> PaymentGateway:
    settings = {
        "CAAS_GATEWAY_URL": "http://127.0.0.1:1",
        "CAAS_GATEWAY_API_KEY": "sk_of_nobody",
        "CAAS_GATEWAY_WEBHOOK_SECRETS": "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldyE=",
    }
    context = GatewayContext(
        customers=KnownCustomers(),
        reported=NothingReported(),
        return_url="https://caas.example",
        now=now,
    )
    return configured(adapter, settings).connect(context)


async def test_books_without_a_payment_go_to_another_gateway(database: Database) -> None:
    await startup_checks.check_database(database, gateway("contract"))
    await startup_checks.check_database(database, gateway("stripe"))

    await Payments(database).accept(new_payment())

    await startup_checks.check_database(database, gateway("stripe"))


async def test_payments_stay_at_the_gateway_they_are_at(database: Database) -> None:
    await startup_checks.check_database(database, gateway("contract"))
    await Payments(database).accept(new_payment())

    with pytest.raises(StartupError, match="belong to the gateway 'seed-contract'"):
        await startup_checks.check_database(database, gateway("stripe"))


async def test_nobody_says_otherwise_by_hand(database: Database) -> None:
    await startup_checks.check_database(database, gateway("contract"))
    await Payments(database).accept(new_payment())

    with pytest.raises(asyncpg.RestrictViolationError):
        await database.fetch("update configured_gateway set name = 'stripe'")
