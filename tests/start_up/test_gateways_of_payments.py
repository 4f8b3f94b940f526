"""Every gateway that has payments in the database is configured, or the platform does not start.

Without its settings the platform could neither look its payments up nor refund them, and another
gateway would say that it has never heard of them, which is evidence here (decision 199).
"""

import pytest

from caas import startup_checks
from caas.billing_database.connection import Database
from caas.billing_database.payments import Payments
from caas.billing_database.transitions import PaymentTransitions, transition_of
from caas.errors import StartupError
from caas.external_systems.gateway_amounts import ANY_AMOUNT
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.stripe_gateway import AMOUNTS
from caas.gateway_settings import access_names
from caas.rules.gateway_routes import GatewayRoutes
from caas.rules.payment_states import PaymentEvent
from caas.startup_checks import CheckedGateway, GatewayUse, use_of
from caas_simulators import payment_gateway
from tests.billing_database.test_transitions import new_payment
from tests.installation import quick_gateway
from tests.ports import free_port
from tests.start_up.conftest import answering
from tests.start_up.test_what_the_platform_needs import HTTP_404
from tests.two_gateways import TwinGateway


async def test_a_database_without_a_payment_goes_to_any_gateway(database: Database) -> None:
    await startup_checks.check_database(database, ("contract",))
    await startup_checks.check_database(database, ("stripe",))


async def test_a_gateway_with_payments_is_kept(database: Database) -> None:
    await Payments(database).accept(new_payment(gateway="contract"))
    await Payments(database).accept(new_payment(gateway="adyen"))

    await startup_checks.check_database(database, ("stripe", "contract", "adyen"))


async def test_a_start_without_it_is_refused_with_the_settings_to_add(database: Database) -> None:
    await Payments(database).accept(new_payment(gateway="acme-pay"))
    await Payments(database).accept(new_payment(gateway="acme-pay"))
    await Payments(database).accept(new_payment(gateway="stripe"))

    with pytest.raises(StartupError) as caught:
        await startup_checks.check_database(database, ("stripe",))

    assert caught.value.sentence == (
        "The Billing Database has payments at the gateway 'acme-pay', of which 2 are not at rest, "
        "but 'acme-pay' is not configured. Add 'acme-pay' to CAAS_GATEWAYS_KEPT, with its settings "
        "CAAS_GATEWAY_ACME_PAY_URL, CAAS_GATEWAY_ACME_PAY_API_KEY and "
        "CAAS_GATEWAY_ACME_PAY_WEBHOOK_SECRETS."
    )


async def test_a_payment_at_rest_keeps_its_gateway_too(database: Database) -> None:
    """Its refund or dispute may come months later."""
    rows, new = Payments(database), new_payment(gateway="contract")
    await rows.accept(new)
    declined = transition_of(
        await rows.get(new.id), PaymentEvent.GATEWAY_REJECTION, source="failed", done=("authorize",)
    )
    assert (await PaymentTransitions(database).apply(declined)).transitioned

    with pytest.raises(StartupError, match="of which 0 are not at rest"):
        await startup_checks.check_database(database, ("stripe",))


async def test_a_market_that_is_none_has_no_gateway(database: Database) -> None:
    both = GatewayRoutes({"PT": "contract", "ES": "contract"})
    await startup_checks.check_routes(database, both, {"contract": ANY_AMOUNT}, home="ES")

    with pytest.raises(StartupError, match="unknown markets: XX"):
        await startup_checks.check_routes(
            database, GatewayRoutes({"XX": "contract"}), {"contract": ANY_AMOUNT}, home="ES"
        )


@pytest.mark.parametrize(
    ("names", "routes", "home"),
    [
        (["contract", "stripe"], GatewayRoutes({"KW": "stripe"}), "ES"),
        (["stripe", "contract"], GatewayRoutes({"PT": "contract"}), "KW"),
    ],
)
async def test_a_market_has_no_gateway_that_does_not_take_its_currency(
    database: Database, names: list[str], routes: GatewayRoutes, home: str
) -> None:
    amounts = {name: {"contract": ANY_AMOUNT, "stripe": AMOUNTS}[name] for name in names}

    with pytest.raises(StartupError, match=r"market KW go to .* 'stripe', .* its currency, KWD"):
        await startup_checks.check_routes(database, routes, amounts, home=home)

    in_contract = GatewayRoutes({"KW": "contract"})
    await startup_checks.check_routes(database, in_contract, amounts, home=home)


async def test_a_gateway_of_old_payments_alone_may_refuse_the_key(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its account is closed; what is asked of it opens cases, and everything else goes on."""
    async with payment_gateway.running(quick_gateway(1.0)) as (server, _):
        http = HttpClient(server.url, partner="gateway", api_key=Secret("revoked"))
        gateway = SeedContractGateway(http)

        with pytest.raises(StartupError, match="rejects our key"):
            await startup_checks.check_gateway(
                database, CheckedGateway(gateway=gateway, address="x")
            )
        kept = CheckedGateway(gateway=gateway, address="x", use=GatewayUse.KEPT)
        await startup_checks.check_gateway(database, kept)
        await startup_checks.check_account(database, kept)

        await http.close()
    assert "gateway.unavailable_at_start" in capsys.readouterr().out


async def test_a_gateway_that_has_payments_and_is_away_does_not_prevent_the_start(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """A restart during its outage must not end refunds, reports and pages as well."""
    await Payments(database).accept(new_payment(gateway="contract"))
    address = f"http://127.0.0.1:{free_port()}"
    http = HttpClient(address, partner="gateway", api_key=Secret("right"))
    checked = CheckedGateway(gateway=SeedContractGateway(http), address=address)

    await startup_checks.check_gateway(database, checked)
    await startup_checks.check_account(database, checked)

    await http.close()
    assert "gateway.unavailable_at_start" in capsys.readouterr().out


async def test_a_gateway_that_was_never_reached_prevents_the_start(database: Database) -> None:
    """Its address may be wrong, and the first customer would find out."""
    await Payments(database).accept(new_payment(gateway="acme-pay"))
    address = f"http://127.0.0.1:{free_port()}"
    http = HttpClient(address, partner="gateway", api_key=Secret("right"))

    with pytest.raises(StartupError, match="no response"):
        await startup_checks.check_gateway(
            database, CheckedGateway(gateway=SeedContractGateway(http), address=address)
        )

    await http.close()


@pytest.mark.parametrize("use", [GatewayUse.NEW_PAYMENTS, GatewayUse.FALLBACK])
async def test_a_key_that_a_gateway_with_payments_rejects_prevents_the_start(
    database: Database, use: GatewayUse
) -> None:
    await Payments(database).accept(new_payment(gateway="contract"))
    async with payment_gateway.running(quick_gateway(1.0)) as (server, _):
        http = HttpClient(server.url, partner="gateway", api_key=Secret("revoked"))

        with pytest.raises(StartupError, match="rejects our key"):
            await startup_checks.check_gateway(
                database, CheckedGateway(gateway=SeedContractGateway(http), address="x", use=use)
            )

        await http.close()


async def test_a_fallback_that_is_away_never_prevents_the_start(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """A standby is there for an outage; it must not make starts more fragile."""
    address = f"http://127.0.0.1:{free_port()}"
    http = HttpClient(address, partner="gateway", api_key=Secret("right"))
    standby = CheckedGateway(
        gateway=SeedContractGateway(http), address=address, use=GatewayUse.FALLBACK
    )

    await startup_checks.check_gateway(database, standby)
    await startup_checks.check_account(database, standby)

    await http.close()
    assert "gateway.unavailable_at_start" in capsys.readouterr().out


async def test_what_answers_in_place_of_the_fallback_prevents_the_start(
    database: Database,
) -> None:
    """Waiting does not mend a wrong address."""
    async with answering(HTTP_404) as port:
        http = HttpClient(f"http://127.0.0.1:{port}", partner="gateway", api_key=Secret("right"))
        standby = CheckedGateway(
            gateway=SeedContractGateway(http), address="x", use=GatewayUse.FALLBACK
        )

        with pytest.raises(StartupError, match="is not a payment gateway"):
            await startup_checks.check_gateway(database, standby)

        await http.close()


def test_the_fallback_that_is_a_markets_own_gateway_too_is_needed() -> None:
    routes = GatewayRoutes({"PT": "stripe"}, fallback="stripe")
    standby = GatewayRoutes({"PT": "adyen"}, fallback="stripe")

    assert use_of("stripe", "contract", routes) is GatewayUse.NEW_PAYMENTS
    assert use_of("stripe", "contract", standby) is GatewayUse.FALLBACK
    assert use_of("twin", "contract", standby) is GatewayUse.KEPT
    assert use_of("contract", "contract", standby) is GatewayUse.NEW_PAYMENTS


@pytest.mark.parametrize(
    ("environment", "url", "key"),
    [
        ({"CAAS_GATEWAY": "contract", "CAAS_GATEWAYS_KEPT": "stripe"},
         "CAAS_GATEWAY_STRIPE_URL", "CAAS_GATEWAY_STRIPE_API_KEY"),
        ({"CAAS_GATEWAY": "stripe"}, "CAAS_GATEWAY_URL", "CAAS_GATEWAY_API_KEY"),
        ({"CAAS_GATEWAY": "stripe", "CAAS_GATEWAY_STRIPE_URL": "x"},
         "CAAS_GATEWAY_STRIPE_URL", "CAAS_GATEWAY_API_KEY"),
    ],
)  # fmt: skip
async def test_a_start_names_the_setting_that_the_gateway_reads(
    database: Database, environment: dict[str, str], url: str, key: str
) -> None:
    names = access_names(environment)["stripe"]
    address = f"http://127.0.0.1:{free_port()}"
    away = HttpClient(address, partner="gateway", api_key=Secret("right"))
    with pytest.raises(StartupError, match=f"Check {url}, the network"):
        await startup_checks.check_gateway(
            database, CheckedGateway(gateway=TwinGateway(away), address=address, names=names)
        )
    await away.close()

    async with payment_gateway.running(quick_gateway(1.0)) as (server, _):
        refused = HttpClient(server.url, partner="gateway", api_key=Secret("revoked"))
        with pytest.raises(StartupError, match=rf"Check {key}\."):
            await startup_checks.check_gateway(
                database, CheckedGateway(gateway=TwinGateway(refused), address="x", names=names)
            )
        await refused.close()
