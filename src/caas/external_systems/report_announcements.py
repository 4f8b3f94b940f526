"""Settlement reports that a gateway announces by webhook: it is asked for none of a day.

Rule a change must keep: what a webhook names is no address to follow: the adapter knows its host.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedReport:
    """A report that can be downloaded: the name of its file, and the address that was given."""

    name: str
    url: str


ReportDownload = Callable[[AnnouncedReport, Path], Awaitable[None]]
"""Writes an announced report to a file, or raises a `GatewayFailure` or an OSError."""
