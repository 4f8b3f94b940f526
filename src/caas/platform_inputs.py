"""The inputs that the platform is built from: clients of external systems, and its terms.

Rule a change must keep: nothing here reads the environment; `caas.app` creates these from the
settings.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from caas.billing_database.gateway_calls import GatewayCalls
from caas.external_systems.encryption_at_rest import EncryptionAtRest
from caas.external_systems.iot_gateway import ObservedVehicleLink, VehicleLink
from caas.external_systems.notification_channel import NotificationChannel
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.reconciliation_engine import ReconciliationEngine
from caas.external_systems.report_announcements import ReportDownload
from caas.history_signing import HeadTerms
from caas.order_management import OrderPartners
from caas.order_management.held_deposits import DepositOnForfeiture
from caas.rules.check_terms import CheckTerms
from caas.rules.gateway_routes import NO_ROUTES, GatewayRoutes
from caas.rules.market import Market
from caas.rules.payment_failures import DunningPolicy
from caas.rules.retention import RetentionTerms
from caas.rules.settlement_dates import FeeTerms, PollTerms
from caas.rules.time_scale import TimeScale
from caas.service_catalog.subscriptions import WithdrawnSubscription


class Partners(msgspec.Struct, frozen=True, kw_only=True):
    """The clients of the External Systems of Diagram 1.

    New payments go to `gateway`; `kept_gateways` serve the payments that they already have.
    `engine` compares settlement reports that are too large for this machine; None: no engine.
    """

    gateway: PaymentGateway
    vehicles: VehicleLink
    order_partners: OrderPartners
    channel: NotificationChannel
    engine: ReconciliationEngine | None = None
    kept_gateways: Sequence[PaymentGateway] = ()

    @property
    def gateways(self) -> tuple[PaymentGateway, ...]:
        """All gateways, that of new payments first."""
        return (self.gateway, *self.kept_gateways)


class PlatformTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The platform's terms: market, time scale, and the public address of its links.

    `folder`: working folder for settlement reports. `drop_folder`: where staff put report files;
    None: none. `report_downloads`: by gateway, what downloads into it the reports that the gateway
    announces. `event_secrets` encrypts the secrets of event subscriptions. `fees`: agreed with
    the gateway; None: not agreed. `heads`: signing keys and copies of the history's heads; None:
    no heads. `polls`: when the gateway is polled for settlements. `local_subscribers`: events may
    be delivered to this machine. `dunning`: when a failed month is charged again; None: the
    default. `deposit_on_forfeiture`: the policy of decision 21. `withdrawn_subscription`: that of
    decision 141. `gateway_routes`: where new payments go (decision 208).
    """

    market: Market
    time_scale: TimeScale
    public_url: str
    folder: Path
    event_secrets: EncryptionAtRest
    fees: FeeTerms | None = None
    heads: HeadTerms | None = None
    checks: CheckTerms = msgspec.field(default_factory=CheckTerms)
    retention: RetentionTerms = msgspec.field(default_factory=RetentionTerms)
    polls: PollTerms = msgspec.field(default_factory=PollTerms)
    drop_folder: Path | None = None
    report_downloads: Mapping[str, ReportDownload] = msgspec.field(default_factory=dict)
    local_subscribers: bool = False
    deposit_on_forfeiture: DepositOnForfeiture = DepositOnForfeiture.HOLD
    withdrawn_subscription: WithdrawnSubscription = WithdrawnSubscription.FREE
    dunning: DunningPolicy | None = None
    gateway_routes: GatewayRoutes = NO_ROUTES


class Observed(msgspec.Struct, frozen=True):
    """Counters of gateway calls and vehicle commands, for the metrics."""

    gateway_calls: GatewayCalls
    vehicles: ObservedVehicleLink
