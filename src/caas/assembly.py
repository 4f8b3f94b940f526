"""Every part of the installation, built once over one database and one set of partners.

Nothing here reads the environment or opens a connection: what comes in is open already, and what
comes out is the platform. The order is the order of the layers; what a part needs of the layers
above it is given as a callable.

Rule a change must keep: no part is built twice and no part builds another.
"""

from dataclasses import dataclass

from caas import between_rooms
from caas.access_links import AccessLinks
from caas.api.partner_webhooks import PartnerWebhooks
from caas.billing import Billing
from caas.billing.invoices import Invoices
from caas.billing.issuing import Issuing
from caas.billing_database.connection import Database
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.webhook_inbox import WebhookInbox
from caas.erasure import Erasure
from caas.event_delivery import EventDelivery
from caas.ground import Ground, Observed, Partners, Terms, laid
from caas.history_signing import HistorySigning
from caas.invariant_monitor import InvariantMonitor
from caas.jobs import JobQueue
from caas.notifications import Notifications
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
from caas.payment_processing.reservation_payment import ReservationPayment
from caas.payment_processing.service_payment import ServicePayment
from caas.payment_processing.service_withdrawal import ServiceWithdrawal
from caas.payment_processing.settlement import Settlement
from caas.payment_processing.subscription_failure import SubscriptionFailure
from caas.payment_processing.subscription_payment import SubscriptionPayment
from caas.payment_processing.unknown_outcomes import UnknownOutcomes
from caas.reconciliation import Reconciliation, ReconciliationSettings
from caas.service_catalog import ServiceCatalog
from caas.service_catalog.subscriptions import Subscriptions
from caas.service_catalog.usage import Usage

__all__ = ["Partners", "Platform", "Terms", "assemble"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Every part of the installation, built once."""

    tables: BillingDatabase
    jobs: JobQueue
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
    invariant_monitor: InvariantMonitor
    history_signing: HistorySigning
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
    """Build every part over one database and one set of partners.

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
        tables=ground.tables, notifications=ground.notifications, public_url=terms.public_url
    )
    invariant_monitor = InvariantMonitor(tables=ground.tables, alert=ground.notifications.alert)
    event_delivery = EventDelivery(
        ground.tables, encryption=terms.event_secrets, alert=ground.notifications.alert,
        time_scale=terms.time_scale, local_subscribers=terms.local_subscribers,
    )  # fmt: skip
    for part in (
        ground.notifications, ground.order_management, ground.ota_activation_engine, payments,
        reconciliation, flows.subscription, billing, invoices, issuing, invariant_monitor, erasure,
        ground.history_signing, access_links, event_delivery,
        PartnerWebhooks(inbox=WebhookInbox(database), order_management=ground.order_management),
    ):  # fmt: skip
        part.register(ground.jobs)
    return Platform(
        tables=ground.tables,
        jobs=ground.jobs,
        notifications=ground.notifications,
        order_management=ground.order_management,
        service_catalog=ground.service_catalog,
        subscriptions=ground.subscriptions,
        usage=Usage(tables=ground.tables),
        ota_activation_engine=ground.ota_activation_engine,
        payment_processing=payments,
        reconciliation=reconciliation,
        billing=billing,
        invoices=invoices,
        issuing=issuing,
        invariant_monitor=invariant_monitor,
        history_signing=ground.history_signing,
        observed=ground.observed,
        erasure=erasure,
        access_links=access_links,
        event_delivery=event_delivery,
    )


def _flows(ground: Ground) -> _Flows:
    tables, notifications, time_scale = ground.tables, ground.notifications, ground.terms.time_scale
    charges = Charges(
        tables,
        ground.gateway,
        time_scale=time_scale,
        alert=notifications.alert,
        polls=ground.terms.polls,
    )
    subscription_failure = SubscriptionFailure(
        tables=tables,
        subscriptions=ground.subscriptions,
        notifications=notifications,
        time_scale=time_scale,
    )
    flows = _Flows(
        charges,
        ReservationPayment(
            tables=tables,
            charges=charges,
            order_management=ground.order_management,
            notifications=notifications,
        ),
        FinalPayment(
            tables=tables,
            charges=charges,
            order_management=ground.order_management,
            notifications=notifications,
        ),
        ServicePayment(
            tables=tables,
            charges=charges,
            ota_activation_engine=ground.ota_activation_engine,
            service_catalog=ground.service_catalog,
            notifications=notifications,
            time_scale=time_scale,
        ),
        SubscriptionPayment(
            tables=tables,
            charges=charges,
            subscriptions=ground.subscriptions,
            subscription_failure=subscription_failure,
            notifications=notifications,
            time_scale=time_scale,
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
        tables=ground.tables,
        subscription_payment=flows.subscription,
        notifications=ground.notifications,
        letterhead=between_rooms.letterhead(ground.terms.market),
        public_url=ground.terms.public_url,
    )


def _erasure(ground: Ground, issuing: Issuing) -> Erasure:
    return Erasure(
        tables=ground.tables,
        order_management=ground.order_management,
        subscriptions=ground.subscriptions,
        notifications=ground.notifications,
        issuing=issuing,
        zone=str(ground.terms.market.zone),
    )


def _invoices(ground: Ground, payments: PaymentProcessing, issuing: Issuing) -> Invoices:
    return Invoices(
        tables=ground.tables,
        notifications=ground.notifications,
        letterhead=between_rooms.letterhead(ground.terms.market),
        refund=payments.promise_refund,
        credited_refunds=payments.credited_refunds,
        issuing=issuing,
        public_url=ground.terms.public_url,
    )


def _issuing(ground: Ground) -> Issuing:
    return Issuing(
        tables=ground.tables,
        letterhead=between_rooms.letterhead(ground.terms.market),
        notifications=ground.notifications,
        time_scale=ground.terms.time_scale,
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
        tables=ground.tables,
        gateway=ground.gateway,
        charges=flows.charges,
        settlement=settlement,
        void=payments.void_payment,
        alert=ground.notifications.alert,
        time_scale=ground.terms.time_scale,
        settings=_reconciled_by(partners, ground.terms),
    )


def _reconciled_by(partners: Partners, terms: Terms) -> ReconciliationSettings:
    return ReconciliationSettings(
        zone=terms.market.zone, folder=terms.folder, fees=terms.fees, engine=partners.engine,
        drop_folder=terms.drop_folder,
    )  # fmt: skip


def _settlement(ground: Ground, flows: _Flows) -> tuple[Settlement, Disputes]:
    disputes = Disputes(ground.tables)
    settlement = Settlement(
        tables=ground.tables,
        gateway=ground.gateway,
        charges=flows.charges,
        flows=flows.by_type,
        alert=ground.notifications.alert,
        time_scale=ground.terms.time_scale,
        on_refund=ground.refunds.on_event,
        on_dispute=disputes.on_event,
        polls=ground.terms.polls,
    )
    return settlement, disputes


def _payment_processing(
    ground: Ground, flows: _Flows, settlement: Settlement, disputes: Disputes
) -> PaymentProcessing:
    tables, gateway, time_scale = ground.tables, ground.gateway, ground.terms.time_scale
    return PaymentProcessing(
        tables=tables,
        charges=flows.charges,
        flows=flows.by_type,
        service_payment=flows.service,
        unknown_outcomes=UnknownOutcomes(
            tables=tables,
            gateway=gateway,
            charges=flows.charges,
            flows=flows.by_type,
            time_scale=time_scale,
        ),
        settlement=settlement,
        refunds=ground.refunds,
        service_withdrawal=ServiceWithdrawal(
            tables=tables,
            service_payment=flows.service,
            subscriptions=ground.subscriptions,
            order_management=ground.order_management,
            refunds=ground.refunds,
            promised_refunds=PromisedRefunds(tables, ground.refunds, time_scale=time_scale),
            ota_activation_engine=ground.ota_activation_engine,
            time_scale=time_scale,
        ),
        disputes=disputes,
        ota_activation_engine=ground.ota_activation_engine,
        time_scale=time_scale,
    )
