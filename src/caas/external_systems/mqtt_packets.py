"""MQTT 5 addresses, sessions and packets, and the errors of a broker connection.

For the IoT Gateway of Diagram 4; `mqtt_connection` sends the packets.

Rules a change must keep:

- A password never appears in a repr or an error.
- A session outlives its connection (`clean_start` false), except one that is to be ended; a message
  is never retained.
- Pure: no socket, no clock.
"""

from typing import Final
from urllib.parse import unquote, urlsplit

import mqtt5
import msgspec

from caas.errors import StartupError, UnavailableError

KEEP_ALIVE_SECONDS: Final = 20
PACKET_BYTES_MAX: Final = 16 * 1024

_DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class BrokerUnavailableError(UnavailableError):
    """The MQTT broker cannot be reached; nothing was sent."""

    code = "broker_unavailable"


class BrokerRefusedError(BrokerUnavailableError):
    """The MQTT broker answered and rejected our connection, such as for its password."""


class UnconfirmedPublishError(UnavailableError):
    """The MQTT broker did not confirm a message; it may have taken it all the same."""

    code = "unconfirmed_publish"


class BrokerAddress(msgspec.Struct, frozen=True):
    """The broker's address and our login."""

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None

    @classmethod
    def from_url(cls, url: str) -> "BrokerAddress":
        """Read `mqtt://user:password@host:port`, or `mqtts://` for TLS.

        Raises:
            StartupError: the address has neither form.
        """
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise StartupError("A broker's address looks like mqtt://host:1883 or mqtts://host.")
        return cls(
            host=parts.hostname,
            port=parts.port or _DEFAULT_PORTS[parts.scheme],
            tls=parts.scheme == "mqtts",
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )

    def __repr__(self) -> str:
        """Hide the password."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


class MqttSession(msgspec.Struct, frozen=True, kw_only=True):
    """Our client id, and how long the broker keeps messages while we are disconnected."""

    client_id: str
    expiry_seconds: int
    unhandled_max: int
    clean_start: bool = False


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """A message to publish at least once, with the properties of a command."""

    topic: str
    payload: bytes
    expiry_seconds: int
    response_topic: str
    correlation_data: bytes


def connect_packet(address: BrokerAddress, session: MqttSession) -> bytes:
    """Return CONNECT, which resumes our session unless a clean start is requested."""
    return mqtt5.ConnectPacket(
        session.client_id,
        username=address.username,
        password=address.password.encode() if address.password is not None else None,
        clean_start=session.clean_start,
        keep_alive=KEEP_ALIVE_SECONDS,
        session_expiry_interval=session.expiry_seconds,
        receive_max=session.unhandled_max,
        max_packet_size=PACKET_BYTES_MAX,
    ).write()


def publish_packet(publication: Publication, packet_id: int) -> bytes:
    """Return PUBLISH with QoS 1, not retained."""
    return mqtt5.PublishPacket(
        publication.topic,
        publication.payload,
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        packet_id=packet_id,
        message_expiry_interval=publication.expiry_seconds,
        response_topic=publication.response_topic,
        correlation_data=publication.correlation_data,
    ).write()
