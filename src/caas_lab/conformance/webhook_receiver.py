"""Receives the webhooks of the gateway under test, as they come.

Rule a change must keep: a webhook is answered before anything is done with it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from caas_lab.conformance.cases import NotConformingError
from caas_simulators.http_server import Answer, Request, listening

WEBHOOKS_MAX: Final = 10_000


class ReceivedWebhook(msgspec.Struct, frozen=True):
    """A webhook: its bytes, and its headers by their name in lower case."""

    body: bytes
    headers: dict[str, str]


class WebhookReceiver:
    """Keeps the webhooks that have come."""

    def __init__(self, seconds_max: float) -> None:
        """Wait this long for a webhook."""
        self._seconds_max = seconds_max
        self._came = asyncio.Event()
        self.received: list[ReceivedWebhook] = []

    def handle(self, request: Request) -> Answer:
        """Take a webhook."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in request.headers.items()
        }
        if len(self.received) < WEBHOOKS_MAX:
            self.received.append(ReceivedWebhook(request.body, headers))
        self._came.set()
        return Answer(204)

    async def wait_for(
        self, wanted: Callable[[ReceivedWebhook], bool], *, what: str, since: int = 0
    ) -> ReceivedWebhook:
        """Return the first webhook of this kind, without those that had come by `since`.

        Raises:
            NotConformingError: none comes in time.
        """
        try:
            async with asyncio.timeout(self._seconds_max):
                while True:
                    self._came.clear()
                    for webhook in self.received[since:]:
                        if wanted(webhook):
                            return webhook
                    await self._came.wait()
        except TimeoutError:
            raise NotConformingError(
                f"No webhook about {what} came within {self._seconds_max:.0f} s; "
                f"{len(self.received)} others did."
            ) from None


@asynccontextmanager
async def receiving(port: int, *, seconds_max: float) -> AsyncIterator[WebhookReceiver]:
    """Listen for webhooks on a port of this machine during the block."""
    receiver = WebhookReceiver(seconds_max)
    async with listening(receiver.handle, port=port):
        yield receiver
