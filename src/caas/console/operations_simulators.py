"""The simulation of `caas up`: advance partners and inject faults.

The page produces, delivers and wakes vehicles, lets the bank settle and a month pass, makes gateway
calls fail, and shows the messages that people were sent. A browser alone can go from a reservation
to the invoice.

Rules a change must keep: a platform with real partners has no such page; actions come from a fixed
list; time is advanced only if every partner is simulated.
"""

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from caas.billing_database.idempotency import InFlightError, KeyReusedError
from caas.billing_database.simulated_calendar import SimulatedCalendar
from caas.console.context import Console
from caas.console.form_actions import form_result, new_key, once
from caas.console.formats import filters
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.errors import RefusedError
from caas.external_systems.local_outbox import NAME
from caas.external_systems.simulator_control import (
    CALLS,
    FAULTS,
    MANNERS,
    WAYS,
    SimulatorAwayError,
    SimulatorControl,
)
from caas.rules.mes_vencido import InvalidMonthError, Month
from caas.web.response import Response, refused

PATH: Final = "/operations/simulators"
TIMES_MAX: Final = 1000
LETTERS_SHOWN: Final = 30
LINK: Final = re.compile(r"(https?://[A-Za-z0-9._~:/?#@!$&*+;=%-]+[A-Za-z0-9/_=-])")
CHARS_MAX: Final = 32
AFTER_MIDNIGHT: Final = timedelta(minutes=1)
DID: Final = (
    "finished", "delivered", "slept", "woke", "behaves", "settled", "month", "next", "scripted",
    "cleared",
)  # fmt: skip
"""The possible actions, as named in the line at the top of the page."""

NAMED: Final = {
    "manner": "manner", "fault": "fault", "call": "world.call", "way": "world.way",
}  # fmt: skip

Result = dict[str, str]


async def simulators(console: Console, request: PageRequest) -> Response:
    """Show the pending work of the simulated partners and the scripted faults."""
    control, calendar = _control(console), console.calendar
    now = (await calendar.now()).astimezone(console.settings.zone) if calendar else None
    scripted = {name: await control.faults(name) for name in control.names if name in FAULTS}
    return console.page(
        request, "operations/simulators.html", scripted=scripted, faults=FAULTS, manners=MANNERS,
        calls=CALLS, ways=list(WAYS), has_vehicles="vehicles" in control.names,
        has_partners="partners" in control.names, waiting=await control.waiting(),
        cars=await control.cars(), now=now, has_letters=console.letters is not None,
        key=new_key(), after=form_result(console, request), did=_result_line(console, request),
    )  # fmt: skip


async def letters(console: Console, request: PageRequest) -> Response:
    """List the messages that people were sent, newest first; none was mailed."""
    if console.letters is None:
        raise NothingHereError
    before = request.query.get("before", "")
    page = await console.letters.newest(
        LETTERS_SHOWN + 1, before=before if NAME.fullmatch(before) else None
    )
    shown = page[:LETTERS_SHOWN]
    return console.page(
        request, "operations/sent_messages.html", letters=[(it, parts_of(it.text)) for it in shown],
        before=shown[-1].name if len(page) > LETTERS_SHOWN else None, is_first=not before,
    )  # fmt: skip


def parts_of(text: str) -> list[tuple[str, bool]]:
    """Split a message into text (False) and links (True)."""
    return [(part, index % 2 == 1) for index, part in enumerate(LINK.split(text)) if part]


async def finish(console: Console, request: PageRequest) -> Response:
    """Finish a vehicle at the factory."""

    async def act() -> Result:
        return {"about": await _control(console).finish(request.form.get("id", ""))}

    return await _acted(console, request, "finished", act)


async def deliver(console: Console, request: PageRequest) -> Response:
    """Deliver a vehicle."""

    async def act() -> Result:
        return {"about": await _control(console).deliver(request.form.get("id", ""))}

    return await _acted(console, request, "delivered", act)


async def manner(console: Console, request: PageRequest) -> Response:
    """Set a vehicle's behaviour: awake, asleep, or one of the manners."""
    behaviour = request.form.get("behaviour", "")

    async def act() -> Result:
        vin = request.form.get("vin", "").strip().upper()[:CHARS_MAX]
        await _control(console).manner(vin, behaviour)
        return {"about": vin, "manner": behaviour}

    did = {"asleep": "slept", "obeys": "woke"}.get(behaviour, "behaves")
    return await _acted(console, request, did, act)


async def settle(console: Console, request: PageRequest) -> Response:
    """Settle the bank's pending settlements and refunds."""

    async def act() -> Result:
        settlements, refunds = await _control(console).settle()
        return {"about": str(settlements), "more": str(refunds)}

    return await _acted(console, request, "settled", act)


async def pass_month(console: Console, request: PageRequest) -> Response:
    """Let the current month pass for every partner, and bill it."""
    control, calendar = _control(console), _calendar(console)

    async def act() -> Result:
        month = Month.containing(await calendar.now(), console.settings.zone)
        if await control.faults("gateway") is None or await control.waiting() is None:
            raise SimulatorAwayError  # Time must not pass for only a part.
        now = await calendar.transition_to(_after(console, month))
        await control.advance(now)
        run = await console.platform.billing.run_month(month)
        console.platform.jobs.wake()
        return {"about": str(month), "more": str(run.invoices)}

    return await _acted(console, request, "month", act)


async def fail_next(console: Console, request: PageRequest) -> Response:
    """Make the next call to the gateway fail."""

    async def act() -> Result:
        call, way = request.form.get("call", ""), request.form.get("way", "")
        await _control(console).fail_next_call(call, way)
        return {"call": call, "way": way}

    return await _acted(console, request, "next", act)


async def script(console: Console, request: PageRequest) -> Response:
    """Script a fault of the list."""
    times = request.form.get("times", "")
    count = int(times) if times.isascii() and times.isdigit() and len(times) <= 4 else None  # noqa: PLR2004  # digits of TIMES_MAX

    async def act() -> Result:
        fault = request.form.get("fault", "")
        await _control(console).script(
            request.form.get("simulator", ""), fault,
            times=None if count is None else min(max(count, 1), TIMES_MAX),
        )  # fmt: skip
        return {"fault": fault}

    return await _acted(console, request, "scripted", act)


async def clear(console: Console, request: PageRequest) -> Response:
    """Delete every fault of a simulator."""

    async def act() -> Result:
        await _control(console).clear(request.form.get("simulator", ""))
        return {}

    return await _acted(console, request, "cleared", act)


async def _acted(
    console: Console, request: PageRequest, did: str, act: Callable[[], Awaitable[Result]]
) -> Response:
    """Execute a form's action and redirect to the page, which shows the result."""
    _control(console)

    async def work() -> str:
        return f"{PATH}?{urlencode({'did': did, **await act()})}"

    try:
        return await once(console, request, work)
    except (KeyReusedError, InFlightError):
        raise
    except RefusedError as refusal:
        return refused(PATH, refusal.code)


def _result_line(console: Console, request: PageRequest) -> str:
    """Return the line that describes the previous form's result."""
    did, t = request.query.get("did", ""), console.renderer.translator(request.language)
    if did not in DID:
        return ""
    facts: dict[str, Any] = {
        name: request.query.get(name, "")[:CHARS_MAX] for name in ("about", "more")
    }
    with suppress(InvalidMonthError):
        month = Month.parse(facts["about"])
        words = filters(request.language, console.settings.zone)
        facts["about"] = words["month"](date(month.year, month.number, 1))
    for name, table in NAMED.items():
        key = f"{table}.{request.query.get(name, '')}"
        facts[name] = t(key) if t.knows(key) else ""
    return t(f"world.did.{did}", **facts)


def _after(console: Console, month: Month) -> datetime:
    return month.interval(console.settings.zone).end + AFTER_MIDNIGHT


def _control(console: Console) -> SimulatorControl:
    control = console.simulators
    if control is None:
        raise NothingHereError
    return control


def _calendar(console: Console) -> SimulatedCalendar:
    calendar = console.calendar
    if calendar is None:
        raise NothingHereError
    return calendar


OPERATIONS_SIMULATOR_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, simulators, OPERATIONS),
    get(PATH + "/messages", letters, OPERATIONS),
    post(PATH + "/finish", finish, OPERATIONS),
    post(PATH + "/deliver", deliver, OPERATIONS),
    post(PATH + "/manner", manner, OPERATIONS),
    post(PATH + "/settle", settle, OPERATIONS),
    post(PATH + "/month", pass_month, OPERATIONS),
    post(PATH + "/next", fail_next, OPERATIONS),
    post(PATH + "/script", script, OPERATIONS),
    post(PATH + "/clear", clear, OPERATIONS),
)
