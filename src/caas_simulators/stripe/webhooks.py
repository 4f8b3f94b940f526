"""Webhook endpoints of the account, and the delivery of events to them.

Rules: an event is sent at least once, in no promised order, and again with growing waits until it
is answered 2xx; every attempt is signed anew over the time and the raw body.
"""

import asyncio
import hashlib
import hmac
from typing import Final

import msgspec

from caas_simulators.faults import FORGER_SECRET, NO_ACTION, Action, Faults, Occasion
from caas_simulators.http_client import HttpClient, NoAnswerError
from caas_simulators.stripe.parameters import EXPAND, LIST, METADATA, TEXT, Form
from caas_simulators.stripe.refusals import Json, invalid
from caas_simulators.stripe.shapes import shown
from caas_simulators.stripe.world import API_VERSION, World

ENDPOINT: Final[Form] = {
    **EXPAND, "url!": TEXT, "enabled_events!": [TEXT], "description": TEXT, "metadata": METADATA,
    "api_version": TEXT,
}  # fmt: skip
ENDPOINTS: Final[Form] = LIST
ENDPOINTS_MAX: Final = 16
WAITS_SECONDS: Final = (0.5, 2.0, 10.0, 60.0, 300.0, 900.0, 3600.0)
ANSWER_SECONDS_MAX: Final = 10.0
ENDPOINT_KIND: Final = "webhook_endpoint"


def create_endpoint(world: World, asked: Json) -> Json:
    """Make an endpoint; its secret is shown in this answer only.

    Raises:
        StripeRefusal: the address is none, or there are too many endpoints.
    """
    live = world.settings.livemode
    if not asked["url"].startswith("https://" if live else ("https://", "http://")):
        raise invalid("Invalid URL: an explicit scheme (such as https) must be provided.", "url",
                      "url_invalid")  # fmt: skip
    if asked.get("api_version", API_VERSION) != API_VERSION:
        raise invalid(f"Invalid API version: {asked['api_version']}", "api_version")
    if len(tuple(world.store.some(ENDPOINT_KIND))) >= ENDPOINTS_MAX:
        raise invalid("You have reached the maximum of 16 webhook endpoints.", "url")
    secret = "whsec_" + world.store.new_id("x")[2:]
    endpoint = world.new(
        ENDPOINT_KIND, "we", api_version=asked.get("api_version"), application=None,
        description=asked.get("description"), enabled_events=asked["enabled_events"],
        metadata=asked.get("metadata", {}), status="enabled", url=asked["url"], _secrets=[secret],
    )  # fmt: skip
    return {**endpoint, "secret": secret}


class Webhooks:
    """Delivers the events of an account."""

    def __init__(self, world: World, faults: Faults) -> None:
        """Send to the endpoints of this account, as the scripted faults let it."""
        self._world = world
        self._faults = faults
        self._client = HttpClient()
        self._tasks: set[asyncio.Task[None]] = set()
        world.deliver = self.deliver

    @property
    def unfinished(self) -> int:
        """How many deliveries are under way or wait for another attempt."""
        return len(self._tasks)

    def deliver(self, event: Json) -> None:
        """Start to deliver an event to each endpoint that wants it."""
        if self._world.settings.webhook_url is not None:
            self._begin(event, self._world.settings.webhook_url,
                        self._world.settings.webhook_secrets)  # fmt: skip
        for endpoint in self._world.store.some(ENDPOINT_KIND, status="enabled"):
            wanted = endpoint["enabled_events"]
            if "*" in wanted or event["type"] in wanted:
                self._begin(event, endpoint["url"], endpoint["_secrets"])

    def _begin(self, event: Json, url: str, secrets: list[str]) -> None:
        occasion = Occasion("webhook", event_type=event["type"])
        action = self._faults.take(occasion) or NO_ACTION
        if action.drop:
            return
        body = msgspec.json.encode(shown(self._world.store, event))
        for _ in range(1 + action.duplicate):
            task = asyncio.get_running_loop().create_task(self._send(url, secrets, body, action))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, url: str, secrets: list[str], body: bytes, action: Action) -> None:
        await asyncio.sleep(action.delay_ms / 1000)
        signing = [FORGER_SECRET] if action.forged_signature else secrets
        for wait_seconds in (*WAITS_SECONDS, None):
            at = int(self._world.clock.machine_now()) - action.old_timestamp_seconds
            headers = {"content-type": "application/json; charset=utf-8",
                       "stripe-signature": signature(signing, body, at)}  # fmt: skip
            try:
                reply = await self._client.post(url, body, headers, seconds_max=ANSWER_SECONDS_MAX)
            except NoAnswerError:
                pass
            else:
                if reply.status // 100 == 2:  # noqa: PLR2004 - any success
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


def signature(secrets: list[str], body: bytes, at: int) -> str:
    """Return the Stripe-Signature of a body, with one v1 for each secret that is active."""
    signed = str(at).encode() + b"." + body
    macs = (hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join((f"t={at}", *(f"v1={mac}" for mac in macs)))
