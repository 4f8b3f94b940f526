"""Webhooks of a gateway or a partner: signed, at least once, in no guaranteed order.

The signature is that of Standard Webhooks; every active secret signs, so that secrets can be
rotated. The seed draws the gateway's as the settlement webhook of Diagram 4.

Rules a change must keep: an event is retried with growing waits until it gets 2xx or its attempts
are used up; event id and body never change between attempts; a scripted fault changes what is sent,
never what is stored.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from standardwebhooks import Webhook

from caas_simulators.faults import FORGER_SECRET, NO_ACTION, Action, Faults, Occasion
from caas_simulators.http_client import HttpClient, NoAnswerError
from caas_simulators.journal import Event
from caas_simulators.simulated_time import Clock

ATTEMPTS_MAX = 12
FIRST_WAIT_SECONDS = 1.0
WAIT_SECONDS_MAX = 300.0
ANSWER_SECONDS_MAX = 10.0
DELIVERIES_AT_ONCE_MAX = 64
SENT_LOG_MAX = 10_000
REORDER_HOLD_SECONDS_MAX = 2.0


class Target(msgspec.Struct):
    """The webhooks' URL, signing secrets, and wanted types (none: all)."""

    url: str | None = None
    secrets: list[str] = msgspec.field(default_factory=list)
    types: list[str] = msgspec.field(default_factory=list)


class Delivery(msgspec.Struct, eq=False):
    """An event being delivered, and the result of each attempt."""

    event: Event
    target: Target
    action: Action = NO_ACTION
    body: bytes = b""
    state: str = "waiting"
    answers: list[str] = msgspec.field(default_factory=list)
    attempted: asyncio.Event = msgspec.field(default_factory=asyncio.Event)


class WebhookSender:
    """Delivers events to their target."""

    def __init__(self, clock: Clock, faults: Faults, done: Callable[[Event], None]) -> None:
        """Call `done` for each event that needs no further attempt."""
        self._clock = clock
        self._faults = faults
        self._done = done
        self._client = HttpClient()
        self._queue: deque[Delivery] = deque()
        self._held: list[Delivery] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self.unfinished = 0
        self.undelivered: dict[str, Event] = {}
        self._all_arrived = asyncio.Event()
        self._all_arrived.set()
        self.sent: deque[Delivery] = deque(maxlen=SENT_LOG_MAX)
        self.count = 0

    def send(self, event: Event, target: Target) -> Delivery:
        """Start delivering an event; return at once."""
        delivery = Delivery(event, target, body=event.body.encode())
        self.count += 1
        self.sent.append(delivery)
        self.undelivered[event.id] = event
        if target.url is None or (target.types and event.type not in target.types):
            return self._finish(delivery, "not wanted")
        occasion = Occasion("webhook", event.reference, event_type=event.type)
        delivery.action = self._faults.take(occasion) or NO_ACTION
        if delivery.action.drop:
            return self._finish(delivery, "dropped")
        self._on_its_way(1)
        delivery.body = _scripted_body(delivery)
        self._schedule(delivery)
        return delivery

    def latest(self, count: int) -> list[Delivery]:
        """Return the last `count` started deliveries."""
        return list(self.sent)[-count:] if count else []

    async def idle(self, seconds_max: float) -> bool:
        """Wait until all deliveries ended; return whether they did in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_arrived.wait(), seconds_max)
        return not self.unfinished

    async def close(self) -> None:
        """Stop; undelivered events stay undelivered."""
        for timer in self._timers:
            timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._client.close()

    def _schedule(self, delivery: Delivery) -> None:
        action = delivery.action
        if action.reorder:
            self._hold(delivery, action.reorder)
        elif action.delay_ms:
            self._later(action.delay_ms / 1000, lambda: self._enqueue(delivery))
        else:
            self._enqueue(delivery)
        for _ in range(action.duplicate):
            self._copy(delivery, delivery.body)
        if action.other_body:
            self._copy(delivery, _changed(delivery.body, amount=True, currency=False))

    def _copy(self, delivery: Delivery, body: bytes) -> None:
        copy = Delivery(delivery.event, delivery.target, delivery.action, body)
        self.count += 1
        self._on_its_way(1)
        self.sent.append(copy)
        self._enqueue(copy)

    def _hold(self, delivery: Delivery, count: int) -> None:
        if not self._held:
            self._later(REORDER_HOLD_SECONDS_MAX, self._release_held)
        self._held.append(delivery)
        if len(self._held) >= count:
            self._release_held()

    def _release_held(self) -> None:
        while self._held:
            self._enqueue(self._held.pop())

    def _enqueue(self, delivery: Delivery) -> None:
        self._queue.append(delivery)
        self._start_more()

    def _start_more(self) -> None:
        while self._queue and len(self._tasks) < DELIVERIES_AT_ONCE_MAX:
            task = asyncio.get_running_loop().create_task(self._attempt(self._queue.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._attempt_over)

    def _attempt_over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._start_more()

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        def ring() -> None:
            self._timers.discard(timer)
            call()

        timer = asyncio.get_running_loop().call_later(seconds, ring)
        self._timers.add(timer)

    async def _attempt(self, delivery: Delivery) -> None:
        answer = await self._post(delivery)
        delivery.answers.append(answer)
        delivery.attempted.set()
        if answer.startswith("2"):
            self._on_its_way(-1)
            self._finish(delivery, "delivered")
        elif len(delivery.answers) >= ATTEMPTS_MAX:
            self._on_its_way(-1)
            self._finish(delivery, "given up")
        else:
            wait = FIRST_WAIT_SECONDS * 2.0 ** (len(delivery.answers) - 1)
            span = self._clock.span(min(wait, WAIT_SECONDS_MAX))
            self._later(span, lambda: self._enqueue(delivery))

    async def _post(self, delivery: Delivery) -> str:
        assert delivery.target.url is not None
        try:
            reply = await self._client.post(
                delivery.target.url,
                delivery.body,
                self._headers(delivery),
                seconds_max=ANSWER_SECONDS_MAX,
            )
        except NoAnswerError as error:
            return str(error)
        return str(reply.status)

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        age = delivery.action.old_timestamp_seconds
        signed_at = datetime.fromtimestamp(int(self._clock.machine_now()) - age, UTC)
        secrets = delivery.target.secrets
        if delivery.action.forged_signature:
            secrets = [FORGER_SECRET]
        text = delivery.body.decode()
        return {
            "content-type": "application/json",
            "webhook-id": delivery.event.id,
            "webhook-timestamp": str(int(signed_at.timestamp())),
            "webhook-signature": " ".join(
                Webhook(secret).sign(delivery.event.id, signed_at, text) for secret in secrets
            ),
        }

    def _on_its_way(self, change: int) -> None:
        self.unfinished += change
        if self.unfinished:
            self._all_arrived.clear()
        else:
            self._all_arrived.set()

    def _finish(self, delivery: Delivery, state: str) -> Delivery:
        delivery.state = state
        delivery.attempted.set()
        self.undelivered.pop(delivery.event.id, None)
        self._done(delivery.event)
        return delivery


def _scripted_body(delivery: Delivery) -> bytes:
    action = delivery.action
    if not (action.wrong_amount or action.wrong_currency or action.wrong_transaction):
        return delivery.body
    return _changed(
        delivery.body,
        amount=action.wrong_amount,
        currency=action.wrong_currency,
        transaction=action.wrong_transaction,
    )


def _changed(body: bytes, *, amount: bool, currency: bool, transaction: bool = False) -> bytes:
    value = msgspec.json.decode(body)
    reported = value["data"]
    if amount and "amount" in reported:
        reported["amount"] += 1
    if currency:
        reported["currency"] = "XXX"
    if transaction:
        reported["id"] = "txn_of_somebody_else"
        reported["reference"] = "reference-of-somebody-else"
    return msgspec.json.encode(value)
