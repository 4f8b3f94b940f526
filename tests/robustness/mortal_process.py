"""A process of the platform that can die at any await, as if it had been killed with -9.

It has a thread and an event loop of its own, its own connections to the database, the gateway and
the cars, and shares nothing with the test but sockets. Before one of its coroutines goes on, the
place where it waited is noted: the chain of awaits, by file and line, down to the innermost. When
it is to die at such a place, nothing of it ever runs again: no `finally`, no `except`, no rollback.
What it had written to a socket has left, what it had not never will.

Rules: after death its sockets are closed by nobody but the kernel's rules; its corpse is taken
apart only then, so that its clean-up can reach nobody.
"""

import asyncio
import contextlib
import gc
import os
import threading
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AsyncExitStack
from typing import Any, Generic, TypeVar

BURIAL_ATTEMPTS_MAX = 50
START_SECONDS_MAX = 120.0
CALL_SECONDS_MAX = 120.0

Platform = TypeVar("Platform")
Result = TypeVar("Result")
OURS = f"{os.sep}caas{os.sep}"
Place = tuple[tuple[str, int], ...]
"""A chain of awaits in our code, the outermost first: file and line of each."""
Build = Callable[[AsyncExitStack], Awaitable[Platform]]


class DeadError(Exception):
    """The process died before it answered."""


class Killed(SystemExit):
    """What ends the loop of a process at once."""


class MortalProcess(Generic[Platform]):
    """One process: what it builds at its start, and when it dies."""

    def __init__(self, build: Build[Platform]) -> None:
        """Build the platform with this, inside the process."""
        self._build = build
        self._loop = asyncio.SelectorEventLoop()
        self._lives: set[_Counted] = set()
        self._spawned: set[asyncio.Task[Any]] = set()
        self._stack = AsyncExitStack()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._home = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._frozen = threading.Event()
        self._dies_at: tuple[Place, int] | None = None
        self._waited: Counter[Place] = Counter()
        self._notes = False
        self._resumed = 0
        self.dead = False
        self.platform: Platform

    async def start(self) -> "MortalProcess[Platform]":
        """Start the process and build its platform."""
        self._loop.set_task_factory(self._counted_task)
        self._loop.set_exception_handler(lambda *_: None)
        self._thread.start()

        async def build() -> None:
            self.platform = await self._build(self._stack)

        await self.call(build)
        return self

    def note_awaits(self, *, dies_at: tuple[Place, int] | None = None) -> None:
        """Note every await from now on; die when one is resumed for the n-th time."""
        self._waited.clear()
        self._dies_at = dies_at
        self._notes = True

    @property
    def awaits(self) -> "Counter[Place]":
        """How often each await was resumed."""
        return self._waited.copy()

    async def call(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Let the process do something and wait for its answer.

        Raises:
            DeadError: it died before.
        """
        if self.dead:
            raise DeadError
        answer: asyncio.Future[Result] = self._home.create_future()

        async def answering() -> None:
            try:
                result = await work()
            except Exception as error:  # noqa: BLE001 - handed over to whoever asked
                self._home.call_soon_threadsafe(_fail, answer, error)
            else:
                self._home.call_soon_threadsafe(_answer, answer, result)

        self.spawn(answering)
        ended = asyncio.ensure_future(self._ended.wait())
        waited: set[asyncio.Future[Any]] = {answer, ended}
        await asyncio.wait(waited, timeout=CALL_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not answer.done():
            assert self.dead, f"it did not answer within {CALL_SECONDS_MAX:.0f} s"
            raise DeadError
        return answer.result()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Let the process do something that nobody waits for."""
        self.soon(lambda: self._spawned.add(self._loop.create_task(work())))

    def soon(self, call: Callable[..., object], *arguments: object) -> bool:
        """Run a function inside the process, if it lives."""
        if self.dead:
            return False
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)
        return True

    async def idle(self, seconds: float) -> None:
        """Wait until nothing of the process has moved for so long."""
        before = -1
        async with asyncio.timeout(CALL_SECONDS_MAX):
            while before != self._resumed and not self.dead:
                before = self._resumed
                await asyncio.sleep(seconds)

    async def freeze(self, seconds: float) -> None:
        """Stop the whole process for a while, as a debugger or a hypervisor does."""
        self.soon(self._frozen.wait, seconds)
        await asyncio.sleep(0)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._frozen.set()
        self._frozen = threading.Event()

    async def kill(self) -> None:
        """Kill the process where it stands."""
        self.soon(self._die)
        await self._end()

    async def stop(self) -> None:
        """End the process politely, if it lives."""
        if self.dead:
            return
        await self.call(self._stack.aclose)
        self.soon(self._loop.stop)
        await self._end()

    async def _end(self) -> None:
        async with asyncio.timeout(START_SECONDS_MAX):
            await self._ended.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        except Killed:
            pass
        finally:
            self.dead = True
            _release_dead(self._loop, self._lives)
            self._home.call_soon_threadsafe(self._ended.set)

    def _counted_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any
    ) -> "asyncio.Task[Any]":
        counted = _Counted(coroutine, self._resumes, self._lives)
        return asyncio.Task(counted, loop=loop, **more)

    def _resumes(self, coroutine: object) -> None:
        self._resumed += 1
        if not self._notes:
            return
        place = _place(coroutine)
        if not place:
            return
        self._waited[place] += 1
        if self._dies_at == (place, self._waited[place]):
            self._die()

    def _die(self) -> None:
        self.dead = True
        raise Killed


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine whose resumptions are counted."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        resumes: Callable[[object], None],
        alive: "set[_Counted]",
    ) -> None:
        self._coroutine = coroutine
        self._resumes = resumes
        self._alive = alive
        alive.add(self)

    def send(self, value: Any) -> Any:
        self._resumes(self._coroutine)
        return self._go(lambda: self._coroutine.send(value))

    def throw(self, *error: Any) -> Any:
        self._resumes(self._coroutine)
        return self._go(lambda: self._coroutine.throw(*error))

    def close(self) -> None:
        self._coroutine.close()
        self._alive.discard(self)

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError

    def _go(self, resume: Callable[[], Any]) -> Any:
        try:
            return resume()
        except BaseException:
            self._alive.discard(self)
            raise


def _place(coroutine: object) -> Place:
    """Return where a coroutine waits; nothing when it is not one of ours."""
    chain = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None and OURS in frame.f_code.co_filename:
            _, _, name = frame.f_code.co_filename.rpartition(OURS)
            chain.append((name, frame.f_lineno))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return tuple(chain)


def _answer(answer: "asyncio.Future[Result]", result: Result) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: "asyncio.Future[Result]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def _release_dead(loop: asyncio.AbstractEventLoop, lives: set[_Counted]) -> None:
    """Close the sockets as the kernel does, then let the frames end where nobody hears them."""
    for transport in list(loop._transports.values()):  # type: ignore[attr-defined]
        protocol = transport.get_protocol()
        if transport._sock is not None:
            loop._remove_reader(transport._sock_fd)  # type: ignore[attr-defined]
            loop._remove_writer(transport._sock_fd)  # type: ignore[attr-defined]
            transport._sock.close()
            transport._sock = None
            transport._closing = True
        with contextlib.suppress(Exception):
            protocol.connection_lost(ConnectionResetError())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it had begun and not awaited is of no interest
        for _ in range(BURIAL_ATTEMPTS_MAX):
            for one in tuple(lives):
                with contextlib.suppress(BaseException):
                    one.close()
            if not lives:
                break
        loop.close()
        gc.collect()
