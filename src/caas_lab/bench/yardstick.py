"""The yardstick: `pgbench -M prepared` TPC-B on the server that the platform runs on.

Rule a change must keep: the yardstick runs on the same server with the same settings.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Final

from caas.billing_database.embedded_postgresql import program

SCALE: Final = 50
QUICK_SCALE: Final = 1
CLIENTS: Final = (8, 16)
_RATE: Final = re.compile(r"tps = ([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Yardstick:
    """TPC-B on one database."""

    dsn: str
    quick: bool = False

    async def prepare(self) -> None:
        """Make pgbench's tables."""
        scale = QUICK_SCALE if self.quick else SCALE
        await self._pgbench("--initialize", f"--scale={scale}", "--quiet")

    async def rate(self, seconds: int) -> float:
        """Return transactions a second, the best of the numbers of clients."""
        each = max(seconds // len(CLIENTS), 1)
        rates = []
        for clients in CLIENTS:
            told = await self._pgbench(
                "--protocol=prepared", f"--client={clients}", "--jobs=2", f"--time={each}",
                "--no-vacuum",
            )  # fmt: skip
            found = _RATE.search(told)
            assert found is not None, told
            rates.append(float(found[1]))
        return max(rates)

    async def _pgbench(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            str(program("pgbench")), *arguments, self.dsn,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        told, _ = await process.communicate()
        text = told.decode(errors="replace")
        assert process.returncode == 0, text
        return text
