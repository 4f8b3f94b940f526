"""What the pages work with: the subsystems, settings, sessions and the renderer.

Pages decide nothing: they call the same functions of the same subsystems as the API does.

Rule a change must keep: a page reaches a room through here and never builds one.
"""

from dataclasses import dataclass

from caas.access_links import AccessLinks
from caas.billing import Billing
from caas.billing.invoices import Invoices
from caas.billing_database.accounts import Accounts
from caas.billing_database.second_factors import SecondFactors
from caas.billing_database.simulated_calendar import SimulatedCalendar
from caas.billing_database.tables import BillingDatabase
from caas.console.known_devices import KnownDevices
from caas.console.passwords import Passwords
from caas.console.rendering import Renderer
from caas.console.request import PageRequest
from caas.console.session_keeping import SessionKeeping
from caas.console.settings import ConsoleSettings
from caas.external_systems.outbox_letters import OutboxLetters
from caas.external_systems.simulator_control import SimulatorControl
from caas.jobs import JobQueue
from caas.notifications import Notifications
from caas.order_management import OrderManagement
from caas.ota_activation_engine import OtaActivationEngine
from caas.payment_processing import PaymentProcessing
from caas.reconciliation import Reconciliation
from caas.service_catalog import ServiceCatalog
from caas.service_catalog.subscriptions import Subscriptions
from caas.service_catalog.usage import Usage
from caas.web.response import OK, Response, html


@dataclass(frozen=True, slots=True, kw_only=True)
class Subsystems:
    """The subsystems of Diagram 1, each built once.

    `simulators` where partners are simulated; `calendar` where the world is, time and all;
    `letters` where messages stay on this machine instead of being sent.
    """

    tables: BillingDatabase
    payment_processing: PaymentProcessing
    order_management: OrderManagement
    service_catalog: ServiceCatalog
    subscriptions: Subscriptions
    usage: Usage
    ota_activation_engine: OtaActivationEngine
    invoices: Invoices
    notifications: Notifications
    jobs: JobQueue
    access_links: AccessLinks
    reconciliation: Reconciliation
    billing: Billing
    simulators: SimulatorControl | None = None
    calendar: SimulatedCalendar | None = None
    letters: OutboxLetters | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """What the pages work with."""

    subsystems: Subsystems
    settings: ConsoleSettings
    accounts: Accounts
    passwords: Passwords
    sessions: SessionKeeping
    devices: KnownDevices
    second_factors: SecondFactors
    renderer: Renderer

    def page(
        self, request: PageRequest, template: str, *, status: int = OK, **values: object
    ) -> Response:
        """Return a template, filled with values, in the language of the visit."""
        return html(self.renderer.render(request, template, **values), status=status)
