"""Ports for programs that must be told one before they start.

The system gives out ports of its own range to whoever asks for any, so that one that was free a
moment ago may be taken by then; those below that range it gives to nobody.
"""

import secrets
import socket
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 10_000
ATTEMPTS_MAX = 1000


def free_port() -> int:
    """Return a port nobody listens on, and that the system gives to nobody else."""
    below = int(RANGE.read_text().split()[0])
    assert below > LOWEST, "there are ports the system does not give out"
    for _ in range(ATTEMPTS_MAX):
        port = LOWEST + secrets.randbelow(below - LOWEST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("every port is taken")
