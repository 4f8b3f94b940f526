"""The stage of a scene: the platform, the world around it, and what can be heard and read.

Rule a change must keep: what only a platform of our own has is None on somebody else's, and a
scene that needs it says so.
"""

from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from caas.billing_database.demonstration import Onlooker
from caas_lab.demo.airwaves import Airwaves
from caas_lab.demo.calls import Caller
from caas_lab.demo.mailbox import Mailbox
from caas_lab.demo.outside_world import GatewayStrings, PartnerStrings, VehicleStrings
from caas_lab.demo.platform_calendar import PlatformCalendar
from caas_lab.demo.story import Need
from caas_lab.demo.wire import Line


@dataclass(frozen=True, slots=True)
class Lines:
    """What the platform says to the gateway and to the partners, and what they tell it."""

    gateway: Line
    partners: Line
    inbound: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything a scene may use, and what it offers to scenes that need more."""

    platform: Caller
    gateway: GatewayStrings
    partners: PartnerStrings
    vehicles: VehicleStrings
    scale: float
    session: aiohttp.ClientSession
    offers: frozenset[Need]
    lines: Lines | None = None
    airwaves: Airwaves | None = None
    onlooker: Onlooker | None = None
    mailbox: Mailbox | None = None
    database_url: str = ""
    log: Path | None = None
    calendar: PlatformCalendar = field(default_factory=PlatformCalendar)
