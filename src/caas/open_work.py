"""Everything that must still happen: whoever is free does what is due.

The happy path does its next step at once; the row of open work is the safety net behind it. Any
number of workers on any number of machines share the rows; a handler looks at the whole state and
does the next thing, so that running it twice, late or elsewhere is harmless.

Rules a change must keep: dispatch is by kind and nothing else; a handler that fails is tried again
with growing waits and then parked with a case, never dropped; the loop itself never ends by an
error of a handler.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from caas.billing_database.cases import Cases
from caas.billing_database.due_work import DueWork, DueWorkRows
from caas.errors import UnavailableError
from caas.rules.pace import Pace

LEASE_SECONDS: Final = 60.0
LOOK_AGAIN_SECONDS: Final = 1.0
LOOK_AGAIN_SECONDS_MIN: Final = 0.01
AT_ONCE_MAX: Final = 64
BACKOFF_SECONDS: Final = 2.0
BACKOFF_SECONDS_MAX: Final = 300.0
ATTEMPTS_MAX: Final = 8
PARKED: Final = "open_work_parked"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing of this kind is left to do for the subject."""


@dataclass(frozen=True, slots=True)
class Again:
    """Come back in `due_in` real seconds; that is no failure."""

    due_in: float
    because: str | None = None
    payload: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Park:
    """A person must look; a case is opened."""

    because: str


Answer = Done | Again | Park
Handler = Callable[[DueWork], Awaitable[Answer]]


class OpenWork:
    """The workers' side of the open work table."""

    def __init__(self, rows: DueWorkRows, cases: Cases, pace: Pace) -> None:
        """Claim from these rows, waiting at this pace."""
        self._rows = rows
        self._cases = cases
        self._pace = pace
        self._handlers: dict[str, Handler] = {}
        self._wake = asyncio.Event()

    @property
    def rows(self) -> DueWorkRows:
        """The table, for whoever adds work."""
        return self._rows

    def register(self, kind: str, handler: Handler) -> None:
        """Let `handler` do the work of this kind; one handler a kind."""
        assert kind not in self._handlers, f"{kind} has a handler already"
        self._handlers[kind] = handler

    def wake(self) -> None:
        """Look at once: something became due."""
        self._wake.set()

    async def run(self) -> None:
        """Do what is due, until cancelled."""
        while True:
            self._wake.clear()
            try:
                busy = await self.run_due()
            except UnavailableError as error:
                _log.warning("open_work.database_unavailable", because=error.sentence)
                busy = 0
            if not busy:
                await self._rest()

    async def run_due(self) -> int:
        """Do everything that is due now, once; return how many pieces that were."""
        lease = max(self._pace.seconds(LEASE_SECONDS), 5.0)
        claimed = await self._rows.claim(
            list(self._handlers), lease_seconds=lease, rows_max=AT_ONCE_MAX
        )
        if claimed:
            ended = await asyncio.gather(*(self._do(work) for work in claimed))
            await self._rows.finish(
                [work for work, done in zip(claimed, ended, strict=True) if done]
            )
        return len(claimed)

    async def _rest(self) -> None:
        wait = LOOK_AGAIN_SECONDS
        try:
            until_next = await self._rows.seconds_to_next(list(self._handlers))
            if until_next is not None:
                wait = min(max(until_next, LOOK_AGAIN_SECONDS_MIN), LOOK_AGAIN_SECONDS)
        except UnavailableError:
            pass  # the next round says so
        try:
            async with asyncio.timeout(wait):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _do(self, work: DueWork) -> bool:
        """Run the handler; return whether the work is done."""
        try:
            answer = await self._handlers[work.kind](work)
        except UnavailableError as error:
            await self._put_off(work, because=error.sentence)
            return False
        except Exception as error:  # noqa: BLE001  # a bug in one handler must not stop the rest
            _log.exception("open_work.failed", kind=work.kind, subject=str(work.subject))
            if work.attempts >= ATTEMPTS_MAX:
                await self._park(work, f"{type(error).__name__}: {error}")
            else:
                await self._put_off(work, because=f"{type(error).__name__}: {error}")
            return False
        return await self._follow(work, answer)

    async def _follow(self, work: DueWork, answer: Answer) -> bool:
        match answer:
            case Done():
                return True
            case Again(due_in, because, payload):
                await self._rows.put_off(
                    work, due_in=self._pace.seconds(due_in), because=because, payload=payload
                )
            case Park(because):
                await self._park(work, because)
        return False

    async def _put_off(self, work: DueWork, *, because: str) -> None:
        wait = min(BACKOFF_SECONDS * 2.0 ** (work.attempts - 1), BACKOFF_SECONDS_MAX)
        await self._rows.put_off(work, due_in=self._pace.seconds(wait), because=because)

    async def _park(self, work: DueWork, because: str) -> None:
        sentence = f"The work '{work.kind}' was parked after {work.attempts} attempts: {because}"
        await self._cases.open(PARKED, work.subject, sentence, facts={"kind": work.kind})
        await self._rows.park(work, because=because)

