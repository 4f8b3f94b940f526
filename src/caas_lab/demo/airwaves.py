"""The messages between the IoT gateway and the vehicles, heard by one more subscriber.

Seed: "Send Activation Command", "Configuration Applied" (Diagram 4).

Rule a change must keep: listening takes no message from anybody, so it is no shared subscription.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import mqtt5
import msgspec

from caas import app
from caas.external_systems import mqtt_connection
from caas.external_systems.mqtt_connection import MqttConnection
from caas.external_systems.mqtt_packets import BrokerAddress, Session

EVERYTHING: Final = "caas/v1/vehicles/+/commands/+/+"
UNHANDLED_MAX: Final = 1000
_VIN: Final = re.compile(r"caas/v1/vehicles/([^/]+)/")


@dataclass(frozen=True, slots=True)
class Message:
    """Something said to a vehicle, or by one."""

    at: datetime
    vin: str
    said: dict[str, Any]


class Airwaves:
    """Hears everything and keeps it."""

    def __init__(self) -> None:
        """Have heard nothing yet."""
        self.messages: list[Message] = []
        self._connection: MqttConnection | None = None

    async def listen(self, broker_url: str) -> None:
        """Begin to hear what goes through this broker."""
        session = Session(client_id="caas-demo", expiry_seconds=0, unhandled_max=UNHANDLED_MAX)
        address = BrokerAddress.from_url(broker_url)
        self._connection = await mqtt_connection.connect(address, session, self._heard)
        await self._connection.subscribe(EVERYTHING)

    async def close(self) -> None:
        """Hear no more."""
        if self._connection is not None:
            await self._connection.close()

    def _heard(self, connection: MqttConnection, packet: mqtt5.PublishPacket) -> None:
        if packet.packet_id is not None:
            connection.acknowledge(packet.packet_id)
        vin = _VIN.match(packet.topic)
        if vin is not None:
            said = msgspec.json.decode(bytes(packet.payload or b"{}"))
            self.messages.append(Message(app.now(), vin[1], said))
