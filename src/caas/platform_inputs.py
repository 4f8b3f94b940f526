"""What the platform is built from: clients of everything outside, and the terms it is run under.

Rule a change must keep: nothing here reads the environment; `caas.app` makes these of the settings.
"""

from dataclasses import dataclass, field
from pathlib import Path

from caas.billing_database.gateway_calls import GatewayCalls
from caas.external_systems.encryption_at_rest import EncryptionAtRest
from caas.external_systems.iot_gateway import ObservedVehicleLink, VehicleLink
from caas.external_systems.notification_channel import NotificationChannel
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.reconciliation_engine import ReconciliationEngine
from caas.history_signing import HeadTerms
from caas.order_management import OrderPartners
from caas.order_management.held_deposits import DepositOnForfeiture
from caas.rules.market import Market
from caas.rules.payment_failures import DunningPolicy
from caas.rules.settlement_dates import FeeTerms, PollTerms
from caas.rules.time_scale import TimeScale
from caas.service_catalog.subscriptions import WithdrawnSubscription


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
class PlatformTerms:
    """What the platform is run under: market, pace, and the address its links lead to.

    `folder` is this machine's, for settlement reports at work; `drop_folder` is where people put
    theirs, None for nowhere; `event_secrets` encrypts the secrets of event subscriptions; `fees`
    are those agreed with the gateway, None for none; `heads` sign and keep the history's, None to
    make none; `polls` say when the gateway is asked about settlements;
    `local_subscribers` may take events on this machine;
    `dunning` says when a failed month is charged again, None for the usual;
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
    polls: PollTerms = field(default_factory=PollTerms)
    drop_folder: Path | None = None
    local_subscribers: bool = False
    deposit_on_forfeiture: DepositOnForfeiture = DepositOnForfeiture.HOLD
    withdrawn_subscription: WithdrawnSubscription = WithdrawnSubscription.FREE
    dunning: DunningPolicy | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What counts the calls to the gateway and the commands to vehicles, for the metrics."""

    gateway_calls: GatewayCalls
    vehicles: ObservedVehicleLink
