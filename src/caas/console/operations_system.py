"""System pages of operations: integrity checks, response times, audit log and staff accounts.

Integrity checks are listed with their last result. The audit log records sign-ins and changes to
keys, accounts, links and passwords. Another operations user resets a lost second factor.

Rules a change must keep: a request never checks an invariant, it shows what was found; the log
shows staff by login, keys by name, as everywhere in the console, and customers by id only; nobody
can reset their own second factor, here or in the database; a reset ends every session of the
account, and the next sign-in sets up a new one.
"""

from typing import Final

import msgspec

from caas import dual_control
from caas.billing_database import self_check
from caas.billing_database.accounts import may_approve
from caas.billing_database.audit_events import AuditEvents, AuditType, audit
from caas.billing_database.connection import Connection
from caas.billing_database.rows import PAGE_ROWS_MAX
from caas.billing_database.self_check import CheckState
from caas.billing_database.sessions import Colleague
from caas.console.context import Console
from caas.console.form_actions import acted, asks, form_result, new_key
from caas.console.operations_keys import OPERATIONS_KEY_ROUTES
from caas.console.operations_simulators import OPERATIONS_SIMULATOR_ROUTES
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.rules.durations import Durations
from caas.web.response import Response, see_other

PATH: Final = "/operations/audit"
MEDIAN: Final = 0.5
P95: Final = 0.95


async def audit_events(console: Console, request: PageRequest) -> Response:
    """List a page of audit events, newest first."""
    chosen = request.query.get("type", "")
    type_ = AuditType(chosen) if chosen in set(AuditType) else None
    table = AuditEvents(console.platform.tables.database)
    events = await table.before(request.place("before"), type_=type_)
    return console.page(
        request, "operations/audit.html", events=events, known=await table.known(events),
        types=list(AuditType), chosen=chosen,
        more=events[-1].id if len(events) == PAGE_ROWS_MAX else None,
        simulators=console.simulators is not None,
    )  # fmt: skip


OPERATIONS_AUDIT_ROUTES: Final[tuple[PageRoute, ...]] = (get(PATH, audit_events, OPERATIONS),)


STAFF_PATH: Final = "/operations/staff"


async def staff(console: Console, request: PageRequest) -> Response:
    """List the staff accounts and whether each has a second factor."""
    return console.page(
        request, "operations/staff.html", staff=await console.second_factors.staff(),
        me=request.by.account, after=form_result(console, request),
        simulators=console.simulators is not None,
    )  # fmt: skip


async def about_to_reset(console: Console, request: PageRequest) -> Response:
    """Ask to confirm a reset; the account's owner sees that another person must do it."""
    colleague = await _colleague(console, request)
    if colleague.id == request.by.account:
        return see_other(f"{STAFF_PATH}?refused=own_second_factor")
    return asks(console, request, "reset", back=STAFF_PATH, name=colleague.login)


async def reset(console: Console, request: PageRequest) -> Response:
    """Reset a colleague's second factor."""
    colleague = await _colleague(console, request)

    async def together(connection: Connection) -> None:
        if colleague.id == request.by.account:
            raise dual_control.SamePersonError
        if not await may_approve(request.by.actor, within=connection):
            raise dual_control.ApproverNotValidError
        ended = await console.second_factors.end(
            colleague.id, by=request.by.account, within=connection
        )
        if not ended:
            raise NothingHereError
        await audit(
            AuditType.SECOND_FACTOR_RESET, by=request.by.account, subject=colleague.id,
            address=request.address, within=connection,
        )  # fmt: skip

    async def act() -> None:
        await console.platform.tables.database.in_transaction(together)
        await console.sessions.end_all(colleague.id)

    return await acted(console, request, STAFF_PATH, act)


async def _colleague(console: Console, request: PageRequest) -> Colleague:
    """Return the account in the path, which has a second factor.

    Raises:
        NothingHereError: no such account exists.
    """
    for one in await console.second_factors.staff():
        if one.id == request.ids["account_id"] and one.second_factor_since is not None:
            return one
    raise NothingHereError


_RESET: Final = STAFF_PATH + "/{account_id:uuid}/reset-second-factor"
OPERATIONS_STAFF_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(STAFF_PATH, staff, OPERATIONS),
    get(_RESET, about_to_reset, OPERATIONS),
    post(_RESET, reset, OPERATIONS),
)


async def invariants(console: Console, request: PageRequest) -> Response:
    """List the integrity checks, failed ones first."""
    checked = await self_check.last_checks(console.platform.tables.database)
    return console.page(
        request,
        "operations/integrity_checks.html",
        invariants=sorted(checked, key=lambda it: (-it.broken, it.state is CheckState.HELD)),
        broken=sum(invariant.broken > 0 for invariant in checked),
        unchecked=sum(
            it.state in (CheckState.NOT_FINISHED, CheckState.NOT_CHECKED) for it in checked
        ),
        checked_at=min((it.checked_at for it in checked if it.checked_at), default=None),
        key=new_key(),
        simulators=console.simulators is not None,
        after=form_result(console, request),
    )


async def check_now(console: Console, request: PageRequest) -> Response:
    """Make the check of the invariants due now; `work` runs it."""

    async def act() -> None:
        await console.platform.invariant_monitor.hasten()

    return await acted(console, request, "/operations/system", act)


class ResponseTime(msgspec.Struct, frozen=True):
    """How long something took in this process; a time is None above the last bucket."""

    name: str
    outcome: str
    count: int
    median: float | None
    p95: float | None


async def response_times(console: Console, request: PageRequest) -> Response:
    """List what the platform adds to a first answer, and how long the gateway's calls took."""
    platform = console.platform
    return console.page(
        request, "operations/response_times.html",
        added=_response_times(platform.payment_processing.added_seconds),
        gateway=_response_times(platform.observed.gateway_calls.durations),
        simulators=console.simulators is not None,
    )  # fmt: skip


def _response_times(durations: Durations) -> list[ResponseTime]:
    return [
        ResponseTime(
            labels[0], labels[-1], durations.total(labels),
            durations.quantile(MEDIAN, labels), durations.quantile(P95, labels),
        )
        for labels in sorted(durations.counts)
    ]  # fmt: skip


OPERATIONS_SYSTEM_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/system", invariants, OPERATIONS),
    post("/operations/system/check", check_now, OPERATIONS),
    get("/operations/response-times", response_times, OPERATIONS),
    *OPERATIONS_KEY_ROUTES,
    *OPERATIONS_STAFF_ROUTES,
    *OPERATIONS_AUDIT_ROUTES,
    *OPERATIONS_SIMULATOR_ROUTES,
)
