"""The dependencies of the pages: platform, settings, sessions and renderer.

Pages make no decisions: they call the same functions of the same subsystems as the API.

Rule a change must keep: a page reaches a subsystem through the platform and never builds one.
"""

import msgspec

from caas.billing_database.accounts import Accounts
from caas.billing_database.sessions import SecondFactors
from caas.billing_database.simulated_calendar import SimulatedCalendar
from caas.console.passwords import Passwords
from caas.console.rendering import Renderer
from caas.console.request import PageRequest
from caas.console.session_keeping import KnownDevices, SessionKeeping
from caas.console.settings import ConsoleSettings
from caas.external_systems.local_outbox import OutboxLetters
from caas.external_systems.simulator_control import SimulatorControl
from caas.platform import Platform
from caas.web.response import OK, Response, html


class Console(msgspec.Struct, frozen=True, kw_only=True):
    """The dependencies of the pages.

    `simulators` is set if partners are simulated, `calendar` if time is simulated too, and
    `letters` if messages are kept on this machine instead of being sent.
    """

    platform: Platform
    settings: ConsoleSettings
    accounts: Accounts
    passwords: Passwords
    sessions: SessionKeeping
    devices: KnownDevices
    second_factors: SecondFactors
    renderer: Renderer
    simulators: SimulatorControl | None = None
    calendar: SimulatedCalendar | None = None
    letters: OutboxLetters | None = None

    def page(
        self, request: PageRequest, template: str, *, status: int = OK, **values: object
    ) -> Response:
        """Return a page: the template with these values, in the language of the request."""
        return html(self.renderer.render(request, template, **values), status=status)
