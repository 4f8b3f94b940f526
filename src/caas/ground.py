"""The layers that Payment Processing stands on, built once over one database and its partners.

Rules a change must keep: as for `caas.assembly`, which builds the layers above; every call to the
gateway about a payment is written down; what the platform cannot do safely with the gateway it was
given, it refuses to start with (decision 1).
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from caas import between_rooms
from caas.billing_database import tables as billing_tables
from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.tables import BillingDatabase
from caas.errors import StartupError
from caas.external_systems.encryption_at_rest import EncryptionAtRest
from caas.external_systems.iot_gateway import VehicleLink
from caas.external_systems.notification_channel import NotificationChannel
from caas.external_systems.observed_vehicle_link import ObservedVehicleLink
from caas.external_systems.payment_gateway import PaymentGateway, why_unsafe
from caas.external_systems.reconciliation_engine import ReconciliationEngine
from caas.history_signing import HeadTerms, HistorySigning
from caas.jobs import JobQueue
from caas.notifications import Notifications
from caas.order_management import OrderManagement, OrderPartners
from caas.order_management import Upward as OrdersUpward
from caas.order_management.forfeiture import DepositOnForfeiture
from caas.ota_activation_engine import (
    OtaActivationEngine,
)
from caas.payment_processing.gateway_audit_log import AuditedGateway
from caas.payment_processing.promised_refunds import PromisedRefunds
from caas.payment_processing.refunds import Refunds
from caas.rules.settlement_fees import FeeTerms
from caas.rules.settlement_polls import PollTerms
from caas.rules.time_scale import TimeScale
from caas.service_catalog import ServiceCatalog
from caas.service_catalog.subscription_delivery import SubscriptionDelivery
from caas.service_catalog.subscriptions import Subscriptions, WithdrawnSubscription
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

    `folder` is this machine's, for settlement reports at work; `drop_folder` is where people put
    theirs, None for nowhere; `event_secrets` encrypts the secrets of event subscriptions; `fees`
    are those agreed with the gateway, None for none; `heads` sign and keep the history's, None to
    make none; `polls` say when the gateway is asked about settlements;
    `local_subscribers` may take events on this machine;
    `deposit_on_forfeiture` is the policy of decision 21, `withdrawn_subscription` that of decision
    141.
    """

    market: Market
    time_scale: TimeScale
    public_url: str
    folder: Path
    event_secrets: EncryptionAtRest
    fees: FeeTerms | None = None
    heads: HeadTerms | None = None
    polls: PollTerms = dataclasses.field(default_factory=PollTerms)
    drop_folder: Path | None = None
    local_subscribers: bool = False
    deposit_on_forfeiture: DepositOnForfeiture = DepositOnForfeiture.HOLD
    withdrawn_subscription: WithdrawnSubscription = WithdrawnSubscription.FREE


@dataclass(frozen=True, slots=True)
class Observed:
    """What counts the calls to the gateway and the commands to vehicles, for the metrics."""

    gateway_calls: GatewayCalls
    vehicles: ObservedVehicleLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The layers that Payment Processing stands on."""

    tables: BillingDatabase
    jobs: JobQueue
    gateway: PaymentGateway
    observed: Observed
    terms: Terms
    notifications: Notifications
    refunds: Refunds
    order_management: OrderManagement
    service_catalog: ServiceCatalog
    subscriptions: Subscriptions
    subscription_delivery: SubscriptionDelivery
    ota_activation_engine: OtaActivationEngine
    history_signing: HistorySigning


def laid(database: Database, partners: Partners, terms: Terms) -> Ground:
    """Build the layers that Payment Processing stands on.

    Raises:
        StartupError: the gateway cannot carry a payment type safely.
    """
    _refuse_unsafe(partners.gateway)
    observed = Observed(GatewayCalls(database), ObservedVehicleLink(partners.vehicles))
    partners = _recorded(partners, observed.gateway_calls)
    tables = billing_tables.opened(database)
    notifications = Notifications(
        tables=tables,
        channel=partners.channel,
        address_of=between_rooms.addresses(database),
        zone=terms.market.zone,
        language=terms.market.language,
        public_url=terms.public_url,
    )
    refunds = _refunds(tables, partners, terms, notifications)
    catalog = ServiceCatalog(tables=tables)
    ota = OtaActivationEngine(
        tables=tables, link=observed.vehicles, time_scale=terms.time_scale,
        alert=notifications.alert,
    )  # fmt: skip
    delivery = SubscriptionDelivery(
        tables=tables, ota_activation_engine=ota, notify=notifications.notify
    )
    return Ground(
        tables=tables,
        jobs=JobQueue(tables.jobs, tables.cases, terms.time_scale),
        gateway=partners.gateway,
        observed=observed,
        terms=terms,
        notifications=notifications,
        refunds=refunds,
        order_management=_order_management(tables, partners, terms, notifications, refunds),
        service_catalog=catalog,
        subscriptions=Subscriptions(
            tables=tables,
            service_catalog=catalog,
            delivery=delivery,
            time_scale=terms.time_scale,
            withdrawn=terms.withdrawn_subscription,
        ),
        subscription_delivery=delivery,
        ota_activation_engine=ota,
        history_signing=HistorySigning(
            tables=tables, alert=notifications.alert, time_scale=terms.time_scale, terms=terms.heads
        ),
    )


def _recorded(partners: Partners, calls: GatewayCalls) -> Partners:
    """Have every call to the gateway about a payment written down."""
    gateway = AuditedGateway(partners.gateway, calls)
    return dataclasses.replace(partners, gateway=gateway)


def _refunds(
    tables: BillingDatabase, partners: Partners, terms: Terms, notifications: Notifications
) -> Refunds:
    return Refunds(
        tables=tables,
        gateway=partners.gateway,
        time_scale=terms.time_scale,
        notify_refunded=between_rooms.refund_notifier(notifications),
        alert=notifications.alert,
    )


def _order_management(
    tables: BillingDatabase,
    partners: Partners,
    terms: Terms,
    notifications: Notifications,
    refunds: Refunds,
) -> OrderManagement:
    return OrderManagement(
        tables=tables,
        partners=partners.order_partners,
        upward=OrdersUpward(
            notify=notifications.notify,
            alert=notifications.alert,
            refund=between_rooms.orders_refund(
                PromisedRefunds(tables, refunds, time_scale=terms.time_scale)
            ),
            access_url=lambda token: f"{terms.public_url}/access/{token}",
        ),
        time_scale=terms.time_scale,
        reservation_deposit_on_forfeiture=terms.deposit_on_forfeiture,
    )


def _refuse_unsafe(gateway: PaymentGateway) -> None:
    unsafe = why_unsafe(gateway.capabilities)
    if unsafe:
        raise StartupError(
            f"The gateway '{gateway.name}' cannot be used safely: {unsafe}. Declare what it can "
            "do after all by the CAAS_GATEWAY_ settings of docs/settings.md, or name another "
            "gateway by CAAS_GATEWAY."
        )
