"""Delivers acknowledgements from the vehicle link to their handler.

"Activation Successful" of Diagram 4; arrow 3 of Diagram 8. Both vehicle links use it.

Rules a change must keep:

- A message is confirmed to the broker only after `on_acknowledgement` returned, or after
  `on_refused` was called (which must not raise).
- A failing handler is retried a limited number of times with growing waits, because MQTT redelivers
  only on the next connection.
- No message stops the listener. Acknowledgements are handled concurrently, in any order.
"""

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from typing import Final

from caas.external_systems import vehicle_messages
from caas.external_systems.vehicle_messages import (
    Acknowledgement,
    MalformedAcknowledgementError,
    Unusable,
)

ATTEMPTS_MAX: Final = 10
WAIT_SECONDS: Final = (0.1, 30.0)

OnAcknowledgement = Callable[[Acknowledgement], Awaitable[None]]
OnReturn = Callable[[], Awaitable[None]]
OnRefused = Callable[[str, Unusable, str], None]
"""Called with the topic, the reason for counting, and a description."""
Confirm = Callable[[], None]


class AcknowledgementInbox:
    """Decodes messages, runs their handler and confirms them."""

    def __init__(self, on_acknowledgement: OnAcknowledgement, on_refused: OnRefused) -> None:
        """Use these handlers for valid and invalid messages."""
        self._on_acknowledgement = on_acknowledgement
        self._on_refused = on_refused
        self._handling: set[asyncio.Future[None]] = set()
        self._closed = False

    def receive(self, topic: str, payload: bytes, confirm: Confirm) -> None:
        """Handle one message from a response topic."""
        try:
            acknowledgement = vehicle_messages.decode_acknowledgement(topic, payload)
        except MalformedAcknowledgementError as error:
            self._on_refused(topic, error.reason, error.sentence)
            confirm()
            return
        self._handle(acknowledgement, confirm, 0)

    async def close(self) -> None:
        """Cancel running handlers; unconfirmed messages are redelivered."""
        self._closed = True
        handling = tuple(self._handling)
        for task in handling:
            task.cancel()
        if handling:
            await asyncio.wait(handling)

    def _handle(self, acknowledgement: Acknowledgement, confirm: Confirm, attempt: int) -> None:
        if self._closed:
            return
        task = asyncio.ensure_future(self._on_acknowledgement(acknowledgement))
        self._handling.add(task)
        task.add_done_callback(functools.partial(self._handled, acknowledgement, confirm, attempt))

    def _handled(
        self,
        acknowledgement: Acknowledgement,
        confirm: Confirm,
        attempt: int,
        task: "asyncio.Future[None]",
    ) -> None:
        self._handling.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            confirm()
        elif attempt + 1 < ATTEMPTS_MAX:
            wait_seconds = growing_wait(attempt, WAIT_SECONDS)
            again = functools.partial(self._handle, acknowledgement, confirm, attempt + 1)
            task.get_loop().call_later(wait_seconds, again)
        else:
            topic = vehicle_messages.response_topic(acknowledgement.vin, acknowledgement.command_id)
            sentence = f"Given up after {ATTEMPTS_MAX} attempts: {error!r}"
            self._on_refused(topic, Unusable.GIVEN_UP, sentence)
            confirm()


def growing_wait(attempt: int, bounds_seconds: tuple[float, float]) -> float:
    """Return the wait after this attempt: exponential, bounded and randomised."""
    first, longest = bounds_seconds
    doubled = min(longest, first * 2.0 ** min(attempt, 30))
    return doubled * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not security
