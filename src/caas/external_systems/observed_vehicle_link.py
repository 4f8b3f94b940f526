"""The link to the vehicles with a counter: commands by what became of them, and their round trips.

Rules a change must keep: whatever the link answers or fails with passes through unchanged; at most
`COMMANDS_REMEMBERED_MAX` commands wait here for their answer. An answer that another process
received is not timed.
"""

import time
from collections.abc import Sequence
from typing import Final

from caas.errors import CaasError
from caas.external_systems.acknowledgement_inbox import OnAcknowledgement, OnReturn
from caas.external_systems.iot_gateway import VehicleLink
from caas.external_systems.vehicle_messages import Acknowledgement, VehicleCommand
from caas.rules.durations import Durations

COMMANDS_REMEMBERED_MAX: Final = 10_000
BUCKETS_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SENT: Final = "sent"


class ObservedVehicleLink:
    """A vehicle link whose commands are counted."""

    def __init__(self, link: VehicleLink) -> None:
        """Send over this link."""
        self._link = link
        self._sent_at: dict[str, float] = {}
        self.sent: dict[str, int] = {}
        self.round_trips = Durations(BUCKETS_SECONDS)

    @property
    def connected(self) -> bool:
        """Whether a command could be sent now."""
        return bool(getattr(self._link, "connected", True))

    async def start(
        self, on_acknowledgement: OnAcknowledgement, on_return: OnReturn | None = None
    ) -> None:
        """Listen from now on, and time what is heard."""

        async def applied(acknowledgement: Acknowledgement) -> None:
            sent_at = self._sent_at.get(acknowledgement.command_id)
            if sent_at is not None:
                status = acknowledgement.status.value.lower()
                self.round_trips.add(time.monotonic() - sent_at, status)
            await on_acknowledgement(acknowledgement)

        await self._link.start(applied, on_return)

    async def send(self, command: VehicleCommand) -> None:
        """Hand a command over, and count what became of it."""
        result = SENT
        self._remember(command.command_id, time.monotonic())
        try:
            await self._link.send(command)
        except CaasError as error:
            result = error.code
            raise
        finally:
            self.sent[result] = self.sent.get(result, 0) + 1

    async def end_sessions_of(self, processes: Sequence[str]) -> None:
        """End what dead processes still receive in their names."""
        await self._link.end_sessions_of(processes)

    async def close(self) -> None:
        """Stop listening and leave in order."""
        await self._link.close()

    def _remember(self, command_id: str, at: float) -> None:
        self._sent_at.pop(command_id, None)
        if len(self._sent_at) >= COMMANDS_REMEMBERED_MAX:
            del self._sent_at[next(iter(self._sent_at))]
        self._sent_at[command_id] = at
