"""Every room of the house, built once over one database and one set of partners.

Nothing here reads the environment or opens a connection: what comes in is open already, and what
comes out is the platform. The order is the order of the floors; what a room needs of the floors
above it is given as a callable.

Rule a change must keep: no room is built twice and no room builds another.
"""

from dataclasses import dataclass

from caas import between_rooms
from caas.access_links import AccessLinks
from caas.api.partner_webhooks import PartnerWebhooks
from caas.billing import Billing
from caas.billing.invoices import Invoices
from caas.billing.issuing import Issuing
from caas.billing_database.books import Books
from caas.billing_database.connection import Database
from caas.billing_database.webhook_inbox import WebhookInbox
from caas.erasure import Erasure
from caas.event_delivery import EventDelivery
from caas.ground import Ground, Observed, Partners, Terms, laid
from caas.history_keeping import HistoryKeeping
from caas.law_watch import LawWatch
from caas.notifications import Notifications
from caas.open_work import OpenWork
from caas.order_management import OrderManagement
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
from caas.payment_processing.flow import Flows
from caas.payment_processing.promised_refunds import PromisedRefunds
from caas.payment_processing.reconciliation import Reconciliation, ReconciliationSettings
from caas.payment_processing.reservation_payment import ReservationPayment
from caas.payment_processing.service_payment import ServicePayment
from caas.payment_processing.service_withdrawal import ServiceWithdrawal
from caas.payment_processing.settlement import Settlement
from caas.payment_processing.subscription_failure import SubscriptionFailure
from caas.payment_processing.subscription_payment import SubscriptionPayment
from caas.payment_processing.unknown_outcomes import UnknownOutcomes
from caas.service_catalog import ServiceCatalog
from caas.service_catalog.subscriptions import Subscriptions
from caas.service_catalog.usage import Usage

__all__ = ["Partners", "Platform", "Terms", "assemble"]


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
    issuing: Issuing
    law_watch: LawWatch
    history_keeping: HistoryKeeping
    observed: Observed
    erasure: Erasure
    access_links: AccessLinks
    event_delivery: EventDelivery


@dataclass(frozen=True, slots=True)
class _Flows:
    """The four flows and the charges they share."""

    charges: Charges
    reservation: ReservationPayment
    final: FinalPayment
    service: ServicePayment
    subscription: SubscriptionPayment

    @property
    def by_type(self) -> Flows:
        """Each payment type's flow."""
        return Flows(
            reservation=self.reservation,
            final=self.final,
            service=self.service,
            subscription=self.subscription,
        )


def assemble(database: Database, partners: Partners, terms: Terms) -> Platform:
    """Build every room over one database and one set of partners.

    Raises:
        StartupError: the gateway cannot carry a payment type safely.
    """
    ground = laid(database, partners, terms)
    flows = _flows(ground)
    settlement, disputes = _settlement(ground, flows)
    payments = _payment_processing(ground, flows, settlement, disputes)
    reconciliation = _reconciliation(ground, flows, settlement, payments, partners)
    billing, issuing = _billing(ground, flows), _issuing(ground)
    invoices, erasure = _invoices(ground, payments, issuing), _erasure(ground, issuing)
    access_links = AccessLinks(
        books=ground.books, notifications=ground.notifications, public_url=terms.public_url
    )
    law_watch = LawWatch(books=ground.books, alert=ground.notifications.alert)
    event_delivery = EventDelivery(
        ground.books, encryption=terms.event_secrets, alert=ground.notifications.alert,
        pace=terms.pace, local_subscribers=terms.local_subscribers,
    )  # fmt: skip
    for room in (
        ground.notifications, ground.order_management, ground.ota_activation_engine, payments,
        reconciliation, flows.subscription, billing, invoices, issuing, law_watch, erasure,
        ground.history_keeping, access_links, event_delivery,
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
        issuing=issuing,
        law_watch=law_watch,
        history_keeping=ground.history_keeping,
        observed=ground.observed,
        erasure=erasure,
        access_links=access_links,
        event_delivery=event_delivery,
    )


def _flows(ground: Ground) -> _Flows:
    books, notifications, pace = ground.books, ground.notifications, ground.terms.pace
    charges = Charges(
        books, ground.gateway, pace=pace, alert=notifications.alert, polls=ground.terms.polls
    )
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


def _connect_upwards(ground: Ground, flows: _Flows) -> None:
    """Say where the OTA engine's final results go, and who verifies a mandate."""
    delivery, service = ground.subscription_delivery, flows.service
    ground.subscriptions.verify_with(
        flows.subscription.verify_payment_method, flows.subscription.verify_another
    )
    ground.ota_activation_engine.report_to(
        {
            SERVICE_PAYMENT: Upward(service.activation_succeeded, service.activation_failed),
            SUBSCRIPTION: Upward(delivery.activation_succeeded, delivery.activation_failed),
        }
    )


def _billing(ground: Ground, flows: _Flows) -> Billing:
    return Billing(
        books=ground.books,
        subscription_payment=flows.subscription,
        notifications=ground.notifications,
        letterhead=between_rooms.letterhead(ground.terms.market),
        public_url=ground.terms.public_url,
    )


def _erasure(ground: Ground, issuing: Issuing) -> Erasure:
    return Erasure(
        books=ground.books,
        order_management=ground.order_management,
        subscriptions=ground.subscriptions,
        notifications=ground.notifications,
        issuing=issuing,
        zone=str(ground.terms.market.zone),
    )


def _invoices(ground: Ground, payments: PaymentProcessing, issuing: Issuing) -> Invoices:
    return Invoices(
        books=ground.books,
        notifications=ground.notifications,
        letterhead=between_rooms.letterhead(ground.terms.market),
        refund=payments.promise_refund,
        credited_refunds=payments.credited_refunds,
        issuing=issuing,
        public_url=ground.terms.public_url,
    )


def _issuing(ground: Ground) -> Issuing:
    return Issuing(
        books=ground.books,
        letterhead=between_rooms.letterhead(ground.terms.market),
        notifications=ground.notifications,
        pace=ground.terms.pace,
        public_url=ground.terms.public_url,
    )


def _reconciliation(
    ground: Ground,
    flows: _Flows,
    settlement: Settlement,
    payments: PaymentProcessing,
    partners: Partners,
) -> Reconciliation:
    return Reconciliation(
        books=ground.books,
        gateway=ground.gateway,
        charges=flows.charges,
        settlement=settlement,
        void=payments.void_payment,
        alert=ground.notifications.alert,
        pace=ground.terms.pace,
        settings=_reconciled_by(partners, ground.terms),
    )


def _reconciled_by(partners: Partners, terms: Terms) -> ReconciliationSettings:
    return ReconciliationSettings(
        zone=terms.market.zone, folder=terms.folder, fees=terms.fees, engine=partners.engine,
        drop_folder=terms.drop_folder,
    )  # fmt: skip


def _settlement(ground: Ground, flows: _Flows) -> tuple[Settlement, Disputes]:
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
        polls=ground.terms.polls,
    )
    return settlement, disputes


def _payment_processing(
    ground: Ground, flows: _Flows, settlement: Settlement, disputes: Disputes
) -> PaymentProcessing:
    books, gateway, pace = ground.books, ground.gateway, ground.terms.pace
    return PaymentProcessing(
        books=books,
        charges=flows.charges,
        flows=flows.by_type,
        service_payment=flows.service,
        unknown_outcomes=UnknownOutcomes(
            books=books, gateway=gateway, charges=flows.charges, flows=flows.by_type, pace=pace
        ),
        settlement=settlement,
        refunds=ground.refunds,
        service_withdrawal=ServiceWithdrawal(
            books=books,
            service_payment=flows.service,
            subscriptions=ground.subscriptions,
            order_management=ground.order_management,
            refunds=ground.refunds,
            promised_refunds=PromisedRefunds(books, ground.refunds, pace=pace),
            ota_activation_engine=ground.ota_activation_engine,
            pace=pace,
        ),
        disputes=disputes,
        ota_activation_engine=ground.ota_activation_engine,
        pace=pace,
    )
