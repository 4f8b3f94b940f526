"""The composition root: builds every client once, as the settings say.

Only this module chooses the adapter of each port.

Rules a change must keep: a missing secret is an error at startup, never a default; everything
opened here is closed here, in reverse order.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import structlog

from caas import local_machine, startup_checks
from caas.billing_database import connection, database_sessions, migrations
from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCustomers
from caas.billing_database.webhook_inbox import ReportedByGateway
from caas.errors import StartupError
from caas.external_systems.acknowledgement_inbox import OnRefused
from caas.external_systems.admin_registration import AdminRegistration
from caas.external_systems.apprise_channel import AppriseChannel
from caas.external_systems.factory import Factory
from caas.external_systems.gateway_adapters import GatewayContext, adapter
from caas.external_systems.head_copies import copies_at
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink, VehiclesAtHand
from caas.external_systems.iot_gateway import MqttVehicleLink, VehicleLink, client_id_of
from caas.external_systems.local_outbox import OUTBOX, LocalOutbox
from caas.external_systems.notification_channel import NotificationChannel
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.reconciliation_engine import SparkEngine
from caas.external_systems.transport_system import TransportSystem
from caas.gateway_settings import PREFIX, gateway_names, own_prefix
from caas.history_signing import HeadTerms
from caas.order_management import OrderPartners
from caas.ota_activation_engine.commands import UnusableMessages
from caas.platform import Platform, build_platform
from caas.platform_inputs import Partners, PlatformTerms
from caas.process_environment import reading_database
from caas.rules.time_scale import TimeScale
from caas.settings import IN_PROCESS_VEHICLES, Settings, read_settings
from caas.startup_checks import CheckedGateway, use_of

_log = structlog.get_logger()

_NOBODY: Final = "http://127.0.0.1:9"
_NO_SECRET: Final = f"whsec_{'A' * 32}"
_UNUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "CAAS_GATEWAY_URL", "CAAS_FACTORY_URL", "CAAS_REGISTRATION_URL", "CAAS_TRANSPORT_URL",
            "CAAS_PUBLIC_URL",
        ),
        _NOBODY,
    ),
    "CAAS_GATEWAY_API_KEY": "none",
    "CAAS_GATEWAY_WEBHOOK_SECRETS": _NO_SECRET,
    "CAAS_PARTNER_WEBHOOK_SECRETS": _NO_SECRET,
    "CAAS_MQTT_URL": "mqtt://127.0.0.1:9",
    "CAAS_VEHICLE_COMMAND_KEYS": f"{'A' * 43}=",
    "CAAS_SIGN_IN_KEYS": f"{'A' * 43}=",
    "CAAS_FACTORY_TOKEN": "none",
    "CAAS_REGISTRATION_TOKEN": "none",
    "CAAS_TRANSPORT_TOKEN": "none",
    "CAAS_API_KEYS": f"none:webhook-handler:{'-' * 32}",
}  # fmt: skip
"""The substitute where nothing is called."""


@asynccontextmanager
async def opened(
    settings: Settings,
    *,
    hears_vehicles: bool = True,
    fleet: VehiclesAtHand | None = None,
    login_checked: bool = False,
) -> AsyncIterator[Platform]:
    """Open the configured platform over a migrated database during the block.

    A short command leaves acknowledgements and schedules to long-running processes. `fleet` is
    the in-process fleet of a machine without a broker. With `login_checked`, a login that could
    bypass the guards of the database is rejected.

    Raises:
        StartupError: a required part cannot be reached or used.
    """
    async with AsyncExitStack() as stack:
        await migrations.check(settings.database_url)
        database = await connection.connect(settings.database_url)
        stack.push_async_callback(database.close)
        if login_checked:
            startup_checks.check_login(database, settings)
        partners = await _partners(stack, settings, fleet, database)
        await startup_checks.check_database(database, tuple(settings.gateways))
        home = await startup_checks.check_market(database, settings.market)
        amounts = {name: it.capabilities.amounts for name, it in settings.gateways.items()}
        await startup_checks.check_routes(database, settings.gateway_routes, amounts, home=home)
        await startup_checks.check_seller(database, settings.market.seller)
        await startup_checks.check_broker(database, settings.mqtt_url)
        await _check_gateways(database, partners, settings)
        platform = build_platform(database, partners, _terms(settings))
        if hears_vehicles:
            await platform.billing.schedule()
            await platform.reconciliation.begin_schedule()
            await platform.payouts.begin()
            await platform.fraud_warnings.begin()
            await platform.issuing.begin()
            await platform.history_signing.begin()
            await platform.retention.begin()
            await platform.invariant_monitor.begin()  # last, because it looks for the other parts
            await platform.vehicle_responses.start(platform.jobs)
            stack.push_async_callback(partners.vehicles.close)
        yield platform


@asynccontextmanager
async def reading(environment: Mapping[str, str]) -> AsyncIterator[Platform]:
    """Open the platform read-only: no job runs and nothing is changed.

    Only the database is required; PostgreSQL rejects writes in these sessions.

    Raises:
        StartupError: there is no database, or its schema is of another version.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(reading_database(environment))
        known = {**environment, "CAAS_DATABASE_URL": database.dsn}
        unused = {**_UNUSED, **_unused_of_gateways(environment)}
        settings = read_settings({**unused, **{name: it for name, it in known.items() if it}})
        partners = await _partners(stack, settings, None, database)
        yield build_platform(database, partners, _terms(settings))


async def _check_gateways(database: Database, partners: Partners, settings: Settings) -> None:
    for gateway in partners.gateways:
        checked = CheckedGateway(
            gateway=gateway,
            address=settings.gateways[gateway.name].address,
            use=use_of(gateway.name, partners.gateway.name, settings.gateway_routes),
            names=settings.gateway_names[gateway.name],
        )
        await startup_checks.check_gateway(database, checked)
        await startup_checks.check_account(database, checked)


def _unused_of_gateways(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a substitute for each setting of the gateways: nothing is called."""
    names = gateway_names(environment)
    unused = {it: value for name in names for it, value in adapter(name).unused.items()}
    of_gateways = {it: value for it, value in _UNUSED.items() if it.startswith(PREFIX)}
    for name in names[1:]:
        begin = own_prefix(name)
        unused |= {begin + it.removeprefix(PREFIX): value for it, value in of_gateways.items()}
    return unused


def _terms(settings: Settings) -> PlatformTerms:
    return PlatformTerms(
        market=settings.market,
        time_scale=TimeScale(settings.time_scale),
        public_url=settings.public_url,
        folder=settings.data_dir / "reconciliation",
        event_secrets=settings.sign_in_keys.event_secrets,
        fees=settings.settlement_fees,
        polls=settings.settlement_polls,
        heads=_heads(settings),
        checks=settings.checks,
        retention=settings.retention,
        drop_folder=settings.reports_folder,
        report_downloads={
            name: it.download for name, it in settings.gateways.items() if it.download is not None
        },
        local_subscribers=settings.local_subscribers,
        gateway_routes=settings.gateway_routes,
    )


def _heads(settings: Settings) -> HeadTerms | None:
    if settings.heads.keys is None:
        return None
    places = settings.heads.copies or (str(settings.data_dir / "heads"),)
    return HeadTerms(settings.heads.keys, copies_at(places))


async def _partners(
    stack: AsyncExitStack, settings: Settings, fleet: VehiclesAtHand | None, database: Database
) -> Partners:
    unusable = UnusableMessages(database)
    stack.push_async_callback(unusable.close)
    gateway, *kept_gateways = _gateways(settings, database)
    for opened_gateway in (gateway, *kept_gateways):
        stack.push_async_callback(opened_gateway.close)
    channel: NotificationChannel = (
        AppriseChannel(Secret(settings.notify_url))
        if settings.notify_url
        else LocalOutbox(settings.data_dir / OUTBOX)
    )
    stack.push_async_callback(channel.close)
    clients = [
        HttpClient(url, partner=name, api_key=shown.token, tls=shown.tls)
        for name, url, shown in (
            ("The factory", settings.factory_url, settings.factory_credential),
            ("Admin Registration", settings.registration_url, settings.registration_credential),
            ("The transport", settings.transport_url, settings.transport_credential),
        )
    ]
    for client in clients:
        stack.push_async_callback(client.close)
    return Partners(
        gateway=gateway,
        kept_gateways=kept_gateways,
        order_partners=OrderPartners(
            factory=Factory(clients[0]),
            admin_registration=AdminRegistration(clients[1]),
            transport_system=TransportSystem(clients[2]),
        ),
        vehicles=_vehicle_link(settings, fleet, unusable.take),
        channel=channel,
        engine=SparkEngine(settings.engine_url) if settings.engine_url else None,
    )


def _gateways(settings: Settings, database: Database) -> list[PaymentGateway]:
    """Connect each gateway, that of new payments first."""
    connected = []
    for name, configured in settings.gateways.items():
        context = GatewayContext(
            customers=GatewayCustomers(database, name),
            reported=ReportedByGateway(database, name),
            return_url=settings.public_url,
            now=now,
        )
        gateway = configured.connect(context)
        if gateway.name != name:
            raise StartupError(
                f"The adapter '{name}' connects a gateway that calls itself '{gateway.name}'. "
                "Payments are stored under this name, so the two must be the same."
            )
        connected.append(gateway)
    return connected


def _vehicle_link(
    settings: Settings, fleet: VehiclesAtHand | None, on_refused: OnRefused
) -> VehicleLink:
    keys = settings.vehicle_command_keys
    if settings.mqtt_url == IN_PROCESS_VEHICLES:
        fleet = fleet or local_machine.vehicles_at_hand(settings.time_scale, keys)
        return InProcessVehicleLink(fleet, now=now, command_keys=keys, on_refused=on_refused)
    return MqttVehicleLink(
        settings.mqtt_url, client_id=client_id_of(database_sessions.process_name()), now=now,
        command_keys=keys, on_refused=on_refused,
    )  # fmt: skip


def now() -> datetime:
    """Return this machine's time, for values that external systems compare with their clocks."""
    return datetime.now(UTC)
