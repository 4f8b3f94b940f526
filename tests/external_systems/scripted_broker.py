"""An MQTT 5 broker that does to a client what a test tells it to.

Rules: it greets every client unless told otherwise; what came stays in `packets`.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import mqtt5

Reaction = Callable[["Client", mqtt5.PublishPacket], None]


@dataclass(slots=True)
class ScriptedBroker:
    """Where it listens, how it takes a message, what it has seen."""

    on_publish: Reaction
    receive_max: int = 1000
    port: int = 0
    packets: list[mqtt5.Packet] = field(default_factory=list)
    clients: list["Client"] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address a client connects to."""
        return f"mqtt://127.0.0.1:{self.port}"


class Client(asyncio.Protocol):
    """One client's connection, seen from the broker."""

    def __init__(self, broker: ScriptedBroker) -> None:
        """Enter the broker's list."""
        self._broker = broker
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._broker.clients.append(self)

    def data_received(self, data: bytes) -> None:
        """React to every packet; tests send none in pieces."""
        view, at = memoryview(data), 0
        while at < len(data):
            packet, length = mqtt5.read(view[at:])
            at += length
            self._broker.packets.append(packet)
            self._react(packet)

    def send(self, packet: mqtt5.Packet) -> None:
        """Send a packet to the client."""
        self.transport.write(packet.write())

    def _react(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.ConnectPacket():
                self.send(mqtt5.ConnAckPacket(receive_max=self._broker.receive_max))
            case mqtt5.SubscribePacket():
                granted = mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE
                self.send(mqtt5.SubAckPacket(packet.packet_id, [granted]))
            case mqtt5.PublishPacket():
                self._broker.on_publish(self, packet)
            case _:
                pass


@contextlib.asynccontextmanager
async def scripted_broker(
    broker: ScriptedBroker, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedBroker]:
    """Listen until the block is left."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(broker), "127.0.0.1", broker.port, ssl=tls)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        for client in broker.clients:
            client.transport.abort()
        await server.wait_closed()


def confirm(client: Client, packet: mqtt5.PublishPacket) -> None:
    """Take the message as any broker does."""
    assert packet.packet_id is not None
    client.send(mqtt5.PubAckPacket(packet.packet_id))


def hang_up(client: Client, packet: mqtt5.PublishPacket) -> None:
    """Read the message, then drop the connection without a word."""
    del packet
    client.transport.abort()


def keep_silent(client: Client, packet: mqtt5.PublishPacket) -> None:
    """Read the message and never answer."""
    del client, packet


def find_nobody(client: Client, packet: mqtt5.PublishPacket) -> None:
    """Take the message, though nobody is subscribed to it."""
    assert packet.packet_id is not None
    nobody = mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS
    client.send(mqtt5.PubAckPacket(packet.packet_id, reason_code=nobody))


def refuse(client: Client, packet: mqtt5.PublishPacket) -> None:
    """Refuse the message."""
    assert packet.packet_id is not None
    quota = mqtt5.PubAckReasonCode.QUOTA_EXCEEDED
    client.send(mqtt5.PubAckPacket(packet.packet_id, reason_code=quota))


def talk_nonsense(client: Client, packet: mqtt5.PublishPacket) -> None:
    """Answer with bytes that are no MQTT packet."""
    del packet
    client.transport.write(b"\x00\x01\x00HTTP/1.1 200 OK\r\n\r\n")
