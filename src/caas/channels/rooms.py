"""The rooms of the house that the channels open onto, and what the channels keep for themselves.

Pages decide nothing: they call the same functions of the same rooms as the API does.

Rule a change must keep: a page reaches a room through here and never builds one.
"""

from dataclasses import dataclass

from caas.access_links import AccessLinks
from caas.billing import Billing
from caas.billing.invoices import Invoices
from caas.billing_database.accounts import Accounts
from caas.billing_database.books import Books
from caas.billing_database.movable_calendar import MovableCalendar
from caas.billing_database.second_factors import SecondFactors
from caas.channels.known_devices import KnownDevices
from caas.channels.passwords import Passwords
from caas.channels.rendering import Renderer
from caas.channels.session_keeping import SessionKeeping
from caas.channels.settings import ChannelSettings
from caas.channels.visit import Visit
from caas.external_systems.outbox_letters import OutboxLetters
from caas.external_systems.simulator_control import SimulatorControl
from caas.notifications import Notifications
from caas.open_work import OpenWork
from caas.order_management import OrderManagement
from caas.ota_activation_engine import OtaActivationEngine
from caas.payment_processing import PaymentProcessing
from caas.payment_processing.reconciliation import Reconciliation
from caas.service_catalog import ServiceCatalog
from caas.service_catalog.subscriptions import Subscriptions
from caas.service_catalog.usage import Usage
from caas.web.response import OK, Response, html


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """The subsystems of Diagram 1, each built once.

    `simulators` where partners are simulated; `calendar` where the world is, time and all;
    `letters` where messages stay on this machine instead of being sent.
    """

    books: Books
    payment_processing: PaymentProcessing
    order_management: OrderManagement
    service_catalog: ServiceCatalog
    subscriptions: Subscriptions
    usage: Usage
    ota_activation_engine: OtaActivationEngine
    invoices: Invoices
    notifications: Notifications
    open_work: OpenWork
    access_links: AccessLinks
    reconciliation: Reconciliation
    billing: Billing
    simulators: SimulatorControl | None = None
    calendar: MovableCalendar | None = None
    letters: OutboxLetters | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """What the pages work with."""

    rooms: Rooms
    settings: ChannelSettings
    accounts: Accounts
    passwords: Passwords
    sessions: SessionKeeping
    devices: KnownDevices
    second_factors: SecondFactors
    renderer: Renderer

    def page(self, visit: Visit, template: str, *, status: int = OK, **values: object) -> Response:
        """Return a template, filled with values, in the language of the visit."""
        return html(self.renderer.render(visit, template, **values), status=status)
