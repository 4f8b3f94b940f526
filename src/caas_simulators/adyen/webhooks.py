"""Delivers the webhooks of the simulated Adyen: batches of items, each with its own signature.

Rule: a webhook that is not accepted is sent again, with the same items.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
from typing import Final

import msgspec

from caas_simulators.adyen.world import Json, World
from caas_simulators.faults import NO_ACTION, Action, Faults, Occasion
from caas_simulators.http_client import HttpClient, NoAnswerError

ANSWER_SECONDS_MAX: Final = 10.0
WAITS_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0, 120.0)
FORGER_KEY: Final = "00" * 32
SUCCESS: Final = 2


class Webhooks:
    """Sends what the account reports."""

    def __init__(self, world: World, faults: Faults) -> None:
        """Send to the address of the settings, as the scripted faults let it."""
        self._world = world
        self._faults = faults
        self._client = HttpClient()
        self._tasks: set[asyncio.Task[None]] = set()
        world.deliver = self.deliver

    def deliver(self, items: list[Json]) -> None:
        """Start to deliver items in one webhook."""
        settings = self._world.settings
        if settings.webhook_url is None:
            return
        occasion = Occasion("webhook", event_type=items[0]["eventCode"])
        action = self._faults.take(occasion) or NO_ACTION
        if action.drop:
            return
        keys = [FORGER_KEY] if action.forged_signature else settings.hmac_keys
        body = msgspec.json.encode(notification(items, keys[0]))
        for _ in range(1 + action.duplicate):
            task = asyncio.get_running_loop().create_task(
                self._send(settings.webhook_url, body, action)
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, url: str, body: bytes, action: Action) -> None:
        await asyncio.sleep(action.delay_ms / 1000)
        headers = {"content-type": "application/json; charset=utf-8"}
        for wait_seconds in (*WAITS_SECONDS, None):
            try:
                reply = await self._client.post(url, body, headers, seconds_max=ANSWER_SECONDS_MAX)
            except NoAnswerError:
                pass
            else:
                if reply.status // 100 == SUCCESS:
                    return
            if wait_seconds is None:
                return
            await asyncio.sleep(wait_seconds)

    async def close(self) -> None:
        """Stop sending."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._client.close()


def notification(items: list[Json], key: str) -> Json:
    """Return the body of a webhook with these items, signed with an HMAC key in hexadecimal."""
    return {
        "live": "false",
        "notificationItems": [{"NotificationRequestItem": _signed(item, key)} for item in items],
    }


def _signed(item: Json, key: str) -> Json:
    parts = [
        item["pspReference"], item.get("originalReference", ""), item["merchantAccountCode"],
        item["merchantReference"], item["amount"]["value"], item["amount"]["currency"],
        item["eventCode"], item["success"],
    ]  # fmt: skip
    text = ":".join(str(part) for part in parts).encode()
    mac = hmac.new(binascii.a2b_hex(key), text, hashlib.sha256).digest()
    signature = base64.b64encode(mac).decode()
    return item | {"additionalData": {**item["additionalData"], "hmacSignature": signature}}
