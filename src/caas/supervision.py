"""What `caas up` started beside itself, kept running: a part that dies is started again.

A part is a process of its own: PostgreSQL, the broker, a simulator. It comes back at the same
address, on the same data, so that whoever spoke to it goes on by itself.

Rules a change must keep: dead is only what has no process any more; a process that is stopped, or
slow, is left alone, because a second one on the same data would ruin it; a part that dies again and
again is not hidden: the command ends with a sentence.
"""

import asyncio
import re
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from caas.errors import StartupError

START_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 5.0
LOOK_SECONDS: Final = 0.25
DEATHS_MAX: Final = 5
DEATHS_WINDOW_SECONDS: Final = 60.0
ADDRESS: Final = re.compile(r"http://[^\s\"]+")

Report = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Part:
    """A process that is watched: whether it lives, and how it is started again."""

    name: str
    lives: Callable[[], bool]
    start_again: Callable[[], Awaitable[None]]
    deaths: deque[float] = field(default_factory=deque)


class Supervisor:
    """Watches the parts and starts again what died."""

    def __init__(self, report: Report) -> None:
        """Tell a person through `report` what is started again."""
        self._report = report
        self._parts: list[Part] = []

    def add(self, part: Part) -> None:
        """Watch this part from now on."""
        self._parts.append(part)

    async def watch(self) -> None:
        """Look after every part until cancelled.

        Raises:
            StartupError: a part does not start again, or dies again and again.
        """
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for part in self._parts:
                if not part.lives():
                    await self._restarted(part)

    async def _restarted(self, part: Part) -> None:
        now = asyncio.get_running_loop().time()
        part.deaths.append(now)
        while part.deaths[0] < now - DEATHS_WINDOW_SECONDS:
            part.deaths.popleft()
        if len(part.deaths) > DEATHS_MAX:
            raise StartupError(
                f"{part.name} has died {len(part.deaths)} times within a minute and is not started "
                "again. What it said is above or in the logs of the data folder; the data stays."
            )
        self._report(f"{part.name} has died; starting it again.")
        await part.start_again()
        self._report(f"{part.name} runs again.")


class Simulator:
    """A simulator as a process of its own; it ends when this process does."""

    def __init__(
        self, module: str, *arguments: str, secret: Sequence[str], port_option: str, port: int = 0
    ) -> None:
        """Start `module` with these arguments; the secret ones are no argument of the process."""
        self._module = module
        self._arguments = arguments
        self._secret = secret
        self._port_option = port_option
        self._process: asyncio.subprocess.Process | None = None
        self.port = port
        self.url = ""

    async def start(self) -> None:
        """Start it and wait until it says where it listens.

        Secret arguments go by stdin, which stays open: the simulator ends when this process does.

        Raises:
            StartupError: it does not start.
        """
        pipe = asyncio.subprocess.PIPE
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, *self._arguments,
            f"{self._port_option}={self.port}", "--held", stdin=pipe, stdout=pipe,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(f"{argument}\n" for argument in (*self._secret, "")).encode())
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                line = await process.stdout.readline()
        except TimeoutError as error:
            raise self._not_started() from error
        address = ADDRESS.search(line.decode())
        if address is None:
            raise self._not_started()
        self.url = address[0].rstrip("/")
        self.port = int(self.url.rpartition(":")[2])

    async def start_again(self) -> None:
        """Start it at the address it had, whatever is left of the one before."""
        await self.stop()
        await self.start()

    def lives(self) -> bool:
        """Whether its process is there, also when it is stopped or busy."""
        return self._process is not None and self._process.returncode is None

    async def stop(self) -> None:
        """End it: in order, or by force when it does not."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _not_started(self) -> StartupError:
        return StartupError(f"The simulator {self._module} did not start; what it said is above.")


async def started(stack: AsyncExitStack, simulator: Simulator) -> Simulator:
    """Start a simulator that stops with the stack."""
    stack.push_async_callback(simulator.stop)
    await simulator.start()
    return simulator
