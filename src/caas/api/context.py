"""The subsystems of the installation that the API opens its doors to, and what it keeps for itself.

The API takes no decision: each call checks who asks and what, and asks the room of that name.
"""

import asyncio
from dataclasses import dataclass, field

from caas.api.authentication import Authentication
from caas.api.metrics import Metrics
from caas.api.settings import ApiSettings
from caas.billing import Billing
from caas.billing.invoices import Invoices
from caas.billing_database.readiness import Readiness
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.webhook_inbox import WebhookInbox
from caas.erasure import Erasure
from caas.event_delivery import EventDelivery
from caas.external_systems.webhook_signatures import Verifier
from caas.order_management import OrderManagement
from caas.ota_activation_engine import OtaActivationEngine
from caas.payment_processing import PaymentProcessing
from caas.reconciliation import Reconciliation
from caas.service_catalog import ServiceCatalog
from caas.service_catalog.subscriptions import Subscriptions
from caas.service_catalog.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Subsystems:
    """The subsystems of Diagram 1, each built once."""

    tables: BillingDatabase
    payment_processing: PaymentProcessing
    reconciliation: Reconciliation
    order_management: OrderManagement
    service_catalog: ServiceCatalog
    subscriptions: Subscriptions
    usage: Usage
    ota_activation_engine: OtaActivationEngine
    billing: Billing
    invoices: Invoices
    erasure: Erasure
    event_delivery: EventDelivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What the calls of the API work with."""

    subsystems: Subsystems
    settings: ApiSettings
    authentication: Authentication
    metrics: Metrics
    inbox: WebhookInbox
    verifiers: dict[str, Verifier]
    readiness: Readiness
    checking: asyncio.Lock = field(default_factory=asyncio.Lock)
