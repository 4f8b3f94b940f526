"""The IoT gateway: sends commands to vehicles and receives acknowledgements (Diagrams 4 and 8).

"Send Activation Command" and "Activation Successful" of Diagram 4; arrows 2 and 3 of Diagram 8.
`VehicleLink` is the port that the OTA Activation Engine uses. `MqttVehicleLink` is its adapter for
any MQTT 5 broker, `in_process_vehicle_link` the one for a machine without a broker.
`ObservedVehicleLink` counts commands by result and measures their round trips; it does not time an
acknowledgement that another process received.

What the broker guarantees, and what it does not:

- The session (`clean_start` false, one client id per process) outlives a lost connection. An
  acknowledgement that we did not confirm is redelivered when the same client id reconnects, and
  only then; a failing handler is therefore retried here.
- Platform processes share the load with `$share/`. mosquitto keeps assigning a share to a dead
  member until its session ends (with one of two dead, the other gets 10 of 20 messages) and does
  not reassign it. Sessions are therefore short, and the process that detects a dead one ends its
  session before it sends the unanswered commands again (decision 142). The database, not the
  broker, records which commands are unanswered.
- A broker drops a command at its deadline; mosquitto counts whole seconds and may be one late.
- Acknowledgements of one command may be handled in any order, and twice.

Rules a change must keep:

- A message is confirmed to the broker only by the inbox, after it was handled.
- No command is sent unsigned (decision 105) or after its deadline; the broker drops it then.
- Nothing is resent here: the caller stores the command and its deadline.
- Observation changes no result and no error; at most `COMMANDS_REMEMBERED_MAX` commands wait for
  their answer to be timed.
"""

import asyncio
import functools
import math
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

import mqtt5
import structlog

from caas.errors import CaasError, RefusedError, UnavailableError
from caas.external_systems import mqtt_connection, vehicle_messages
from caas.external_systems.acknowledgement_inbox import (
    AcknowledgementInbox,
    OnAcknowledgement,
    OnRefused,
    OnReturn,
    growing_wait,
)
from caas.external_systems.mqtt_connection import MqttConnection
from caas.external_systems.mqtt_packets import (
    BrokerAddress,
    BrokerUnavailableError,
    MqttSession,
    Publication,
    UnconfirmedPublishError,
)
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.external_systems.vehicle_messages import (
    Acknowledgement,
    AcknowledgementStatus,
    VehicleCommand,
    verify_signature,
)
from caas.rules.durations import Durations

__all__ = [
    "Acknowledgement",
    "AcknowledgementStatus",
    "CommandDeadlinePassedError",
    "MqttVehicleLink",
    "VehicleCommand",
    "VehicleCommandUnconfirmedError",
    "VehicleLink",
    "VehicleLinkUnavailableError",
    "verify_signature",
]

SHARED_SUBSCRIPTION: Final = f"$share/caas/{vehicle_messages.ALL_RESPONSES}"
SESSION_EXPIRY_SECONDS: Final = 60
UNHANDLED_MAX: Final = 500
RECONNECT_WAIT_SECONDS: Final = (0.05, 10.0)
STEADY_SECONDS: Final = 10.0

_log = structlog.get_logger()


class VehicleLinkUnavailableError(UnavailableError):
    """The vehicles cannot be reached now; a command waits until they can."""

    code = "vehicle_link_unavailable"


class VehicleCommandUnconfirmedError(VehicleLinkUnavailableError):
    """The broker was lost before it confirmed the command; the vehicle may still receive it."""

    code = "vehicle_command_unconfirmed"


class CommandDeadlinePassedError(RefusedError):
    """The command's deadline has passed; it was not sent."""

    code = "command_deadline_passed"


class VehicleLink(Protocol):
    """The port to the vehicles; one adapter per transport."""

    async def start(
        self, on_acknowledgement: OnAcknowledgement, on_return: OnReturn | None = None
    ) -> None:
        """Start listening; a connection that fails is retried without limit.

        `on_return` is called each time the connection is restored.
        """

    async def send(self, command: VehicleCommand) -> None:
        """Send a command, once.

        Raises:
            VehicleLinkUnavailableError: it was not sent.
            VehicleCommandUnconfirmedError: it is not known whether it was sent.
            CommandDeadlinePassedError: its deadline has passed; it was not sent.
        """

    async def end_sessions_of(self, processes: Sequence[str]) -> None:
        """End the broker sessions of dead processes, named `host:pid`.

        Raises:
            VehicleLinkUnavailableError: the broker cannot be reached.
        """

    async def close(self) -> None:
        """Stop listening and disconnect."""


def client_id_of(process: str) -> str:
    """Return the client id of a process of the platform that is named `host:pid`."""
    return f"caas-{process.replace(':', '-')}"


def seconds_to_deadline(command: VehicleCommand, now: datetime) -> int:
    """Return how long the broker may keep the command, in whole seconds.

    Raises:
        CommandDeadlinePassedError: no time is left.
    """
    seconds = math.ceil((command.deadline - now).total_seconds())
    if seconds <= 0:
        raise CommandDeadlinePassedError(command_id=command.command_id)
    return seconds


class MqttVehicleLink:
    """The vehicles behind an MQTT 5 broker."""

    def __init__(  # noqa: PLR0913  # where, as whom, and what the caller lends
        self,
        url: str,
        *,
        client_id: str,
        now: Callable[[], datetime],
        command_keys: VehicleCommandKeys,
        on_refused: OnRefused,
        session_expiry_seconds: int = SESSION_EXPIRY_SECONDS,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        """Store the broker's address; `client_id` is this process's own."""
        self._tls_context = tls_context
        self._address = BrokerAddress.from_url(url)
        self._session = MqttSession(
            client_id=client_id, expiry_seconds=session_expiry_seconds, unhandled_max=UNHANDLED_MAX
        )
        self._now = now
        self._command_keys = command_keys
        self._on_refused = on_refused
        self._inbox: AcknowledgementInbox | None = None
        self._on_return: OnReturn | None = None
        self._was_away = False
        self._returning: asyncio.Task[None] | None = None
        self._connection: MqttConnection | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._first_attempt = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether a command could be sent now."""
        return self._connection is not None

    async def start(
        self, on_acknowledgement: OnAcknowledgement, on_return: OnReturn | None = None
    ) -> None:
        """Connect, retrying in the background; returns after the first attempt."""
        assert self._keeping is None
        self._on_return = on_return
        self._inbox = AcknowledgementInbox(on_acknowledgement, self._on_refused)
        self._keeping = asyncio.get_running_loop().create_task(self._keep_connected())
        await self._first_attempt.wait()

    async def send(self, command: VehicleCommand) -> None:
        """Publish the command; returns when the broker has it.

        Raises:
            VehicleLinkUnavailableError: there is no broker, or no subscriber for this vehicle.
            VehicleCommandUnconfirmedError: the broker was lost before it confirmed.
            CommandDeadlinePassedError: the deadline has passed.
        """
        publication = Publication(
            topic=vehicle_messages.request_topic(command.vin, command.command_id),
            payload=vehicle_messages.encode_command(command, self._command_keys),
            expiry_seconds=seconds_to_deadline(command, self._now()),
            response_topic=vehicle_messages.response_topic(command.vin, command.command_id),
            correlation_data=command.command_id.encode(),
        )
        if self._connection is None:
            raise VehicleLinkUnavailableError(broker=repr(self._address))
        try:
            applied = await self._connection.publish(publication)
        except UnconfirmedPublishError as error:
            raise VehicleCommandUnconfirmedError(command_id=command.command_id) from error
        except BrokerUnavailableError as error:
            raise VehicleLinkUnavailableError(command_id=command.command_id) from error
        if not applied:
            raise VehicleLinkUnavailableError("The vehicle is not connected.", vin=command.vin)

    async def end_sessions_of(self, processes: Sequence[str]) -> None:
        """End the sessions of dead processes: a broker assigns them their share until then.

        Raises:
            VehicleLinkUnavailableError: the broker cannot be reached.
        """
        for client_id in {client_id_of(one) for one in processes} - {self._session.client_id}:
            session = MqttSession(
                client_id=client_id, expiry_seconds=0, unhandled_max=1, clean_start=True
            )
            try:
                connection = await mqtt_connection.connect(
                    self._address, session, _ignore, tls_context=self._tls_context
                )
            except BrokerUnavailableError as error:
                raise VehicleLinkUnavailableError(broker=repr(self._address)) from error
            await connection.close()
            _log.info("vehicle_link.session_ended", client_id=client_id)

    async def close(self) -> None:
        """Disconnect; acknowledgements in progress are abandoned and will be redelivered."""
        if self._keeping is None or self._inbox is None:
            return
        ending = [task for task in (self._keeping, self._returning) if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)
        await self._inbox.close()
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            began = loop.time()
            await self._live_one_connection()
            attempt = 0 if loop.time() - began > STEADY_SECONDS else attempt + 1
            await asyncio.sleep(growing_wait(attempt, RECONNECT_WAIT_SECONDS))

    async def _live_one_connection(self) -> None:
        try:
            connection = await self._connect()
        except BrokerUnavailableError as error:
            _log.warning("vehicle_link.unavailable", reason=error.sentence)
            self._was_away = True
            return
        finally:
            self._first_attempt.set()
        self._connection = connection
        _log.info("vehicle_link.connected", broker=repr(self._address))
        self._report_reconnect()
        reason = await connection.wait_until_lost()
        self._connection = None
        self._was_away = True
        _log.warning("vehicle_link.lost", reason=reason)

    def _report_reconnect(self) -> None:
        """Report once, in the background, that the broker is back; not at the first connection."""
        reported = self._returning is None or self._returning.done()
        if self._was_away and self._on_return is not None and reported:
            self._was_away = False
            self._returning = asyncio.ensure_future(self._on_return())

    async def _connect(self) -> MqttConnection:
        connection = await mqtt_connection.connect(
            self._address, self._session, self._receive, tls_context=self._tls_context
        )
        try:
            await connection.subscribe(SHARED_SUBSCRIPTION)
        except BaseException:
            connection.abort("the subscription did not come about")
            raise
        return connection

    def _receive(self, connection: MqttConnection, message: mqtt5.PublishPacket) -> None:
        if self._inbox is not None:
            confirm = functools.partial(_confirm, connection, message.packet_id)
            self._inbox.receive(message.topic, message.payload, confirm)


def _ignore(_connection: MqttConnection, _message: mqtt5.PublishPacket) -> None:
    """Do nothing: a session that is being ended has no subscriptions."""


def _confirm(connection: MqttConnection, packet_id: int | None) -> None:
    if packet_id is not None:
        connection.acknowledge(packet_id)


COMMANDS_REMEMBERED_MAX: Final = 10_000
BUCKETS_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SENT: Final = "sent"


class ObservedVehicleLink:
    """A vehicle link that counts its commands."""

    def __init__(self, link: VehicleLink) -> None:
        """Observe this link."""
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
        """Start listening, and measure the time until each acknowledgement."""

        async def applied(acknowledgement: Acknowledgement) -> None:
            sent_at = self._sent_at.get(acknowledgement.command_id)
            if sent_at is not None:
                status = acknowledgement.status.value.lower()
                self.round_trips.add(time.monotonic() - sent_at, status)
            await on_acknowledgement(acknowledgement)

        await self._link.start(applied, on_return)

    async def send(self, command: VehicleCommand) -> None:
        """Send a command, and count its result."""
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
        """End the broker sessions of dead processes."""
        await self._link.end_sessions_of(processes)

    async def close(self) -> None:
        """Stop listening and disconnect."""
        await self._link.close()

    def _remember(self, command_id: str, at: float) -> None:
        self._sent_at.pop(command_id, None)
        if len(self._sent_at) >= COMMANDS_REMEMBERED_MAX:
            del self._sent_at[next(iter(self._sent_at))]
        self._sent_at[command_id] = at
