"""A vehicle link to simulated vehicles in this process, for machines without a broker.

Topics, payloads, signatures, expiry and refusals are those of `iot_gateway`; one contract test
covers both.

Rules a change must keep: only bytes on topics pass in either direction; nothing survives the
process: the owner of a command sends it again.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from caas.external_systems import vehicle_messages
from caas.external_systems.acknowledgement_inbox import (
    AcknowledgementInbox,
    OnAcknowledgement,
    OnRefused,
    OnReturn,
)
from caas.external_systems.iot_gateway import VehicleLinkUnavailableError, seconds_to_deadline
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.external_systems.vehicle_messages import VehicleCommand


class VehiclesAtHand(Protocol):
    """Vehicles in this process: they receive requests and publish responses."""

    def attach(self, publish: Callable[[str, bytes], None]) -> None:
        """Publish responses through `publish(topic, payload)`."""

    def receive(self, topic: str, payload: bytes, expiry_seconds: float | None) -> None:
        """Receive a request."""


class InProcessVehicleLink:
    """The vehicles in this process."""

    def __init__(
        self,
        vehicles: VehiclesAtHand,
        *,
        now: Callable[[], datetime],
        command_keys: VehicleCommandKeys,
        on_refused: OnRefused,
    ) -> None:
        """Keep the vehicles."""
        self._vehicles = vehicles
        self._now = now
        self._command_keys = command_keys
        self._on_refused = on_refused
        self._inbox: AcknowledgementInbox | None = None

    @property
    def connected(self) -> bool:
        """Whether a command can be sent now."""
        return self._inbox is not None

    async def start(
        self,
        on_acknowledgement: OnAcknowledgement,
        on_return: OnReturn | None = None,  # noqa: ARG002 - the port's
    ) -> None:
        """Start listening; this link never reconnects."""
        assert self._inbox is None
        self._inbox = AcknowledgementInbox(on_acknowledgement, self._on_refused)
        self._vehicles.attach(self._receive)

    async def send(self, command: VehicleCommand) -> None:
        """Send the command to its vehicle.

        Raises:
            VehicleLinkUnavailableError: the link was not started, or is closed.
            CommandDeadlinePassedError: the deadline has passed.
        """
        seconds = seconds_to_deadline(command, self._now())
        if self._inbox is None:
            raise VehicleLinkUnavailableError(command_id=command.command_id)
        topic = vehicle_messages.request_topic(command.vin, command.command_id)
        payload = vehicle_messages.encode_command(command, self._command_keys)
        self._vehicles.receive(topic, payload, seconds)
        await asyncio.sleep(0)  # As on a network, the answer may be there before we return.

    async def end_sessions_of(self, processes: Sequence[str]) -> None:
        """Do nothing: there are no stored sessions."""

    async def close(self) -> None:
        """Stop listening."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            await inbox.close()

    def _receive(self, topic: str, payload: bytes) -> None:
        if self._inbox is not None:
            self._inbox.receive(topic, payload, _nothing_to_confirm)


def _nothing_to_confirm() -> None:
    """Do nothing: there is no broker."""
