"""Many discrepancies decided by rule, claims on the provider, and agreed fees, in the console.

Rules a change must keep: nothing is decided here; whether a second person is needed, and who may
agree, is the room's to say; an amount is read in the language of the page, and shown back before it
counts.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from decimal import Decimal
from typing import Final, cast
from uuid import UUID

from caas.channels.acting import acted, told
from caas.channels.amounts import AmountNotReadError, amount_typed, read_amount
from caas.channels.confirmation import asks, has_seen, seen
from caas.channels.formats import written
from caas.channels.operations_discrepancies import NoResolutionChosenError
from caas.channels.page_routes import OPERATIONS, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key, once
from caas.channels.visit import Visit
from caas.errors import RefusedError, UnavailableError
from caas.payment_processing.reconciliation.bulk import Bulk, BulkRule, ClaimStatus
from caas.payment_processing.reconciliation.finance_terms import KINDS, FeeRefusedError
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.rules.money import EXPONENTS, Money
from caas.web.response import Response, refused

BULK: Final = "/operations/bulk-resolutions"
CLAIMS: Final = "/operations/claims"
FEES: Final = "/operations/fee-terms"
STEPS: Final = ("sent", "accepted", "paid", "refused")
STATUS_KINDS: Final = {
    "filed": "warn", "sent": "busy", "accepted": "busy", "paid": "good", "refused": "bad",
}  # fmt: skip
PER_PERCENT: Final = 10_000
PERCENT: Final = "USD"
"""A percentage is read as an amount is: a point or a comma, and two places."""


BULK_FIELDS: Final = ("kind", "currency", "day", "amount_max", "resolution", "note")
FEE_FIELDS: Final = ("method", "kind", "percent", "fixed", "tolerance", "valid_from")


class RuleRefusedError(RefusedError):
    """A rule has a kind, a currency, and if wanted a day and the largest amount."""

    code = "rule_refused"


async def bulk(channels: Channels, visit: Visit) -> Response:
    """Show what rules proposed, and take a rule."""
    room = channels.rooms.reconciliation
    counts = [
        (name, int(text))
        for name in ("met", "resolved", "waiting", "proposed", "not_offered")
        if (text := visit.query.get(name, "")).isascii() and text.isdigit()
    ]
    return channels.page(
        visit, "operations/bulk.html", proposed=await room.bulk.proposed(), counts=counts,
        kinds=list(DiscrepancyKind), resolutions=list(Resolution), money_of=Money, path=BULK,
        me=visit.by.account, key=new_key(), after=told(channels, visit),
    )  # fmt: skip


async def resolve(channels: Channels, visit: Visit) -> Response:
    """Decide all that a rule meets, or propose to."""

    async def work() -> str:
        chosen = visit.form.get("resolution", "")
        if chosen not in set(Resolution):
            raise NoResolutionChosenError
        done = await channels.rooms.reconciliation.bulk.resolve(
            _rule_of(visit), resolution=Resolution(chosen), note=visit.form.get("note", ""),
            by=visit.by.actor,
        )  # fmt: skip
        told_counts = "".join(
            f"&{status.replace(' ', '_')}={number}" for status, number in done.by_status.items()
        )
        return f"{BULK}?met={done.met}{told_counts}"

    try:
        rule = _rule_of(visit)
        limit = rule.amount_max
        if limit is not None and visit.form.get("note", "").strip() and not has_seen(visit, limit):
            return _asks_bulk(channels, visit, rule, limit)
        return await once(channels, visit, work)
    except UnavailableError:
        raise
    except RefusedError as refusal:
        return refused(BULK, refusal.code)


async def approve(channels: Channels, visit: Visit) -> Response:
    """Agree, as the second person, to all that a rule proposed."""
    me = visit.by.actor
    return await _decided(channels, visit, lambda desk, it: desk.approve(it, by=me))


async def reject(channels: Channels, visit: Visit) -> Response:
    """Turn down all that a rule proposed."""
    me, text = visit.by.actor, visit.form.get("note", "")
    return await _decided(channels, visit, lambda desk, it: desk.reject(it, note=text, by=me))


async def claims(channels: Channels, visit: Visit) -> Response:
    """Show claims on the provider, the soonest due first."""
    room, everything = channels.rooms.reconciliation, visit.query.get("show") == "all"
    today, _ = await room.days.today()
    return channels.page(
        visit, "operations/claims.html", claims=await room.bulk.claims(open_only=not everything),
        everything=everything, steps=STEPS, kinds=STATUS_KINDS, today=today, money_of=Money,
        path=CLAIMS, key=new_key(), after=told(channels, visit),
    )  # fmt: skip


async def claim_step(channels: Channels, visit: Visit) -> Response:
    """Write down what became of a claim."""
    form, claim_of = visit.form, visit.ids["discrepancy_id"]

    async def act() -> None:
        status = form.get("status", "")
        if status not in STEPS:
            raise NoResolutionChosenError
        await channels.rooms.reconciliation.bulk.claim_step(
            claim_of, cast("ClaimStatus", status), receipt=form.get("receipt", "").strip() or None,
            note=form.get("note", ""), by=visit.by.actor,
        )  # fmt: skip

    return await acted(channels, visit, CLAIMS, act)


async def fees(channels: Channels, visit: Visit) -> Response:
    """Show the fees that hold today, and take another."""
    room = channels.rooms.reconciliation
    today, _ = await room.days.today()
    listed = [
        (it, Decimal(it.rate_ppm) / PER_PERCENT) for it in await room.finance_terms.fees(today)
    ]
    return channels.page(
        visit, "operations/fee_terms.html", fees=listed, gateway=room.gateway_name, kinds=KINDS,
        today=today, path=FEES, key=new_key(), after=told(channels, visit),
    )  # fmt: skip


async def keep_fee(channels: Channels, visit: Visit) -> Response:
    """Keep a fee from a day on."""
    form = visit.form
    method = form.get("method", "").strip() or "*"
    percent = read_amount(form.get("percent", ""), PERCENT, visit.language)

    async def act() -> None:
        if percent is None:
            raise AmountNotReadError
        parts = [form.get(name, "").strip() or "0" for name in ("fixed", "tolerance")]
        day = _day(form.get("valid_from", ""))
        if day is None or not all(_is_number(it) for it in parts):
            raise FeeRefusedError
        rate = percent.amount * PER_PERCENT // 100
        await channels.rooms.reconciliation.finance_terms.keep_fee(
            method, form.get("kind", ""), day, (rate, int(parts[0]), int(parts[1])),
            provider=form.get("provider", "").strip() or "*",
            by=visit.by.name,
        )  # fmt: skip

    if percent is not None and not has_seen(visit, percent.amount):
        share = Decimal(percent.amount).scaleb(-2)
        return _asks(channels, visit, "fee", f"{method} · {share} %", FEE_FIELDS, percent.amount)
    return await acted(channels, visit, FEES, act)


def _asks_bulk(channels: Channels, visit: Visit, rule: BulkRule, limit: int) -> Response:
    kind = channels.renderer.translator(visit.language).named("discrepancy", rule.kind)
    name = f"{kind} ≤ {written(Money(limit, rule.currency), visit.language)}"
    return _asks(channels, visit, "bulk", name, BULK_FIELDS, limit)


def _asks(  # what is asked, and what was read of which form
    channels: Channels, visit: Visit, what: str, name: str, fields: tuple[str, ...], read: int
) -> Response:
    filled_in = {field: visit.form.get(field, "") for field in fields}
    return asks(channels, visit, what, back=visit.path, name=name, fields=filled_in | seen(read))


def _rule_of(visit: Visit) -> BulkRule:
    kind, code = visit.form.get("kind", ""), visit.form.get("currency", "").strip().upper()
    if kind not in set(DiscrepancyKind) or code not in EXPONENTS:
        raise RuleRefusedError
    day_text, amount_text = (visit.form.get(it, "").strip() for it in ("day", "amount_max"))
    day = _day(day_text)
    largest = amount_typed(amount_text, code, visit.language) if amount_text else None
    if day_text and day is None:
        raise RuleRefusedError
    return BulkRule(
        kind=DiscrepancyKind(kind), currency=code, day=day,
        amount_max=largest.amount if largest else None,
    )  # fmt: skip


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < len(str(10**9))


async def _decided(
    channels: Channels, visit: Visit, act: Callable[[Bulk, UUID], Awaitable[object]]
) -> Response:
    desk, bulk_id = channels.rooms.reconciliation.bulk, visit.ids["bulk_id"]
    return await acted(channels, visit, BULK, lambda: act(desk, bulk_id))


OPERATIONS_FINANCE_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(BULK, bulk, OPERATIONS),
    post(BULK, resolve, OPERATIONS),
    post(BULK + "/{bulk_id:uuid}/approve", approve, OPERATIONS),
    post(BULK + "/{bulk_id:uuid}/reject", reject, OPERATIONS),
    get(CLAIMS, claims, OPERATIONS),
    post(CLAIMS + "/{discrepancy_id:uuid}", claim_step, OPERATIONS),
    get(FEES, fees, OPERATIONS),
    post(FEES, keep_fee, OPERATIONS),
)
