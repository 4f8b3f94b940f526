"""Cases: list, assign, resolve and close.

Rules a change must keep: a case is closed with words and a name; a case behind which work is parked
closes by releasing the work, and one behind which a deposit is held by deciding about it.
"""

from typing import Final
from uuid import UUID

from caas.billing.issuing import BUYER_MISSING, NOT_ISSUED
from caas.billing_database import operations_counts
from caas.billing_database.cases import DECIDED_OTHERWISE, DEPOSIT_HELD, Case
from caas.billing_database.documents import UNTAXED
from caas.billing_database.free_text import refuse_personal_data
from caas.console.context import Console
from caas.console.form_actions import acted, form_result
from caas.console.idempotent_forms import new_key
from caas.console.operations_deposits import OPERATIONS_DEPOSIT_ROUTES, held_deposit
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.errors import NotFoundError, RefusedError
from caas.order_management.held_deposits import DepositDecision
from caas.ota_activation_engine.vehicle_responses import DRIFTS
from caas.web.forms import filled
from caas.web.response import Response

RESOLUTION_CHARS_MAX: Final = 1000
STATUSES: Final = ("open", "resolved")
KIND_CHARS_MAX: Final = 64
HELD_BY: Final = frozenset({NOT_ISSUED, BUYER_MISSING, UNTAXED})


class NoteNeededError(RefusedError):
    """Say in a few words what was found out or decided."""

    code = "words_needed"


async def cases(console: Console, request: PageRequest) -> Response:
    """Show cases, newest first."""
    tables = console.platform.tables
    status = request.query.get("status", "open")
    kind = request.query.get("kind", "")[:KIND_CHARS_MAX]
    listed = await tables.cases.listed(
        status=status if status in STATUSES else "open", kind=kind or None
    )
    return console.page(
        request,
        "operations/cases.html",
        cases=listed,
        chosen=status,
        kind=kind,
        kinds=await operations_counts.open_cases(tables.database),
        after=form_result(console, request),
    )


async def case(console: Console, request: PageRequest) -> Response:
    """Show a case, what it is about, and what can be done."""
    found = await _case(console, request)
    tables = console.platform.tables
    return console.page(
        request, "operations/case.html", case=found, key=new_key(), me=request.by.account,
        is_payment=await tables.payments.exists(found.subject), after=form_result(console, request),
        deposit=await held_deposit(console, found.subject) if found.kind == DEPOSIT_HELD else None,
        vin=await tables.entitlements.vehicle_of(found.subject) if found.kind in DRIFTS else None,
        decisions=tuple(DepositDecision), is_decided=found.kind in DECIDED_OTHERWISE,
        waits_for_document=found.kind in HELD_BY,
    )  # fmt: skip


async def take(console: Console, request: PageRequest) -> Response:
    """Become the owner of a case."""
    case_id: UUID = request.ids["case_id"]
    return await acted(
        console, request, f"/operations/cases/{case_id}",
        lambda: console.platform.tables.cases.take(case_id, owner=request.by.name),
    )  # fmt: skip


async def close(console: Console, request: PageRequest) -> Response:
    """Close a case with what was decided."""
    case_id: UUID = request.ids["case_id"]

    async def act() -> None:
        resolution = filled(request.form, "resolution", chars_max=RESOLUTION_CHARS_MAX)
        if resolution is None:
            raise NoteNeededError
        found = await _case(console, request)
        await refuse_personal_data(console.platform.tables.database, found.subject, resolution)
        await console.platform.tables.cases.resolve(
            case_id, resolution=resolution, owner=request.by.name
        )

    return await acted(console, request, f"/operations/cases/{case_id}", act)


async def issue_document(console: Console, request: PageRequest) -> Response:
    """Issue the document that a case is about; issued, it closes the case."""
    found = await _case(console, request)
    return await acted(
        console, request, f"/operations/cases/{found.id}",
        lambda: console.platform.invoices.issuing.issue_again(found.subject),
    )  # fmt: skip


async def _case(console: Console, request: PageRequest) -> Case:
    try:
        return await console.platform.tables.cases.get(request.ids["case_id"])
    except NotFoundError as error:
        raise NothingHereError from error


OPERATIONS_CASE_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/cases", cases, OPERATIONS),
    get("/operations/cases/{case_id:uuid}", case, OPERATIONS),
    post("/operations/cases/{case_id:uuid}/take", take, OPERATIONS),
    post("/operations/cases/{case_id:uuid}/close", close, OPERATIONS),
    post("/operations/cases/{case_id:uuid}/document", issue_document, OPERATIONS),
    *OPERATIONS_DEPOSIT_ROUTES,
)
