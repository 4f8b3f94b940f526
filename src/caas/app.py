"""The composition root: settings from the environment, every object built once.

Nothing else reads the environment, and nothing else knows which adapter stands behind a port.

Rules a change must keep: a secret that is missing is an error at the start, never a default; what
the platform cannot do safely with the gateway it was given, it refuses to start with (decision 1).
"""

import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from pathlib import Path
from uuid import UUID

import structlog

from caas import local_machine
from caas.billing_database import books as billing_books
from caas.billing_database import connection, migrations
from caas.billing_database.books import Books
from caas.billing_database.connection import Database
from caas.billing_database.customers import Customers
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund
from caas.errors import StartupError
from caas.external_systems.apprise_channel import AppriseChannel
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink
from caas.external_systems.iot_gateway import MqttVehicleLink, VehicleLink
from caas.external_systems.local_outbox import LocalOutbox
from caas.external_systems.notification_channel import NotificationChannel
from caas.external_systems.payment_gateway import PaymentGateway, unsafe_pairs
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.notifications import Address, AddressOf, Notifications
from caas.open_work import OpenWork
from caas.ota_activation_engine import SERVICE_PAYMENT, OtaActivationEngine, Upward
from caas.payment_processing import PaymentProcessing
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import Flow
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.refunds import Refunds, TellRefunded
from caas.payment_processing.service_payment import ServicePayment
from caas.payment_processing.settlement import Settlement
from caas.payment_processing.unknown_outcomes import UnknownOutcomes
from caas.rules.pace import Pace
from caas.rules.payment_types import PaymentType
from caas.service_catalog import ServiceCatalog
from caas.settings import Market, Settings

_log = structlog.get_logger()

ENVIRONMENT_FILE: Final = Path(".env")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partners:
    """The clients of everything outside (External Systems of Diagram 1)."""

    gateway: PaymentGateway
    vehicles: VehicleLink
    channel: NotificationChannel


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Every room of the house, built once."""

    books: Books
    open_work: OpenWork
    notifications: Notifications
    service_catalog: ServiceCatalog
    ota_activation_engine: OtaActivationEngine
    payment_processing: PaymentProcessing


def assemble(database: Database, partners: Partners, *, market: Market, pace: Pace) -> Platform:
    """Build every room over one database and one set of partners.

    Raises:
        StartupError: the gateway cannot carry a payment type safely.
    """
    _refuse_unsafe(partners.gateway)
    books = billing_books.opened(database)
    open_work = OpenWork(books.work, books.cases, pace)
    notifications = Notifications(
        books=books,
        channel=partners.channel,
        address_of=_addresses(database),
        zone=market.zone,
        language=market.language,
    )
    catalog = ServiceCatalog(books=books)
    ota = OtaActivationEngine(books=books, link=partners.vehicles, pace=pace)
    charges = Charges(books, partners.gateway, pace=pace, alert=notifications.alert)
    service_payment = ServicePayment(
        books=books,
        charges=charges,
        ota_activation_engine=ota,
        service_catalog=catalog,
        notifications=notifications,
        pace=pace,
    )
    flows: Mapping[PaymentType, Flow] = {PaymentType.SERVICE: service_payment}
    refunds = Refunds(
        books=books,
        gateway=partners.gateway,
        pace=pace,
        tell_refunded=_refund_teller(notifications),
    )
    disputes = Disputes(books)
    settlement = Settlement(
        books=books,
        gateway=partners.gateway,
        charges=charges,
        flows=flows,
        alert=notifications.alert,
        pace=pace,
        on_refund=refunds.gateway_says,
        on_dispute=disputes.gateway_says,
    )
    payments = PaymentProcessing(
        books=books,
        charges=charges,
        flows=flows,
        service_payment=service_payment,
        unknown_outcomes=UnknownOutcomes(
            books=books, gateway=partners.gateway, charges=charges, flows=flows, pace=pace
        ),
        settlement=settlement,
        refunds=refunds,
        disputes=disputes,
        ota_activation_engine=ota,
        pace=pace,
    )
    ota.report_to(
        {
            SERVICE_PAYMENT: Upward(
                service_payment.activation_succeeded,
                service_payment.activation_failed,
                service_payment.deactivated,
            )
        }
    )
    for room in (notifications, ota, payments):
        room.register(open_work)
    return Platform(
        books=books,
        open_work=open_work,
        notifications=notifications,
        service_catalog=catalog,
        ota_activation_engine=ota,
        payment_processing=payments,
    )


def environment(file: Path = ENVIRONMENT_FILE) -> dict[str, str]:
    """Return the process's environment, over what the .env file says."""
    found: dict[str, str] = {}
    if file.is_file():
        for line in file.read_text("utf-8").splitlines():
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
        platform = assemble(
            database, partners, market=settings.market, pace=Pace(settings.time_scale)
        )
        await platform.ota_activation_engine.start()
        stack.push_async_callback(partners.vehicles.close)
        yield platform


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
    return Partners(
        gateway=SeedContractGateway(gateway_http),
        vehicles=_vehicle_link(settings),
        channel=channel,
    )


def _vehicle_link(settings: Settings) -> VehicleLink:
    if not settings.mqtt_url:
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


def _refund_teller(notifications: Notifications) -> TellRefunded:
    async def tell(payment: Payment, refund: Refund) -> None:
        await notifications.tell(
            audience="customer",
            recipient=payment.customer,
            template="refund_done",
            facts={"amount": refund.amount, "currency": refund.currency, "reason": refund.reason},
            subject=refund.id,
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
