"""The composition root: settings from the environment, every object built once.

Nothing else reads the environment, and nothing else knows which adapter stands behind a port.

Rules a change must keep: a secret that is missing is an error at the start, never a default; what
the platform cannot do safely with the gateway it was given, it refuses to start with (decision 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from caas.billing_database import books as billing_books
from caas.billing_database.books import Books
from caas.billing_database.connection import Database
from caas.billing_database.customers import Customers
from caas.errors import StartupError
from caas.external_systems.iot_gateway import VehicleLink
from caas.external_systems.notification_channel import NotificationChannel
from caas.external_systems.payment_gateway import PaymentGateway, unsafe_pairs
from caas.notifications import Address, AddressOf, Notifications
from caas.open_work import Answer, Done, OpenWork
from caas.ota_activation_engine import SERVICE_PAYMENT, OtaActivationEngine, Upward
from caas.payment_processing import PaymentProcessing
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import Flow
from caas.payment_processing.service_payment import ServicePayment
from caas.payment_processing.settlement import Settlement
from caas.payment_processing.unknown_outcomes import UnknownOutcomes
from caas.rules.pace import Pace
from caas.rules.payment_types import PaymentType
from caas.service_catalog import ServiceCatalog

MADRID: Final = "Europe/Madrid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partners:
    """The clients of everything outside (External Systems of Diagram 1)."""

    gateway: PaymentGateway
    vehicles: VehicleLink
    channel: NotificationChannel


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Where we sell: time zone, currency and language."""

    zone: ZoneInfo
    currency: str = "EUR"
    language: str = "es"


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
    settlement = Settlement(
        books=books,
        gateway=partners.gateway,
        charges=charges,
        flows=flows,
        alert=notifications.alert,
        pace=pace,
        on_refund=_nobody,
        on_dispute=_nobody,
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


async def _nobody(*_: object) -> Answer:
    return Done()


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


def _addresses(database: Database) -> AddressOf:
    customers = Customers(database)

    async def address_of(customer: UUID) -> Address | None:
        found = await customers.get(customer)
        if found.name is None or found.email is None:
            return None
        return Address(found.name, found.email, found.language)

    return address_of
