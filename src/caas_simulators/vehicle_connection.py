"""The simulated vehicles' telecom gateway (Diagram 4): MQTT 5 sessions.

Rules a change must keep:

- It subscribes to every vehicle's requests with QoS 1 and confirms a request when the car has it.
- Answers are published with QoS 1, never more unconfirmed ones than the broker allows; those not
  confirmed when a connection is lost are sent again on the next one.
- It reconnects by itself; the broker stores requests meanwhile.
"""

import asyncio
import contextlib
from collections import deque
from typing import cast
from urllib.parse import unquote, urlsplit

import mqtt5

from caas_simulators.vehicle_fleet import Fleet

REQUESTS = "caas/v1/vehicles/+/commands/+/request"
SESSION_EXPIRY_SECONDS = 3600
KEEP_ALIVE_SECONDS = 20
RECONNECT_SECONDS = 0.2
START_SECONDS_MAX = 20.0
ANSWERS_WAITING_MAX = 100_000
RECEIVE_MAX = 1000
PACKET_ID_MAX = 65_535


class BrokerAwayError(Exception):
    """The broker is not there, or does not let the vehicles in."""


class Gateway:
    """Passes requests to a fleet and returns its answers; reconnects as needed."""

    def __init__(self, url: str, fleet: Fleet, *, client_id: str) -> None:
        """Connect the broker at `url` and the fleet."""
        self._url = urlsplit(url)
        self._fleet = fleet
        self._client_id = client_id
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=ANSWERS_WAITING_MAX)
        self._connection: _Connection | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.subscribed = asyncio.Event()
        fleet.attach(self._publish)

    async def start(self) -> None:
        """Connect and subscribe.

        Raises:
            BrokerAwayError: no broker accepted the connection for a while.
        """
        self._keeping = asyncio.get_running_loop().create_task(self._keep_connected())
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                await self.subscribed.wait()
        except TimeoutError as error:
            await self.close()
            raise BrokerAwayError from error

    async def close(self) -> None:
        """Disconnect."""
        if self._keeping is None:
            return
        self._keeping.cancel()
        await asyncio.wait((self._keeping,))
        if self._connection is not None:
            self._connection.leave()
            await self._connection.lost.wait()

    def _publish(self, topic: str, payload: bytes) -> None:
        self._waiting.append((topic, payload))
        if self._connection is not None:
            self._connection.pump()

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._fleet, self._waiting, self.subscribed),
                    self._url.hostname or "127.0.0.1",
                    self._url.port or 1883,
                )
                connection.introduce(
                    self._client_id,
                    unquote(self._url.username or ""),
                    unquote(self._url.password or ""),
                )
                self._connection = connection
                await connection.lost.wait()
                self._connection = None
                self.subscribed.clear()
            await asyncio.sleep(RECONNECT_SECONDS)


class _Connection(asyncio.Protocol):
    """One connection of the gateway."""

    def __init__(
        self, fleet: Fleet, waiting: deque[tuple[str, bytes]], subscribed: asyncio.Event
    ) -> None:
        self._fleet = fleet
        self._waiting = waiting
        self._subscribed = subscribed
        self._unconfirmed: dict[int, tuple[str, bytes]] = {}
        self._window = 0
        self._packet_id = 0
        self._unread = b""
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport
        self._pinging: asyncio.TimerHandle | None = None
        self.lost = asyncio.Event()

    def introduce(self, client_id: str, username: str, password: str) -> None:
        """Send CONNECT, resuming the session."""
        packet = mqtt5.ConnectPacket(
            client_id,
            username=username or None,
            password=password.encode() or None,
            clean_start=False,
            keep_alive=KEEP_ALIVE_SECONDS,
            session_expiry_interval=SESSION_EXPIRY_SECONDS,
            receive_max=RECEIVE_MAX,
        )
        self._send(packet.write())

    def leave(self) -> None:
        """Send pending answers, then DISCONNECT."""
        self._send(mqtt5.DisconnectPacket().write())
        self._flush()
        self._transport.close()

    def pump(self) -> None:
        """Send answers while the broker's window is open."""
        while self._waiting and len(self._unconfirmed) < self._window:
            topic, payload = self._waiting.popleft()
            packet_id = self._next_packet_id()
            self._unconfirmed[packet_id] = (topic, payload)
            packet = mqtt5.PublishPacket(
                topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id
            )
            self._send(packet.write())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport; uvloop's does not inherit from `asyncio.Transport`."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Queue unconfirmed answers again, in order."""
        del exc
        self._window = 0
        self._waiting.extendleft(reversed(self._unconfirmed.values()))
        if self._pinging is not None:
            self._pinging.cancel()
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        """Handle every complete packet; buffer the rest."""
        received = self._unread + data if self._unread else data
        view, at = memoryview(received), 0
        while at < len(received):
            try:
                packet, length = mqtt5.read(view[at:])
            except IndexError:
                break
            at += length
            self._take_in(packet)
        self._unread = received[at:]

    def _take_in(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.PublishPacket():
                self._fleet.receive(packet.topic, packet.payload, packet.message_expiry_interval)
                if packet.packet_id is not None:
                    self._send(mqtt5.PubAckPacket(packet.packet_id).write())
            case mqtt5.PubAckPacket():
                self._unconfirmed.pop(packet.packet_id, None)
                self.pump()
            case mqtt5.ConnAckPacket():
                self._welcomed(packet)
            case mqtt5.SubAckPacket():
                self._subscribed.set()
            case _:
                pass

    def _welcomed(self, packet: mqtt5.ConnAckPacket) -> None:
        if packet.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            self._transport.abort()
            return
        requests = mqtt5.TopicFilter(REQUESTS, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
        self._send(mqtt5.SubscribePacket(self._next_packet_id(), [requests]).write())
        self._window = packet.receive_max
        self.pump()
        self._ping()

    def _ping(self) -> None:
        self._send(mqtt5.PingReqPacket().write())
        loop = asyncio.get_running_loop()
        self._pinging = loop.call_later(KEEP_ALIVE_SECONDS / 2, self._ping)

    def _next_packet_id(self) -> int:
        while True:
            self._packet_id = self._packet_id % PACKET_ID_MAX + 1
            if self._packet_id not in self._unconfirmed:
                return self._packet_id

    def _send(self, packet: bytes) -> None:
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(packet)

    def _flush(self) -> None:
        if self._unsent and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()
