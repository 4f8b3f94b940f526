"""Settlement reports that a gateway announces by webhook: it is asked for none of a day.

Rule a change must keep: what a webhook names is no address to follow: the adapter knows its host.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec


class AnnouncedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report that can be downloaded: the name of its file, and the address that was given."""

    name: str
    url: str


ReportDownload = Callable[[AnnouncedReport, Path], Awaitable[None]]
"""Writes an announced report to a file, or raises a `GatewayFailure` or an OSError."""
