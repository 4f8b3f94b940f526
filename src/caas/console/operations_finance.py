"""Bulk resolution of discrepancies, provider claims and agreed fees.

Rules a change must keep: Reconciliation decides whether a second person must approve; an amount is
parsed in the language of the page and shown back before it takes effect.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from decimal import Decimal
from typing import Final, cast
from uuid import UUID

from caas.console.context import Console
from caas.console.form_actions import (
    acted,
    asks,
    form_result,
    has_seen,
    is_to_ask,
    new_key,
    once,
    seen,
)
from caas.console.formats import AmountNotReadError, amount_typed, read_amount, written
from caas.console.operations_discrepancies import NoResolutionChosenError
from caas.console.page_routes import OPERATIONS, PageRoute, get, post
from caas.console.request import PageRequest
from caas.errors import RefusedError, UnavailableError
from caas.reconciliation.bulk import Bulk, BulkRule, ClaimStatus
from caas.reconciliation.finance_terms import KINDS, FeeRefusedError
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.rules.money import EXPONENTS, Money
from caas.web.response import Response, refused

BULK: Final = "/operations/bulk-resolutions"
CLAIMS: Final = "/operations/claims"
FEES: Final = "/operations/fee-terms"
STEPS: Final = ("sent", "accepted", "paid", "refused")
STATUS_KINDS: Final = {
    "filed": "warn", "sent": "busy", "accepted": "busy", "paid": "good", "refused": "bad",
    "withdrawn": "",
}  # fmt: skip
PER_PERCENT: Final = 10_000
PERCENT: Final = "USD"
"""A percentage is parsed like an amount: a point or a comma, and two decimals."""


BULK_FIELDS: Final = ("kind", "currency", "day", "amount_max", "resolution", "note")
FEE_FIELDS: Final = (
    "gateway",
    "provider",
    "method",
    "kind",
    "percent",
    "fixed",
    "tolerance",
    "valid_from",
)


class RuleRefusedError(RefusedError):
    """A rule has a kind, a currency, and if wanted a day and the largest amount."""

    code = "rule_refused"


async def bulk(console: Console, request: PageRequest) -> Response:
    """List proposed rules, and show the form for a rule."""
    reconciliation = console.platform.reconciliation
    counts = [
        (name, int(text))
        for name in ("met", "resolved", "waiting", "proposed", "not_offered")
        if (text := request.query.get(name, "")).isascii() and text.isdigit()
    ]
    return console.page(
        request,
        "operations/bulk.html",
        proposed=await reconciliation.bulk.proposed(),
        counts=counts,
        kinds=list(DiscrepancyKind),
        resolutions=list(Resolution),
        money_of=Money,
        path=BULK,
        me=request.by.account,
        key=new_key(),
        after=form_result(console, request),
    )


async def resolve(console: Console, request: PageRequest) -> Response:
    """Resolve everything that a rule matches, or propose it."""

    async def work() -> str:
        chosen = request.form.get("resolution", "")
        if chosen not in set(Resolution):
            raise NoResolutionChosenError
        done = await console.platform.reconciliation.bulk.resolve(
            _rule_of(request), resolution=Resolution(chosen), note=request.form.get("note", ""),
            by=request.by.actor,
        )  # fmt: skip
        reported_counts = "".join(
            f"&{status.replace(' ', '_')}={number}" for status, number in done.by_status.items()
        )
        return f"{BULK}?met={done.met}{reported_counts}"

    try:
        rule = _rule_of(request)
        limit = rule.amount_max
        if (
            limit is not None
            and request.form.get("note", "").strip()
            and not has_seen(request, limit)
        ):
            return _confirmation_of_bulk(console, request, rule, limit)
        return await once(console, request, work)
    except UnavailableError:
        raise
    except RefusedError as refusal:
        return refused(BULK, refusal.code)


async def approve(console: Console, request: PageRequest) -> Response:
    """Approve, as the second person, everything that a rule proposed, once confirmed."""
    me = request.by.actor
    proposed = await console.platform.reconciliation.bulk.proposed()
    one = next((it for it in proposed if it.id == request.ids["bulk_id"]), None)
    if one is not None and is_to_ask(request, one.proposed_account):
        resolution = console.renderer.translator(request.language).named(
            "resolution", one.resolution
        )
        amount = written(Money(one.amount, one.currency), request.language)
        name = f"{resolution} · {one.discrepancies} · {amount}"
        return asks(console, request, "resolve", back=BULK, name=name)
    return await _decided(
        console, request, lambda investigation, it: investigation.approve(it, by=me)
    )


async def reject(console: Console, request: PageRequest) -> Response:
    """Reject everything that a rule proposed."""
    me, text = request.by.actor, request.form.get("note", "")
    return await _decided(
        console, request, lambda investigation, it: investigation.reject(it, note=text, by=me)
    )


async def claims(console: Console, request: PageRequest) -> Response:
    """List claims on the provider, soonest deadline first."""
    reconciliation, everything = (
        console.platform.reconciliation,
        request.query.get("show") == "all",
    )
    today, _ = await reconciliation.days.today()
    return console.page(
        request,
        "operations/claims.html",
        claims=await reconciliation.bulk.claims(open_only=not everything),
        everything=everything,
        steps=STEPS,
        kinds=STATUS_KINDS,
        today=today,
        money_of=Money,
        path=CLAIMS,
        key=new_key(),
        after=form_result(console, request),
    )


async def claim_step(console: Console, request: PageRequest) -> Response:
    """Record the outcome of a claim."""
    form, claim_of = request.form, request.ids["discrepancy_id"]

    async def act() -> None:
        status = form.get("status", "")
        if status not in STEPS:
            raise NoResolutionChosenError
        await console.platform.reconciliation.bulk.claim_step(
            claim_of, cast("ClaimStatus", status), receipt=form.get("receipt", "").strip() or None,
            note=form.get("note", ""), by=request.by.actor,
        )  # fmt: skip

    return await acted(console, request, CLAIMS, act)


async def fees(console: Console, request: PageRequest) -> Response:
    """List the fees in force today, and show the form for another one."""
    reconciliation = console.platform.reconciliation
    today, _ = await reconciliation.days.today()
    listed = [
        (name, it, Decimal(it.rate_ppm) / PER_PERCENT)
        for name in reconciliation.gateways
        for it in await reconciliation.of(name).finance_terms.fees(today)
    ]
    return console.page(
        request,
        "operations/fee_terms.html",
        fees=listed,
        gateways=reconciliation.gateways,
        kinds=KINDS,
        today=today,
        path=FEES,
        key=new_key(),
        after=form_result(console, request),
    )


async def keep_fee(console: Console, request: PageRequest) -> Response:
    """Store a fee that applies from a date on."""
    form = request.form
    method = form.get("method", "").strip() or "*"
    percent = read_amount(form.get("percent", ""), PERCENT, request.language)

    async def act() -> None:
        if percent is None:
            raise AmountNotReadError
        parts = [form.get(name, "").strip() or "0" for name in ("fixed", "tolerance")]
        day = _day(form.get("valid_from", ""))
        if day is None or not all(_is_number(it) for it in parts):
            raise FeeRefusedError
        rate = percent.amount * PER_PERCENT // 100
        one = console.platform.reconciliation.of(form.get("gateway") or None)
        await one.finance_terms.keep_fee(
            method, form.get("kind", ""), day, (rate, int(parts[0]), int(parts[1])),
            provider=form.get("provider", "").strip() or "*",
            by=request.by.name,
        )  # fmt: skip

    if percent is not None and not has_seen(request, percent.amount):
        share = Decimal(percent.amount).scaleb(-2)
        return _confirmation(
            console, request, "fee", f"{method} · {share} %", FEE_FIELDS, percent.amount
        )
    return await acted(console, request, FEES, act)


def _confirmation_of_bulk(
    console: Console, request: PageRequest, rule: BulkRule, limit: int
) -> Response:
    kind = console.renderer.translator(request.language).named("discrepancy", rule.kind)
    name = f"{kind} ≤ {written(Money(limit, rule.currency), request.language)}"
    return _confirmation(console, request, "bulk", name, BULK_FIELDS, limit)


def _confirmation(  # what is asked, and what was read of which form
    console: Console, request: PageRequest, what: str, name: str, fields: tuple[str, ...], read: int
) -> Response:
    filled_in = {field: request.form.get(field, "") for field in fields}
    return asks(console, request, what, back=request.path, name=name, fields=filled_in | seen(read))


def _rule_of(request: PageRequest) -> BulkRule:
    kind, code = request.form.get("kind", ""), request.form.get("currency", "").strip().upper()
    if kind not in set(DiscrepancyKind) or code not in EXPONENTS:
        raise RuleRefusedError
    day_text, amount_text = (request.form.get(it, "").strip() for it in ("day", "amount_max"))
    day = _day(day_text)
    largest = amount_typed(amount_text, code, request.language) if amount_text else None
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
    console: Console, request: PageRequest, act: Callable[[Bulk, UUID], Awaitable[object]]
) -> Response:
    investigation, bulk_id = console.platform.reconciliation.bulk, request.ids["bulk_id"]
    return await acted(console, request, BULK, lambda: act(investigation, bulk_id))


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
