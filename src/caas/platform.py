"""Builds every part of the platform once, over one database and its partners.

Nothing here reads the environment or opens a connection: the inputs are already open. Parts are
built from the lower layers to the upper ones, each with the lower parts it uses.

Rules a change must keep: no part is built twice, and no part receives another one later; every
gateway call about a payment is recorded; what a configured gateway cannot do safely is rejected at
startup (decision 1).
"""

import msgspec

from caas.access_links import AccessLinks
from caas.billing import Billing
from caas.billing.invoices import Invoices
from caas.billing.issuing import Issuing
from caas.billing.letterhead import Letterhead
from caas.billing_database import tables as billing_tables
from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.tables import BillingDatabase
from caas.erasure import Erasure
from caas.erasure_at_gateways import ErasureAtGateways
from caas.errors import StartupError
from caas.event_delivery import EventDelivery
from caas.external_systems.gateway_requirements import why_unsafe
from caas.external_systems.iot_gateway import ObservedVehicleLink, VehicleLink
from caas.external_systems.payment_gateway import PaymentGateway
from caas.history_signing import HistorySigning
from caas.invariant_monitor import InvariantMonitor
from caas.jobs import JobQueue
from caas.notifications import Notifications
from caas.order_management import OrderManagement, OrderTerms
from caas.order_management.partner_webhooks import PartnerWebhooks
from caas.ota_activation_engine import SERVICE_PAYMENT, SUBSCRIPTION, OtaActivationEngine
from caas.ota_activation_engine.vehicle_responses import VehicleResponses
from caas.payment_processing import PaymentProcessing
from caas.payment_processing.charges import Charges, charges_through
from caas.payment_processing.dispute_evidence import DisputeEvidence
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.final_payment import FinalPayment
from caas.payment_processing.flow import Flows
from caas.payment_processing.fraud_warnings import FraudWarnings
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.promised_refunds import OrderRefunds, PromisedRefunds
from caas.payment_processing.refunds import Refunds
from caas.payment_processing.reservation_payment import ReservationPayment
from caas.payment_processing.service_payment import ServicePayment
from caas.payment_processing.service_withdrawal import ServiceWithdrawal
from caas.payment_processing.settlement import Settlement
from caas.payment_processing.subscription_failure import SubscriptionFailure
from caas.payment_processing.subscription_payment import SubscriptionPayment
from caas.payment_processing.unknown_outcomes import UnknownOutcomes
from caas.platform_inputs import Observed, Partners, PlatformTerms
from caas.reconciliation import Reconciliation, ReconciliationSettings
from caas.reconciliation.announced_reports import AnnouncedReports
from caas.reconciliation.gateway_notices import GatewayNotices
from caas.reconciliation.of_gateway import drop_folder_of
from caas.reconciliation.payouts import Payouts
from caas.retention import Retention
from caas.service_catalog import ServiceCatalog
from caas.service_catalog.subscription_delivery import SubscriptionDelivery
from caas.service_catalog.subscriptions import Subscriptions
from caas.service_catalog.usage import Usage


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that the API, the console and the processes use."""

    tables: BillingDatabase
    jobs: JobQueue
    observed: Observed
    notifications: Notifications
    ota_activation_engine: OtaActivationEngine
    vehicle_responses: VehicleResponses
    order_management: OrderManagement
    service_catalog: ServiceCatalog
    subscriptions: Subscriptions
    usage: Usage
    payment_processing: PaymentProcessing
    dispute_evidence: DisputeEvidence
    fraud_warnings: FraudWarnings
    reconciliation: Reconciliation
    payouts: Payouts
    billing: Billing
    invoices: Invoices
    issuing: Issuing
    invariant_monitor: InvariantMonitor
    retention: Retention
    history_signing: HistorySigning
    erasure: Erasure
    access_links: AccessLinks
    event_delivery: EventDelivery


class _Base(msgspec.Struct, frozen=True, kw_only=True):
    """What every layer uses."""

    tables: BillingDatabase
    jobs: JobQueue
    gateways: Gateways
    notifications: Notifications
    terms: PlatformTerms


class _Sales(msgspec.Struct, frozen=True, kw_only=True):
    """The layer of Order Management and the Service Catalog, and the parts just below it."""

    ota: OtaActivationEngine
    orders: OrderManagement
    catalog: ServiceCatalog
    delivery: SubscriptionDelivery
    subscriptions: Subscriptions


class _Flows(msgspec.Struct, frozen=True, kw_only=True):
    """The four flows, and the charges they share."""

    charges: Charges
    service: ServicePayment
    subscription: SubscriptionPayment
    by_type: Flows


class _Payments(msgspec.Struct, frozen=True, kw_only=True):
    """The layer of Payment Processing, as the layers above it use it."""

    processing: PaymentProcessing
    vehicle_responses: VehicleResponses
    charges: Charges
    settlement: Settlement
    subscription_payment: SubscriptionPayment
    notices: GatewayNotices


def build_platform(database: Database, partners: Partners, terms: PlatformTerms) -> Platform:
    """Build every part over one database and one set of partners.

    Raises:
        StartupError: a gateway cannot carry a payment type safely.
    """
    for gateway in partners.gateways:
        _refuse_unsafe(gateway)
    observed = Observed(GatewayCalls(database), ObservedVehicleLink(partners.vehicles))
    tables = billing_tables.opened(database)
    base = _Base(
        tables=tables,
        jobs=JobQueue(tables.jobs, tables.cases, terms.time_scale),
        gateways=Gateways(
            partners.gateways, observed.gateway_calls, routes=terms.gateway_routes
        ),
        notifications=Notifications(
            tables=tables, channel=partners.channel, zone=terms.market.zone,
            language=terms.market.language, public_url=terms.public_url,
        ),
        terms=terms,
    )  # fmt: skip
    sales = _sales(base, partners, observed.vehicles)
    payments = _payments(base, observed.vehicles, sales, _notices(base, partners))
    platform = _platform(base, partners, observed, sales, payments)
    for part in (
        platform.notifications, platform.order_management, platform.vehicle_responses,
        platform.payment_processing, platform.reconciliation, platform.payouts,
        platform.fraud_warnings, platform.billing, platform.invoices, platform.issuing,
        platform.invariant_monitor,
        platform.retention, platform.erasure, platform.history_signing, platform.access_links,
        platform.event_delivery,
        ErasureAtGateways(
            tables=tables, gateways=partners.gateways, zone=str(terms.market.zone)
        ),
        PartnerWebhooks(inbox=tables.webhooks, order_management=sales.orders),
    ):  # fmt: skip
        part.register(platform.jobs)
    return platform


def _refuse_unsafe(gateway: PaymentGateway) -> None:
    unsafe = why_unsafe(gateway.capabilities)
    if unsafe:
        raise StartupError(
            f"The gateway '{gateway.name}' cannot be used safely: {unsafe}. Declare what it can "
            "do after all by the CAAS_GATEWAY_ settings of docs/settings.md, or name another "
            "gateway by CAAS_GATEWAY."
        )


def _sales(base: _Base, partners: Partners, link: VehicleLink) -> _Sales:
    tables, time_scale, notifications = base.tables, base.terms.time_scale, base.notifications
    catalog = ServiceCatalog(tables=tables)
    ota = OtaActivationEngine(tables=tables, link=link, time_scale=time_scale)
    delivery = SubscriptionDelivery(
        tables=tables, ota_activation_engine=ota, notifications=notifications
    )
    subscriptions = Subscriptions(
        tables=tables, service_catalog=catalog, delivery=delivery, time_scale=time_scale,
        withdrawn=base.terms.withdrawn_subscription,
    )  # fmt: skip
    orders = OrderManagement(
        tables=tables,
        partners=partners.order_partners,
        notifications=notifications,
        jobs=base.jobs,
        terms=OrderTerms(
            time_scale=time_scale,
            access_url=lambda token: f"{base.terms.public_url}/access/{token}",
            reservation_deposit_on_forfeiture=base.terms.deposit_on_forfeiture,
        ),
    )
    return _Sales(
        ota=ota, orders=orders, catalog=catalog, delivery=delivery, subscriptions=subscriptions
    )


def _flows(base: _Base, sales: _Sales) -> _Flows:
    tables, notifications, time_scale = base.tables, base.notifications, base.terms.time_scale
    charges = charges_through(
        base.gateways, tables, time_scale=time_scale, alert=notifications.alert,
        polls=base.terms.polls,
    )  # fmt: skip
    service = ServicePayment(
        tables=tables, charges=charges, ota_activation_engine=sales.ota,
        service_catalog=sales.catalog, notifications=notifications, time_scale=time_scale,
    )  # fmt: skip
    subscription = SubscriptionPayment(
        tables=tables, charges=charges, subscriptions=sales.subscriptions,
        subscription_failure=SubscriptionFailure(
            tables=tables, subscriptions=sales.subscriptions, notifications=notifications,
            time_scale=time_scale, dunning=base.terms.dunning,
        ),
        notifications=notifications, time_scale=time_scale, public_url=base.terms.public_url,
    )  # fmt: skip
    by_type = Flows(
        reservation=ReservationPayment(
            tables=tables, charges=charges, order_management=sales.orders,
            notifications=notifications,
        ),
        final=FinalPayment(
            tables=tables, charges=charges, order_management=sales.orders,
            notifications=notifications,
        ),
        service=service,
        subscription=subscription,
    )  # fmt: skip
    return _Flows(charges=charges, service=service, subscription=subscription, by_type=by_type)


def _notices(base: _Base, partners: Partners) -> GatewayNotices:
    tables, gateways, alert = base.tables, partners.gateways, base.notifications.alert
    announced = AnnouncedReports(
        base.terms.report_downloads,
        lambda name: drop_folder_of(name, base.gateways.names, base.terms.drop_folder),
        cases=tables.cases, alert=alert,
    )  # fmt: skip
    warnings = FraudWarnings(tables=tables, gateways=gateways, alert=alert)
    payouts = Payouts(tables=tables, gateways=gateways, alert=alert)
    return GatewayNotices(reports=announced, warnings=warnings, payouts=payouts)


def _payments(base: _Base, link: VehicleLink, sales: _Sales, notices: GatewayNotices) -> _Payments:
    tables, gateways, time_scale = base.tables, base.gateways, base.terms.time_scale
    flows, disputes = _flows(base, sales), Disputes(tables)
    refunds = Refunds(
        tables=tables, gateways=gateways, time_scale=time_scale, notifications=base.notifications
    )
    settlement = Settlement(
        tables=tables, gateways=gateways, charges=flows.charges, flows=flows.by_type,
        alert=base.notifications.alert, time_scale=time_scale, on_refund=refunds.on_event,
        on_dispute=disputes.on_event, on_notice=notices.take, polls=base.terms.polls,
    )  # fmt: skip
    vehicle_responses = VehicleResponses(
        tables=tables, link=link, ota_activation_engine=sales.ota,
        listeners={SERVICE_PAYMENT: flows.service, SUBSCRIPTION: sales.delivery},
        alert=base.notifications.alert,
    )  # fmt: skip
    promised_refunds = PromisedRefunds(tables, refunds, time_scale=time_scale)
    return _Payments(
        charges=flows.charges, settlement=settlement, notices=notices,
        vehicle_responses=vehicle_responses, subscription_payment=flows.subscription,
        processing=PaymentProcessing(
            tables=tables, charges=flows.charges, flows=flows.by_type,
            subscription_payment=flows.subscription,
            unknown_outcomes=UnknownOutcomes(
                tables=tables, gateways=gateways, charges=flows.charges, flows=flows.by_type,
                time_scale=time_scale,
            ),
            settlement=settlement, refunds=refunds, promised_refunds=promised_refunds,
            order_refunds=OrderRefunds(
                tables=tables, promised_refunds=promised_refunds, notifications=base.notifications
            ),
            service_withdrawal=ServiceWithdrawal(
                tables=tables, flows=flows.by_type, subscriptions=sales.subscriptions,
                order_management=sales.orders, refunds=refunds, promised_refunds=promised_refunds,
                ota_activation_engine=sales.ota, time_scale=time_scale,
            ),
            disputes=disputes, subscriptions=sales.subscriptions,
            vehicle_responses=vehicle_responses, time_scale=time_scale,
        ),
    )  # fmt: skip


def _platform(
    base: _Base, partners: Partners, observed: Observed, sales: _Sales, payments: _Payments
) -> Platform:
    tables, notifications, terms = base.tables, base.notifications, base.terms
    letterhead = Letterhead.of(terms.market)
    issuing = Issuing(
        tables=tables, letterhead=letterhead, notifications=notifications,
        time_scale=terms.time_scale, public_url=terms.public_url,
    )  # fmt: skip
    return Platform(
        tables=tables,
        jobs=base.jobs,
        observed=observed,
        notifications=notifications,
        ota_activation_engine=sales.ota,
        vehicle_responses=payments.vehicle_responses,
        order_management=sales.orders,
        service_catalog=sales.catalog,
        subscriptions=sales.subscriptions,
        usage=Usage(tables=tables),
        payment_processing=payments.processing,
        dispute_evidence=DisputeEvidence(
            tables=tables, gateways=partners.gateways, calls=observed.gateway_calls
        ),
        fraud_warnings=payments.notices.warnings,
        reconciliation=_reconciliation(base, partners, payments),
        payouts=payments.notices.payouts,
        billing=Billing(
            tables=tables, subscription_payment=payments.subscription_payment,
            notifications=notifications, letterhead=letterhead, public_url=terms.public_url,
        ),
        invoices=Invoices(
            tables=tables, notifications=notifications, letterhead=letterhead,
            refund=payments.processing.promise_refund,
            credited_refunds=payments.processing.credited_refunds,
            issuing=issuing, public_url=terms.public_url,
        ),
        issuing=issuing,
        invariant_monitor=_invariant_monitor(base),
        retention=Retention(tables=tables, terms=terms.retention),
        history_signing=_history_signing(base),
        erasure=_erasure(base, sales, issuing),
        access_links=AccessLinks(
            tables=tables, notifications=notifications, public_url=terms.public_url
        ),
        event_delivery=_event_delivery(base),
    )  # fmt: skip


def _erasure(base: _Base, sales: _Sales, issuing: Issuing) -> Erasure:
    return Erasure(
        tables=base.tables, order_management=sales.orders, subscriptions=sales.subscriptions,
        notifications=base.notifications, issuing=issuing, zone=str(base.terms.market.zone),
    )  # fmt: skip


def _history_signing(base: _Base) -> HistorySigning:
    return HistorySigning(
        tables=base.tables, alert=base.notifications.alert, time_scale=base.terms.time_scale,
        terms=base.terms.heads,
    )  # fmt: skip


def _event_delivery(base: _Base) -> EventDelivery:
    return EventDelivery(
        base.tables, encryption=base.terms.event_secrets, alert=base.notifications.alert,
        time_scale=base.terms.time_scale, local_subscribers=base.terms.local_subscribers,
    )  # fmt: skip


def _invariant_monitor(base: _Base) -> InvariantMonitor:
    return InvariantMonitor(
        tables=base.tables, alert=base.notifications.alert, terms=base.terms.checks,
        zone=base.terms.market.zone,
    )  # fmt: skip


def _reconciliation(base: _Base, partners: Partners, payments: _Payments) -> Reconciliation:
    terms = base.terms
    return Reconciliation(
        tables=base.tables,
        gateways=base.gateways,
        charges=payments.charges,
        settlement=payments.settlement,
        void=payments.processing.void_payment,
        returned_refunds=payments.processing.refunds.returned,
        alert=base.notifications.alert,
        time_scale=terms.time_scale,
        settings=ReconciliationSettings(
            zone=terms.market.zone, folder=terms.folder, fees=terms.fees, engine=partners.engine,
            drop_folder=terms.drop_folder,
        ),
    )  # fmt: skip
