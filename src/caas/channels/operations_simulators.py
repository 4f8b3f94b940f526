"""The simulators' faults, where the platform runs on simulators: what would happen if.

Rules a change must keep: a platform with real partners has no such page; a fault is one of a list.
"""

from typing import Final

from caas.channels.acting import acted, told
from caas.channels.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.channels.replies import Reply
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit
from caas.external_systems.simulator_control import FAULTS, MANNERS, SimulatorControl

PATH: Final = "/operations/simulators"
TIMES_MAX: Final = 1000
VIN_CHARS_MAX: Final = 32


async def simulators(channels: Channels, visit: Visit) -> Reply:
    """Show which faults are scripted, and which can be."""
    control = _control(channels)
    scripted = {name: await control.faults(name) for name in control.names if name in FAULTS}
    return channels.page(
        visit, "operations/simulators.html", scripted=scripted, faults=FAULTS, manners=MANNERS,
        has_vehicles="vehicles" in control.names, key=new_key(), after=told(channels, visit),
    )  # fmt: skip


async def script(channels: Channels, visit: Visit) -> Reply:
    """Script a fault of the list."""
    control = _control(channels)
    times = visit.form.get("times", "")
    count = int(times) if times.isascii() and times.isdigit() and len(times) <= 4 else None  # noqa: PLR2004  # digits of TIMES_MAX
    return await acted(
        channels, visit, PATH,
        lambda: control.script(
            visit.form.get("simulator", ""), visit.form.get("fault", ""),
            times=None if count is None else min(max(count, 1), TIMES_MAX),
        ),
    )  # fmt: skip


async def clear(channels: Channels, visit: Visit) -> Reply:
    """Delete every fault of a simulator."""
    control = _control(channels)
    return await acted(
        channels, visit, PATH, lambda: control.clear(visit.form.get("simulator", ""))
    )


async def manner(channels: Channels, visit: Visit) -> Reply:
    """Say how a car behaves from now on."""
    control = _control(channels)
    vin = visit.form.get("vin", "").strip().upper()[:VIN_CHARS_MAX]
    return await acted(
        channels, visit, PATH, lambda: control.manner(vin, visit.form.get("behaviour", ""))
    )


async def settle(channels: Channels, visit: Visit) -> Reply:
    """Let the bank answer."""
    return await acted(channels, visit, PATH, _control(channels).settle)


def _control(channels: Channels) -> SimulatorControl:
    control = channels.rooms.simulators
    if control is None:
        raise NothingHereError
    return control


OPERATIONS_SIMULATOR_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, simulators, OPERATIONS),
    post(PATH + "/script", script, OPERATIONS),
    post(PATH + "/clear", clear, OPERATIONS),
    post(PATH + "/manner", manner, OPERATIONS),
    post(PATH + "/settle", settle, OPERATIONS),
)
