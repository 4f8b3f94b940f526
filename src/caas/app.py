"""The composition root: settings from the environment, every object built once.

Nothing else reads the environment, and nothing else knows which adapter stands behind a port.

Rules a change must keep: a secret that is missing is an error at the start, never a default; what
the platform cannot do safely with the gateway it was given, it refuses to start with (decision 1).
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
import uvicorn

from caas import channels, local_machine, start_up
from caas.api import (
    ApiSettings,
    PartnerWebhooks,
    Rooms,
    build_api,
    parse_api_keys,
    server_config,
)
from caas.api.front_door import FrontDoor
from caas.billing_database import books as billing_books
from caas.billing_database import connection, migrations
from caas.billing_database.books import Books
from caas.billing_database.connection import Connection, Database
from caas.billing_database.customers import Customers
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund
from caas.billing_database.webhook_inbox import WebhookInbox
from caas.channels import beside_api, build_channels
from caas.channels.entrance import Entrance
from caas.errors import StartupError
from caas.external_systems.admin_registration import AdminRegistration
from caas.external_systems.apprise_channel import AppriseChannel
from caas.external_systems.factory import Factory
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink
from caas.external_systems.iot_gateway import MqttVehicleLink, VehicleLink
from caas.external_systems.local_outbox import LocalOutbox
from caas.external_systems.notification_channel import NotificationChannel
from caas.external_systems.payment_gateway import PaymentGateway, unsafe_pairs
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.transport_system import TransportSystem
from caas.notifications import Address, AddressOf, Notifications
from caas.open_work import OpenWork
from caas.order_management import OrderManagement, OrderPartners
from caas.order_management import Upward as OrdersUpward
from caas.order_management.giving_back import Refund as RefundOfOrders
from caas.ota_activation_engine import SERVICE_PAYMENT, OtaActivationEngine, Upward
from caas.payment_processing import PaymentProcessing
from caas.payment_processing.charges import Charges
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.final_payment import FinalPayment
from caas.payment_processing.flow import Flow
from caas.payment_processing.refunds import Refunds, TellRefunded
from caas.payment_processing.reservation_payment import ReservationPayment
from caas.payment_processing.service_payment import ServicePayment
from caas.payment_processing.settlement import Settlement
from caas.payment_processing.unknown_outcomes import UnknownOutcomes
from caas.rules.pace import Pace
from caas.rules.payment_types import PaymentType
from caas.service_catalog import ServiceCatalog
from caas.settings import IN_PROCESS_VEHICLES, Market, Settings

_log = structlog.get_logger()

ENVIRONMENT_FILE: Final = Path(".env")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partners:
    """The clients of everything outside (External Systems of Diagram 1)."""

    gateway: PaymentGateway
    vehicles: VehicleLink
    order_partners: OrderPartners
    channel: NotificationChannel


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Every room of the house, built once."""

    books: Books
    open_work: OpenWork
    notifications: Notifications
    order_management: OrderManagement
    service_catalog: ServiceCatalog
    ota_activation_engine: OtaActivationEngine
    payment_processing: PaymentProcessing


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the platform is run under: market, pace, and the address its links lead to."""

    market: Market
    pace: Pace
    public_url: str


def assemble(database: Database, partners: Partners, terms: Terms) -> Platform:
    """Build every room over one database and one set of partners.

    Raises:
        StartupError: the gateway cannot carry a payment type safely.
    """
    _refuse_unsafe(partners.gateway)
    pace = terms.pace
    books = billing_books.opened(database)
    open_work = OpenWork(books.work, books.cases, pace)
    notifications = Notifications(
        books=books,
        channel=partners.channel,
        address_of=_addresses(database),
        zone=terms.market.zone,
        language=terms.market.language,
    )
    refunds = Refunds(
        books=books,
        gateway=partners.gateway,
        pace=pace,
        tell_refunded=_refund_teller(notifications),
        alert=notifications.alert,
    )
    orders = OrderManagement(
        books=books,
        partners=partners.order_partners,
        upward=OrdersUpward(
            tell=notifications.tell,
            alert=notifications.alert,
            refund=_orders_refund(refunds),
            access_url=lambda token: f"{terms.public_url}/access/{token}",
        ),
        pace=pace,
    )
    catalog = ServiceCatalog(books=books)
    ota = OtaActivationEngine(books=books, link=partners.vehicles, pace=pace)
    payments = _payment_processing(
        Neighbours(books, notifications, orders, catalog, ota, refunds), partners.gateway, pace
    )
    for room in (notifications, orders, ota, payments):
        room.register(open_work)
    PartnerWebhooks(inbox=WebhookInbox(database), order_management=orders).register(open_work)
    return Platform(
        books=books,
        open_work=open_work,
        notifications=notifications,
        order_management=orders,
        service_catalog=catalog,
        ota_activation_engine=ota,
        payment_processing=payments,
    )


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The rooms that Payment Processing works with."""

    books: Books
    notifications: Notifications
    order_management: OrderManagement
    service_catalog: ServiceCatalog
    ota_activation_engine: OtaActivationEngine
    refunds: Refunds


def _payment_processing(
    rooms: Neighbours, gateway: PaymentGateway, pace: Pace
) -> PaymentProcessing:
    books, alert = rooms.books, rooms.notifications.alert
    charges = Charges(books, gateway, pace=pace, alert=alert)
    service_payment = ServicePayment(
        books=books,
        charges=charges,
        ota_activation_engine=rooms.ota_activation_engine,
        service_catalog=rooms.service_catalog,
        notifications=rooms.notifications,
        pace=pace,
    )
    reservation_payment = ReservationPayment(
        books=books,
        charges=charges,
        order_management=rooms.order_management,
        notifications=rooms.notifications,
    )
    final_payment = FinalPayment(
        books=books,
        charges=charges,
        order_management=rooms.order_management,
        notifications=rooms.notifications,
    )
    flows: Mapping[PaymentType, Flow] = {
        PaymentType.RESERVATION: reservation_payment,
        PaymentType.FINAL: final_payment,
        PaymentType.SERVICE: service_payment,
    }
    rooms.ota_activation_engine.report_to(
        {
            SERVICE_PAYMENT: Upward(
                service_payment.activation_succeeded,
                service_payment.activation_failed,
                service_payment.deactivated,
            )
        }
    )
    disputes = Disputes(books)
    return PaymentProcessing(
        books=books,
        charges=charges,
        flows=flows,
        checks={
            PaymentType.RESERVATION: reservation_payment.check_due,
            PaymentType.FINAL: final_payment.check_due,
        },
        service_payment=service_payment,
        unknown_outcomes=UnknownOutcomes(
            books=books, gateway=gateway, charges=charges, flows=flows, pace=pace
        ),
        settlement=Settlement(
            books=books,
            gateway=gateway,
            charges=charges,
            flows=flows,
            alert=alert,
            pace=pace,
            on_refund=rooms.refunds.gateway_says,
            on_dispute=disputes.gateway_says,
            let_go={PaymentType.SERVICE: service_payment.void_charge},
        ),
        refunds=rooms.refunds,
        disputes=disputes,
        ota_activation_engine=rooms.ota_activation_engine,
        pace=pace,
    )


def environment(file: Path = ENVIRONMENT_FILE) -> dict[str, str]:
    """Return the process's environment, over what the .env file says.

    Raises:
        StartupError: the file cannot be read.
    """
    found: dict[str, str] = {}
    if file.is_file():
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"The file {file} cannot be read; make it UTF-8 text.") from error
        for line in text.splitlines():
            name, equals, value = line.strip().partition("=")
            if equals and not name.startswith("#"):
                found[name.strip()] = value.strip().strip("\"'")
    return found | dict(os.environ)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Platform]:
    """Open the platform that the settings describe, over a migrated database; close it again.

    Raises:
        StartupError: a part it needs cannot be reached or used.
    """
    async with AsyncExitStack() as stack:
        await migrations.check(settings.database_url)
        database = await connection.connect(settings.database_url)
        stack.push_async_callback(database.close)
        partners = await _partners(stack, settings)
        await start_up.look_at_broker(settings)
        await start_up.look_at_gateway(partners.gateway, settings)
        terms = Terms(
            market=settings.market,
            pace=Pace(settings.time_scale),
            public_url=settings.public_url,
        )
        platform = assemble(database, partners, terms)
        await platform.ota_activation_engine.start()
        stack.push_async_callback(partners.vehicles.close)
        yield platform


async def serving(
    platform: Platform,
    settings: Settings,
    *,
    host: str,
    port: int,
    on_listening: Callable[[], None] = lambda: None,
) -> None:
    """Serve the API and the channels until the process is told to stop, or the task is.

    Raises:
        StartupError: the port is in use, or may not be used.
    """
    served = beside_api(_api(platform, settings), _channels(platform, settings))
    with listening(host, port) as listener:
        server = _Server(server_config(served), on_listening)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.should_exit = True
            await serving
            raise


class _Server(uvicorn.Server):
    """uvicorn, which says when it listens."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_listening()


def _channels(platform: Platform, settings: Settings) -> Entrance:
    return build_channels(
        channels.Rooms(
            books=platform.books,
            payment_processing=platform.payment_processing,
            order_management=platform.order_management,
            service_catalog=platform.service_catalog,
            notifications=platform.notifications,
        ),
        channels.ChannelSettings(
            public_url=settings.public_url,
            zone=settings.market.zone,
            language=settings.market.language,
        ),
    )


def _api(platform: Platform, settings: Settings) -> FrontDoor:
    rooms = Rooms(
        books=platform.books,
        payment_processing=platform.payment_processing,
        order_management=platform.order_management,
        service_catalog=platform.service_catalog,
    )
    partner_secrets = settings.partner_webhook_secrets
    return build_api(
        rooms,
        ApiSettings(
            now=now,
            api_keys=parse_api_keys(settings.api_keys),
            gateway_webhook_secrets=settings.gateway_webhook_secrets,
            factory_webhook_secrets=partner_secrets,
            transport_webhook_secrets=partner_secrets,
            on_webhook=platform.open_work.wake,
        ),
    )


def listening(host: str, port: int) -> socket.socket:
    """Take the port the platform is served on.

    Raises:
        StartupError: it is in use, or may not be used.
    """
    listener = socket.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        because = error.strerror if isinstance(error, OSError) else "no port has this number"
        raise StartupError(
            f"Port {port} on {host} cannot be used ({because}). Choose another with --port."
        ) from error
    return listener


async def _partners(stack: AsyncExitStack, settings: Settings) -> Partners:
    gateway_http = HttpClient(
        settings.gateway_url, partner="The payment gateway", api_key=settings.gateway_api_key
    )
    stack.push_async_callback(gateway_http.close)
    channel: NotificationChannel = (
        AppriseChannel(Secret(settings.notify_url))
        if settings.notify_url
        else LocalOutbox(settings.data_dir / "outbox")
    )
    stack.push_async_callback(channel.close)
    clients = [
        HttpClient(url, partner=name)
        for name, url in (
            ("The factory", settings.factory_url),
            ("Admin Registration", settings.registration_url),
            ("The transport", settings.transport_url),
        )
    ]
    for client in clients:
        stack.push_async_callback(client.close)
    return Partners(
        gateway=SeedContractGateway(gateway_http),
        order_partners=OrderPartners(
            factory=Factory(clients[0]),
            admin_registration=AdminRegistration(clients[1]),
            transport_system=TransportSystem(clients[2]),
        ),
        vehicles=_vehicle_link(settings),
        channel=channel,
    )


def _vehicle_link(settings: Settings) -> VehicleLink:
    if settings.mqtt_url == IN_PROCESS_VEHICLES:
        fleet = local_machine.vehicles_at_hand(settings.time_scale)
        return InProcessVehicleLink(fleet, now=now, on_refused=_say_refused)
    name = f"caas-{socket.gethostname()}-{os.getpid()}"
    return MqttVehicleLink(settings.mqtt_url, client_id=name, now=now, on_refused=_say_refused)


def _say_refused(topic: str, reason: str) -> None:
    _log.warning("acknowledgement.refused", topic=topic, because=reason)


def now() -> datetime:
    """Return this machine's time, for what the outside world measures by its own clocks."""
    return datetime.now(UTC)


def _refuse_unsafe(gateway: PaymentGateway) -> None:
    unsafe = unsafe_pairs(gateway.capabilities)
    if unsafe:
        raise StartupError(
            f"The gateway '{gateway.name}' cannot be used safely: {'; '.join(unsafe)}. "
            "Choose another adapter, or switch the payment type off."
        )


def _orders_refund(refunds: Refunds) -> RefundOfOrders:
    async def refund(payment_id: UUID, amount: int, reason: str) -> object:
        return await refunds.request(
            payment_id, amount=amount, reason=reason, key=reason, requested_by="order-management"
        )

    return refund


def _refund_teller(notifications: Notifications) -> TellRefunded:
    async def tell(payment: Payment, refund: Refund, within: Connection) -> None:
        await notifications.tell(
            audience="customer",
            recipient=payment.customer,
            template="refund_done",
            facts={"amount": refund.amount, "currency": refund.currency, "reason": refund.reason},
            subject=refund.id,
            within=within,
        )

    return tell


def _addresses(database: Database) -> AddressOf:
    customers = Customers(database)

    async def address_of(customer: UUID) -> Address | None:
        found = await customers.get(customer)
        if found.name is None or found.email is None:
            return None
        return Address(found.name, found.email, found.language)

    return address_of
