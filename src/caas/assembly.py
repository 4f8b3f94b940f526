"""Every room of the house, built once over one database and one set of partners.

Nothing here reads the environment or opens a connection: what comes in is open already, and what
comes out is the platform. The order is the order of the floors; what a room needs of the floors
above it is given as a callable.

Rules a change must keep: no room is built twice and no room builds another; what the platform
cannot do safely with the gateway it was given, it refuses to start with (decision 1).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from caas import between_rooms
from caas.api import PartnerWebhooks
from caas.billing import Billing, BillingTerms
from caas.billing.invoices import Invoices
from caas.billing_database import books as billing_books
from caas.billing_database.books import Books
from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.webhook_inbox import WebhookInbox
from caas.errors import StartupError
from caas.external_systems.iot_gateway import VehicleLink
from caas.external_systems.notification_channel import NotificationChannel
from caas.external_systems.payment_gateway import PaymentGateway, unsafe_pairs
from caas.external_systems.reconciliation_engine import ReconciliationEngine
from caas.law_watch import LawWatch
from caas.notifications import Notifications
from caas.open_work import OpenWork
from caas.order_management import OrderManagement, OrderPartners
from caas.order_management import Upward as OrdersUpward
from caas.order_management.loss import DepositOnLoss
from caas.ota_activation_engine import (
    SERVICE_PAYMENT,
    SUBSCRIPTION,
    OtaActivationEngine,
    Upward,
)
from caas.payment_processing import PaymentProcessing
from caas.payment_processing.charges import Charges
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.final_payment import FinalPayment
from caas.payment_processing.flow import Flow
from caas.payment_processing.initiation import Check
from caas.payment_processing.reconciliation import Reconciliation, ReconciliationSettings
from caas.payment_processing.recorded_gateway import RecordedGateway
from caas.payment_processing.refunds import Refunds
from caas.payment_processing.reservation_payment import ReservationPayment
from caas.payment_processing.service_payment import ServicePayment
from caas.payment_processing.settlement import Settlement
from caas.payment_processing.subscription_failure import SubscriptionFailure
from caas.payment_processing.subscription_payment import SubscriptionPayment
from caas.payment_processing.unknown_outcomes import UnknownOutcomes
from caas.rules.pace import Pace
from caas.rules.payment_types import PaymentType
from caas.rules.settlement_fees import FeeTerms
from caas.service_catalog import ServiceCatalog
from caas.service_catalog.subscription_delivery import SubscriptionDelivery
from caas.service_catalog.subscriptions import Subscriptions
from caas.service_catalog.usage import Usage
from caas.settings import Market


@dataclass(frozen=True, slots=True, kw_only=True)
class Partners:
    """The clients of everything outside (External Systems of Diagram 1).

    `engine` judges settlement reports that are too large for this machine, None for none.
    """

    gateway: PaymentGateway
    vehicles: VehicleLink
    order_partners: OrderPartners
    channel: NotificationChannel
    engine: ReconciliationEngine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the platform is run under: market, pace, and the address its links lead to.

    `folder` is this machine's, for settlement reports at work; `fees` are those agreed with the
    gateway, None for none; `deposit_on_loss` is the policy of decision 21.
    """

    market: Market
    pace: Pace
    public_url: str
    folder: Path
    fees: FeeTerms | None = None
    deposit_on_loss: DepositOnLoss = DepositOnLoss.HOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Every room of the house, built once."""

    books: Books
    open_work: OpenWork
    notifications: Notifications
    order_management: OrderManagement
    service_catalog: ServiceCatalog
    subscriptions: Subscriptions
    usage: Usage
    ota_activation_engine: OtaActivationEngine
    payment_processing: PaymentProcessing
    reconciliation: Reconciliation
    billing: Billing
    invoices: Invoices
    law_watch: LawWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """The floors that Payment Processing stands on."""

    books: Books
    open_work: OpenWork
    gateway: PaymentGateway
    terms: Terms
    notifications: Notifications
    refunds: Refunds
    order_management: OrderManagement
    service_catalog: ServiceCatalog
    subscriptions: Subscriptions
    subscription_delivery: SubscriptionDelivery
    ota_activation_engine: OtaActivationEngine


@dataclass(frozen=True, slots=True)
class _Flows:
    """The four flows and the charges they share."""

    charges: Charges
    reservation: ReservationPayment
    final: FinalPayment
    service: ServicePayment
    subscription: SubscriptionPayment

    @property
    def by_type(self) -> Mapping[PaymentType, Flow]:
        """Each payment type's flow."""
        return {
            PaymentType.RESERVATION: self.reservation,
            PaymentType.FINAL: self.final,
            PaymentType.SERVICE: self.service,
            PaymentType.SUBSCRIPTION: self.subscription,
        }

    @property
    def checks(self) -> Mapping[PaymentType, Check]:
        """What must be due before a payment is accepted, looked at in the same transaction."""
        return {
            PaymentType.RESERVATION: self.reservation.check_due,
            PaymentType.FINAL: self.final.check_due,
            PaymentType.SUBSCRIPTION: self.subscription.refuse_what_is_not_due,
        }


def assemble(database: Database, partners: Partners, terms: Terms) -> Platform:
    """Build every room over one database and one set of partners.

    Raises:
        StartupError: the gateway cannot carry a payment type safely.
    """
    _refuse_unsafe(partners.gateway)
    ground = _ground(database, _recorded(database, partners), terms)
    flows = _flows(ground)
    settlement, disputes = _settlement(ground, flows)
    payments = _payment_processing(ground, flows, settlement, disputes)
    reconciliation = Reconciliation(
        books=ground.books,
        gateway=ground.gateway,
        charges=flows.charges,
        settlement=settlement,
        disputes=disputes,
        void=payments.void_payment,
        alert=ground.notifications.alert,
        pace=terms.pace,
        settings=_reconciled_by(partners, terms),
    )
    billing = Billing(
        books=ground.books,
        subscription_payment=flows.subscription,
        notifications=ground.notifications,
        terms=BillingTerms(zone=terms.market.zone),
    )
    invoices = _invoices(ground, database, payments)
    law_watch = LawWatch(books=ground.books, alert=ground.notifications.alert)
    for room in (
        ground.notifications, ground.order_management, ground.ota_activation_engine, payments,
        reconciliation, flows.subscription, billing, invoices, law_watch,
        PartnerWebhooks(inbox=WebhookInbox(database), order_management=ground.order_management),
    ):  # fmt: skip
        room.register(ground.open_work)
    return Platform(
        books=ground.books,
        open_work=ground.open_work,
        notifications=ground.notifications,
        order_management=ground.order_management,
        service_catalog=ground.service_catalog,
        subscriptions=ground.subscriptions,
        usage=Usage(books=ground.books),
        ota_activation_engine=ground.ota_activation_engine,
        payment_processing=payments,
        reconciliation=reconciliation,
        billing=billing,
        invoices=invoices,
        law_watch=law_watch,
    )


def _recorded(database: Database, partners: Partners) -> Partners:
    """Have every call to the gateway about a payment written down."""
    gateway = RecordedGateway(partners.gateway, GatewayCalls(database))
    return dataclasses.replace(partners, gateway=gateway)


def _ground(database: Database, partners: Partners, terms: Terms) -> _Ground:
    books = billing_books.opened(database)
    notifications = Notifications(
        books=books,
        channel=partners.channel,
        address_of=between_rooms.addresses(database),
        zone=terms.market.zone,
        language=terms.market.language,
    )
    refunds = Refunds(
        books=books,
        gateway=partners.gateway,
        pace=terms.pace,
        tell_refunded=between_rooms.refund_teller(notifications),
        alert=notifications.alert,
    )
    catalog = ServiceCatalog(books=books)
    ota = OtaActivationEngine(books=books, link=partners.vehicles, pace=terms.pace)
    delivery = SubscriptionDelivery(
        books=books,
        ota_activation_engine=ota,
        tell=notifications.tell,
        alert=between_rooms.goodwill(notifications),
    )
    return _Ground(
        books=books,
        open_work=OpenWork(books.work, books.cases, terms.pace),
        gateway=partners.gateway,
        terms=terms,
        notifications=notifications,
        refunds=refunds,
        order_management=_order_management(books, partners, terms, notifications, refunds),
        service_catalog=catalog,
        subscriptions=Subscriptions(
            books=books, service_catalog=catalog, delivery=delivery, pace=terms.pace
        ),
        subscription_delivery=delivery,
        ota_activation_engine=ota,
    )


def _order_management(
    books: Books,
    partners: Partners,
    terms: Terms,
    notifications: Notifications,
    refunds: Refunds,
) -> OrderManagement:
    return OrderManagement(
        books=books,
        partners=partners.order_partners,
        upward=OrdersUpward(
            tell=notifications.tell,
            alert=notifications.alert,
            refund=between_rooms.orders_refund(refunds),
            access_url=lambda token: f"{terms.public_url}/access/{token}",
        ),
        pace=terms.pace,
        reservation_deposit_on_loss=terms.deposit_on_loss,
    )


def _flows(ground: _Ground) -> _Flows:
    books, notifications, pace = ground.books, ground.notifications, ground.terms.pace
    charges = Charges(books, ground.gateway, pace=pace, alert=notifications.alert)
    subscription_failure = SubscriptionFailure(
        books=books, subscriptions=ground.subscriptions, notifications=notifications, pace=pace
    )
    flows = _Flows(
        charges,
        ReservationPayment(
            books=books,
            charges=charges,
            order_management=ground.order_management,
            notifications=notifications,
        ),
        FinalPayment(
            books=books,
            charges=charges,
            order_management=ground.order_management,
            notifications=notifications,
        ),
        ServicePayment(
            books=books,
            charges=charges,
            ota_activation_engine=ground.ota_activation_engine,
            service_catalog=ground.service_catalog,
            notifications=notifications,
            pace=pace,
        ),
        SubscriptionPayment(
            books=books,
            charges=charges,
            subscriptions=ground.subscriptions,
            subscription_failure=subscription_failure,
            notifications=notifications,
            pace=pace,
            public_url=ground.terms.public_url,
        ),
    )
    _connect_upwards(ground, flows)
    return flows


def _connect_upwards(ground: _Ground, flows: _Flows) -> None:
    """Say where the OTA engine's final results go, and who verifies a mandate."""
    delivery, service = ground.subscription_delivery, flows.service
    ground.subscriptions.verify_with(
        flows.subscription.verify_payment_method, flows.subscription.verify_another
    )
    ground.ota_activation_engine.report_to(
        {
            SERVICE_PAYMENT: Upward(
                service.activation_succeeded, service.activation_failed, service.deactivated
            ),
            SUBSCRIPTION: Upward(
                delivery.activation_succeeded, delivery.activation_failed, delivery.deactivated
            ),
        }
    )


def _invoices(ground: _Ground, database: Database, payments: PaymentProcessing) -> Invoices:
    return Invoices(
        books=ground.books,
        notifications=ground.notifications,
        letterhead=between_rooms.letterhead(ground.terms.market),
        address_of=between_rooms.addresses(database),
        refund=payments.refund_payment,
    )


def _reconciled_by(partners: Partners, terms: Terms) -> ReconciliationSettings:
    return ReconciliationSettings(
        zone=terms.market.zone, folder=terms.folder, fees=terms.fees, engine=partners.engine
    )


def _settlement(ground: _Ground, flows: _Flows) -> tuple[Settlement, Disputes]:
    disputes = Disputes(ground.books)
    settlement = Settlement(
        books=ground.books,
        gateway=ground.gateway,
        charges=flows.charges,
        flows=flows.by_type,
        alert=ground.notifications.alert,
        pace=ground.terms.pace,
        on_refund=ground.refunds.gateway_says,
        on_dispute=disputes.gateway_says,
        let_go={PaymentType.SERVICE: flows.service.void_charge},
    )
    return settlement, disputes


def _payment_processing(
    ground: _Ground, flows: _Flows, settlement: Settlement, disputes: Disputes
) -> PaymentProcessing:
    books, gateway, pace = ground.books, ground.gateway, ground.terms.pace
    return PaymentProcessing(
        books=books,
        charges=flows.charges,
        flows=flows.by_type,
        checks=flows.checks,
        service_payment=flows.service,
        unknown_outcomes=UnknownOutcomes(
            books=books, gateway=gateway, charges=flows.charges, flows=flows.by_type, pace=pace
        ),
        settlement=settlement,
        refunds=ground.refunds,
        disputes=disputes,
        ota_activation_engine=ground.ota_activation_engine,
        pace=pace,
    )


def _refuse_unsafe(gateway: PaymentGateway) -> None:
    unsafe = unsafe_pairs(gateway.capabilities)
    if unsafe:
        raise StartupError(
            f"The gateway '{gateway.name}' cannot be used safely: {'; '.join(unsafe)}. "
            "Choose another adapter, or switch the payment type off."
        )
