"""Discrepancies (Diagram 10, "Manual investigation required"): list, investigate, resolve.

The resolution is one of those that the discrepancy's kind allows; above the limit of its currency a
second person approves (decision 35).

Rules a change must keep: Reconciliation decides which resolutions are allowed and who must approve;
a document is served as a download, never inline.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from caas.billing_database.discrepancies import DiscrepancyFilter
from caas.billing_database.rows import PAGE_ROWS_MAX
from caas.console.context import Console
from caas.console.form_actions import acted, asks, form_result, is_confirmed, is_to_ask, new_key
from caas.console.formats import written
from caas.console.operations_payments import attachment
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.errors import NotFoundError, RefusedError
from caas.reconciliation.investigation import Investigated, Investigation
from caas.reconciliation.validation import DocumentRefusedError
from caas.rules.discrepancies import DiscrepancyKind, Resolution, needs_second_approver
from caas.rules.money import Money
from caas.web.response import Response

PATH: Final = "/operations/discrepancies"
NAME_CHARS_MAX: Final = 100
FILTERS: Final = ("unresolved", "mine", "proposed", "resolved")
STATUS_KINDS: Final = {
    "open": "warn", "waiting": "busy", "proposed": "warn", "resolved": "good",
}  # fmt: skip

MOVES_MONEY: Final = frozenset({
    Resolution.ACCEPT_LOSS, Resolution.REFUND_THE_CUSTOMER, Resolution.WRITE_OFF,
})  # fmt: skip
"""Resolutions that need confirmation, because they book a loss or send money."""

Act = Callable[[Investigation, UUID], Awaitable[object]]
"""A form's action on the discrepancy in its path."""


class NoResolutionChosenError(RefusedError):
    """Choose one of the resolutions."""

    code = "no_resolution_chosen"


async def discrepancies(console: Console, request: PageRequest) -> Response:
    """List discrepancies, soonest deadline first."""
    show = request.query.get("show", "")
    kind = request.query.get("kind", "")
    listed = await console.platform.reconciliation.discrepancies.listed(
        _filter_of(show, kind, request.by.name), after=request.place("after")
    )
    today, _ = await console.platform.reconciliation.days.today()
    return console.page(
        request, "operations/discrepancies.html", listed=listed, kinds=STATUS_KINDS, today=today,
        show=show if show in FILTERS else "unresolved", filters=FILTERS, kind=kind,
        money_of=Money, more=listed[-1].id if len(listed) == PAGE_ROWS_MAX else None,
    )  # fmt: skip


async def discrepancy(console: Console, request: PageRequest) -> Response:
    """Show a discrepancy with all details and the allowed resolutions."""
    looked = await _investigated(console, request)
    found = looked.discrepancy
    at_stake = Money(found.amount, found.currency)
    return console.page(
        request, "operations/discrepancy.html", looked=looked, found=found, at_stake=at_stake,
        kinds=STATUS_KINDS, money_of=Money, me=request.by.account, path=_path(found.id),
        needs_second={it for it in looked.allowed if needs_second_approver(it, at_stake)},
        proposal=next((it for it in looked.resolutions if it.state == "proposed"), None),
        after=form_result(console, request), key=new_key(),
    )  # fmt: skip


async def take(console: Console, request: PageRequest) -> Response:
    """Assign a discrepancy to the caller."""
    me = request.by.name
    return await _acted(
        console, request, lambda investigation, it: investigation.assign(it, owner=me, by=me)
    )


async def note(console: Console, request: PageRequest) -> Response:
    """Add a note to a discrepancy."""
    me, text = request.by.name, request.form.get("note", "")
    return await _acted(
        console, request, lambda investigation, it: investigation.note(it, text=text, by=me)
    )


async def attach(console: Console, request: PageRequest) -> Response:
    """Attach a document to a discrepancy."""
    upload, me = request.upload, request.by.name

    async def act(investigation: Investigation, it: UUID) -> None:
        if upload is None:
            raise DocumentRefusedError(name="", media_type="")
        await investigation.attach(
            it, name=upload.name, media_type=upload.media_type, content=upload.content, by=me
        )

    return await _acted(console, request, act)


async def resolve(console: Console, request: PageRequest) -> Response:
    """Resolve a discrepancy, or propose the resolution if a second person must approve."""
    me, text, chosen = (
        request.by.actor,
        request.form.get("note", ""),
        request.form.get("resolution", ""),
    )

    async def act(investigation: Investigation, it: UUID) -> None:
        if chosen not in set(Resolution):
            raise NoResolutionChosenError
        await investigation.resolve(it, resolution=Resolution(chosen), note=text, by=me)

    looked = await _investigated(console, request)
    at_stake = Money(looked.discrepancy.amount, looked.discrepancy.currency)
    if chosen in MOVES_MONEY.intersection(looked.allowed) and not needs_second_approver(
        Resolution(chosen), at_stake
    ):
        fields = {"resolution": chosen, "note": text}
        if text.strip() and not is_confirmed(request):
            return _confirmation(console, request, Resolution(chosen), at_stake, fields)
    return await _acted(console, request, act)


async def approve(console: Console, request: PageRequest) -> Response:
    """Approve as the second person, once confirmed."""
    me = request.by.actor
    looked = await _investigated(console, request)
    proposal = next((it for it in looked.resolutions if it.state == "proposed"), None)
    if proposal is not None and is_to_ask(request, proposal.proposed_account):
        at_stake = Money(looked.discrepancy.amount, looked.discrepancy.currency)
        return _confirmation(console, request, Resolution(proposal.resolution), at_stake, {})
    return await _acted(
        console, request, lambda investigation, it: investigation.approve(it, by=me)
    )


async def reject(console: Console, request: PageRequest) -> Response:
    """Reject a proposed resolution."""
    me, text = request.by.actor, request.form.get("note", "")
    return await _acted(
        console, request, lambda investigation, it: investigation.reject(it, note=text, by=me)
    )


async def reopen(console: Console, request: PageRequest) -> Response:
    """Reopen a discrepancy and reverse its ledger entries."""
    me, text = request.by.name, request.form.get("note", "")
    return await _acted(
        console, request, lambda investigation, it: investigation.reopen(it, note=text, by=me)
    )


async def document(console: Console, request: PageRequest) -> Response:
    """Return an attached document as a file."""
    looked = await _investigated(console, request)
    wanted = request.ids["evidence_id"]
    if all(one.id != wanted for one in looked.evidence):
        raise NothingHereError
    name, media_type, content = await console.platform.reconciliation.investigation.document(wanted)
    return attachment(content, safe_name(name), media_type.encode())


def safe_name(name: str) -> str:
    """Return a file name that is safe in a header."""
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "_"
                   for sign in name)  # fmt: skip
    return kept[-NAME_CHARS_MAX:] or "document"


def _confirmation(
    console: Console,
    request: PageRequest,
    chosen: Resolution,
    at_stake: Money,
    fields: dict[str, str],
) -> Response:
    t = console.renderer.translator(request.language)
    name = f"{t.named('resolution', chosen)} · {written(at_stake, request.language)}"
    back = _path(request.ids["discrepancy_id"])
    return asks(console, request, "resolve", back=back, name=name, fields=fields)


async def _acted(console: Console, request: PageRequest, act: Act) -> Response:
    discrepancy_id: UUID = request.ids["discrepancy_id"]
    investigation = console.platform.reconciliation.investigation
    return await acted(
        console, request, _path(discrepancy_id), lambda: act(investigation, discrepancy_id)
    )


async def _investigated(console: Console, request: PageRequest) -> Investigated:
    try:
        return await console.platform.reconciliation.investigation.check(
            request.ids["discrepancy_id"]
        )
    except NotFoundError as error:
        raise NothingHereError from error


def _filter_of(show: str, kind: str, me: str) -> DiscrepancyFilter:
    known = DiscrepancyKind(kind) if kind in set(DiscrepancyKind) else None
    match show:
        case "resolved" | "proposed":
            return DiscrepancyFilter(status=show, kind=known)
        case "mine":
            return DiscrepancyFilter(owner=me, unresolved=True, kind=known)
        case _:
            return DiscrepancyFilter(unresolved=True, kind=known)


def _path(discrepancy_id: UUID) -> str:
    return f"{PATH}/{discrepancy_id}"


_ONE: Final = PATH + "/{discrepancy_id:uuid}"
OPERATIONS_DISCREPANCY_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, discrepancies, OPERATIONS),
    get(_ONE, discrepancy, OPERATIONS),
    post(_ONE + "/take", take, OPERATIONS),
    post(_ONE + "/note", note, OPERATIONS),
    post(_ONE + "/documents", attach, OPERATIONS, takes_file=True),
    post(_ONE + "/resolve", resolve, OPERATIONS),
    post(_ONE + "/approve", approve, OPERATIONS),
    post(_ONE + "/reject", reject, OPERATIONS),
    post(_ONE + "/reopen", reopen, OPERATIONS),
    get(_ONE + "/documents/{evidence_id:uuid}", document, OPERATIONS),
)
