"""Cases: what a person must look at, taken by somebody and closed with what was decided.

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
from caas.channels.acting import acted, told
from caas.channels.operations_deposits import OPERATIONS_DEPOSIT_ROUTES, held_deposit
from caas.channels.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit
from caas.errors import NotFoundError, RefusedError
from caas.order_management.held_deposits import DepositDecision
from caas.ota_activation_engine import DRIFTS
from caas.web.forms import filled
from caas.web.response import Response

RESOLUTION_CHARS_MAX: Final = 1000
STATUSES: Final = ("open", "resolved")
KIND_CHARS_MAX: Final = 64
HELD_BY: Final = frozenset({NOT_ISSUED, BUYER_MISSING, UNTAXED})


class WordsNeededError(RefusedError):
    """Say in a few words what was found out or decided."""

    code = "words_needed"


async def cases(channels: Channels, visit: Visit) -> Response:
    """Show cases, newest first."""
    books = channels.rooms.books
    status = visit.query.get("status", "open")
    kind = visit.query.get("kind", "")[:KIND_CHARS_MAX]
    listed = await books.cases.listed(
        status=status if status in STATUSES else "open", kind=kind or None
    )
    return channels.page(
        visit, "operations/cases.html", cases=listed, chosen=status, kind=kind,
        kinds=await operations_counts.open_cases(books.database), after=told(channels, visit),
    )  # fmt: skip


async def case(channels: Channels, visit: Visit) -> Response:
    """Show a case, what it is about, and what can be done."""
    found = await _case(channels, visit)
    books = channels.rooms.books
    return channels.page(
        visit, "operations/case.html", case=found, key=new_key(), me=visit.by.account,
        is_payment=await books.payments.exists(found.subject), after=told(channels, visit),
        deposit=await held_deposit(channels, found.subject) if found.kind == DEPOSIT_HELD else None,
        vin=await books.entitlements.vehicle_of(found.subject) if found.kind in DRIFTS else None,
        decisions=tuple(DepositDecision), is_decided=found.kind in DECIDED_OTHERWISE,
        waits_for_document=found.kind in HELD_BY,
    )  # fmt: skip


async def take(channels: Channels, visit: Visit) -> Response:
    """Become the owner of a case."""
    case_id: UUID = visit.ids["case_id"]
    return await acted(
        channels, visit, f"/operations/cases/{case_id}",
        lambda: channels.rooms.books.cases.take(case_id, owner=visit.by.name),
    )  # fmt: skip


async def close(channels: Channels, visit: Visit) -> Response:
    """Close a case with what was decided."""
    case_id: UUID = visit.ids["case_id"]

    async def act() -> None:
        resolution = filled(visit.form, "resolution", chars_max=RESOLUTION_CHARS_MAX)
        if resolution is None:
            raise WordsNeededError
        found = await _case(channels, visit)
        await refuse_personal_data(channels.rooms.books.database, found.subject, resolution)
        await channels.rooms.books.cases.resolve(
            case_id, resolution=resolution, owner=visit.by.name
        )

    return await acted(channels, visit, f"/operations/cases/{case_id}", act)


async def issue_document(channels: Channels, visit: Visit) -> Response:
    """Issue the document that a case is about; issued, it closes the case."""
    found = await _case(channels, visit)
    return await acted(
        channels, visit, f"/operations/cases/{found.id}",
        lambda: channels.rooms.invoices.issuing.issue_again(found.subject),
    )  # fmt: skip


async def _case(channels: Channels, visit: Visit) -> Case:
    try:
        return await channels.rooms.books.cases.get(visit.ids["case_id"])
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
