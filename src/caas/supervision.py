"""Restarts the processes that `caas up` started.

A part is a process: PostgreSQL, the broker, or a simulator. It restarts at the same address with
the same data, so that its clients reconnect.

Rules a change must keep: only a process that no longer exists is restarted, because a second one on
the same data would corrupt it; a part that exits repeatedly ends the command with an error.
"""

import asyncio
import json
import re
import socket
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from caas.errors import StartupError

START_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 5.0
LOOK_SECONDS: Final = 0.25
DEATHS_MAX: Final = 5
DEATHS_WINDOW_SECONDS: Final = 60.0
ADDRESS: Final = re.compile(r"http://[^\s\"]+")

Report = Callable[[str], None]


class Part(msgspec.Struct, kw_only=True):
    """A supervised process: a liveness check and a restart function."""

    name: str
    is_running: Callable[[], bool]
    start_again: Callable[[], Awaitable[None]]
    deaths: deque[float] = msgspec.field(default_factory=deque)


class Supervisor:
    """Restarts parts whose process has exited."""

    def __init__(self, report: Report) -> None:
        """Report restarts through `report`."""
        self._report = report
        self._parts: list[Part] = []

    def add(self, part: Part) -> None:
        """Supervise a part."""
        self._parts.append(part)

    async def watch(self) -> None:
        """Check every part until cancelled.

        Raises:
            StartupError: a part does not restart, or exits repeatedly.
        """
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for part in self._parts:
                if not part.is_running():
                    await self._restarted(part)

    async def _restarted(self, part: Part) -> None:
        now = asyncio.get_running_loop().time()
        part.deaths.append(now)
        while part.deaths[0] < now - DEATHS_WINDOW_SECONDS:
            part.deaths.popleft()
        if len(part.deaths) > DEATHS_MAX:
            raise StartupError(
                f"{part.name} exited {len(part.deaths)} times within a minute and "
                "is not restarted. See its output above or the logs in the data "
                "folder; data is kept."
            )
        self._report(f"{part.name} exited; restarting it.")
        await part.start_again()
        self._report(f"{part.name} is running again.")


class Simulator:
    """A simulator process; it ends with this process."""

    def __init__(
        self, module: str, *arguments: str, secret: Sequence[str], port_option: str, port: int = 0
    ) -> None:
        """Run `module` with these arguments; secrets are passed over stdin."""
        self._module = module
        self._arguments = arguments
        self._secret = secret
        self._port_option = port_option
        self._process: asyncio.subprocess.Process | None = None
        self.port = port
        self.url = ""

    async def start(self) -> None:
        """Start the process and wait until it reports its address.

        Secret arguments are passed over stdin, which stays open: the simulator ends when it closes.

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
        """Restart it at its previous address."""
        await self.stop()
        await self.start()

    def is_running(self) -> bool:
        """Return whether its process exists, even if stopped or busy."""
        return self._process is not None and self._process.returncode is None

    async def stop(self) -> None:
        """Terminate it, by force if needed."""
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
        return StartupError(f"The simulator {self._module} did not start; see its output above.")


async def started(stack: AsyncExitStack, simulator: Simulator) -> Simulator:
    """Start a simulator that stops with the stack."""
    stack.push_async_callback(simulator.stop)
    await simulator.start()
    return simulator


def known_ports(file: Path) -> dict[str, int]:
    """Return the ports that simulators had before; none if the file cannot be read."""
    try:
        kept = json.loads(file.read_text("utf-8"))
        return {str(name): int(port) for name, port in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # any free port will do; earlier pages are then unreachable


def port_if_free(port: int) -> int:
    """Return the port, or 0 (any) if it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return 0
    return port
