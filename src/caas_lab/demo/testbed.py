"""The testbed of a scenario: the platform, the simulators around it, and what can be read of them.

Rule a change must keep: what only a platform of our own has is None on another one, and a scenario
that needs it lists it in `needs`.
"""

from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import msgspec

from caas import app
from caas_lab.demo import database
from caas_lab.demo.control_planes import GatewayControl, PartnerControl, VehicleControl
from caas_lab.demo.http_client import HttpClient, require_success
from caas_lab.demo.relay import Relay
from caas_lab.demo.scenario import Need


class Testbed(msgspec.Struct, kw_only=True):
    """Everything a scenario may use; `clock_ahead` is how far the platform's clock was moved."""

    platform: HttpClient
    gateway: GatewayControl
    partners: PartnerControl
    vehicles: VehicleControl
    scale: float
    session: aiohttp.ClientSession
    provides: frozenset[Need]
    relay: Relay | None = None
    records: database.Records | None = None
    is_ours: bool = False
    outbox: Path | None = None
    database_url: str = ""
    log: Path | None = None
    clock_ahead: timedelta = timedelta()

    def now(self) -> datetime:
        """Return the time by the platform's clock."""
        return app.now() + self.clock_ahead

    async def integrity_checks(self) -> list[tuple[str, str, int]]:
        """Return name, sentence and violations of each invariant: now, or as last checked."""
        if self.records is not None:
            results = await self.records.integrity_checks()
            return [(it.name, it.sentence, it.broken) for it in results]
        reply = await self.platform.get("/v1/self-check", scope="operations")
        kept = require_success(reply, "self-check")["invariants"]
        return [(it["name"], it["sentence"], it["broken"]) for it in kept]

    async def advance_clock(self, seconds: int) -> None:
        """Move the platform's clock forward: a month must be over before it is billed."""
        await database.advance_clock(self.database_url, seconds=seconds)
        self.clock_ahead += timedelta(seconds=seconds)
