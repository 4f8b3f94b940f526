"""A load generator for HTTP in a process of its own, on persistent connections.

A full HTTP client costs more than the server it measures. This one writes prepared requests, reads
a status and a length, and records how long each answer took.

Rules a change must keep: this file imports no other module of ours, so that its process starts at
once; each connection has one request in flight, and sends the next at once or at its scheduled
time; a response with an unexpected status ends the measurement with an error.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import asdict

CONNECTIONS: Final = 64
PERCENTILES: Final = 100
MICROSECONDS: Final = 1_000_000
LENGTH_BYTES: Final = 4
_LENGTH: Final = b"content-length:"
_HEAD_ENDS: Final = b"\r\n\r\n"


class Calls(msgspec.Struct, frozen=True):
    """How long each answer took, the total time, and the CPU of the load generator."""

    took: list[float]
    seconds: float
    cpu_seconds: float

    @property
    def done(self) -> int:
        """How many were answered."""
        return len(self.took)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.done / self.seconds

    @property
    def p99(self) -> float:
        """The 99th percentile of the seconds an answer took."""
        return p99(self.took)

    @property
    def p50(self) -> float:
        """The median of the seconds an answer took."""
        return statistics.median(self.took)

    @property
    def cpu(self) -> dict[str, float]:
        """CPU microseconds of the load generator for each answer."""
        return {"load": self.cpu_seconds / self.done * MICROSECONDS}


def p99(took: Sequence[float]) -> float:
    """Return the 99th percentile of what answers took."""
    return statistics.quantiles(took, n=PERCENTILES)[-1]


def request(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a POST as it goes over the wire."""
    address = urlsplit(url)
    lines = [f"POST {address.path} HTTP/1.1", f"host: {address.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["content-type: application/json", f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


async def send(
    requests: Sequence[bytes],
    *,
    status: int,
    seconds: float,
    a_second: float = 0.0,
    connections: int = CONNECTIONS,
) -> Calls:
    """Send requests from another process until they or the seconds are used up.

    Each connection sends the next request on its answer, or at a rate of `a_second` in all.
    """
    with tempfile.NamedTemporaryFile(prefix="caas-bench-") as file:
        for one in requests:
            file.write(len(one).to_bytes(LENGTH_BYTES) + one)
        file.flush()
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, file.name, str(status), str(seconds), str(a_second),
            str(connections), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        printed, _ = await process.communicate()
    assert process.returncode == 0, "the load generator has printed why it failed"
    return Calls(**json.loads(printed))


class _Run(msgspec.Struct):
    """What all connections share."""

    requests: Iterator[bytes]
    status: bytes
    until: float
    every: float
    took: list[float] = msgspec.field(default_factory=list)


class _Caller(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, run: _Run, ended: "asyncio.Future[None]") -> None:
        self._run = run
        self._ended = ended
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not _is_whole(self._answer):
            return
        self._run.took.append(time.perf_counter() - self._began)
        if self._answer[9:12] != self._run.status:
            self._end(AssertionError(self._answer.decode(errors="replace")))
            return
        self._answer = b""
        if self._run.every:
            asyncio.get_running_loop().call_later(self._pause(), self._next)
        else:
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionError("The server closed a connection."))

    def _next(self) -> None:
        self._began = time.perf_counter()
        one = next(self._run.requests, None) if self._began < self._run.until else None
        if one is None:
            self._end(None)
        else:
            self._transport.write(one)

    def _pause(self) -> float:
        return max(0.0, self._began + self._run.every - time.perf_counter())

    def _end(self, error: Exception | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)
        self._transport.close()


def _is_whole(answer: bytes) -> bool:
    head, ends, body = answer.partition(_HEAD_ENDS)
    if not ends:
        return False
    _, _, after = head.lower().partition(_LENGTH)
    return len(body) >= int(after.partition(b"\r\n")[0] or b"0")


async def _run(
    requests: Sequence[bytes], status: str, seconds: float, a_second: float, connections: int
) -> Calls:
    loop = asyncio.get_running_loop()
    host = requests[0].partition(b"host: ")[2].partition(b"\r\n")[0].decode()
    name, _, port = host.partition(":")
    began, cpu_before = time.perf_counter(), time.process_time()
    every = connections / a_second if a_second else 0.0
    run = _Run(iter(requests), status.encode(), began + seconds, every)
    ends: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    for end in ends:
        await loop.create_connection(partial(_Caller, run, end), name, int(port))
        await asyncio.sleep(every / connections)
    await asyncio.gather(*ends)
    took = time.perf_counter() - began
    return Calls(run.took, took, time.process_time() - cpu_before)


def _read(path: Path) -> list[bytes]:
    data, at, requests = path.read_bytes(), 0, []
    while at < len(data):
        length = int.from_bytes(data[at : at + LENGTH_BYTES])
        at += LENGTH_BYTES + length
        requests.append(data[at - length : at])
    return requests


if __name__ == "__main__":
    import uvloop

    _, _path, _status, _seconds, _a_second, _connections = sys.argv
    _calls = uvloop.run(
        _run(_read(Path(_path)), _status, float(_seconds), float(_a_second), int(_connections))
    )
    sys.stdout.write(json.dumps(asdict(_calls)))
