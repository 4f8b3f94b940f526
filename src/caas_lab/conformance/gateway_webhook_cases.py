"""Cases of what a gateway reports by itself: webhooks (decision 31), settlement reports (33)."""

import tempfile
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from caas.app import now
from caas.external_systems import report_files
from caas.external_systems.payment_gateway import (
    GatewayEvent,
    GatewayHint,
    GatewayTransaction,
    ReportStatus,
    SettlementFile,
    SettlementPage,
    SettlementsNotReadyError,
    TransactionStatus,
)
from caas.external_systems.webhook_signatures import WebhookRefusedError
from caas_lab.conformance.cases import Case, MeansMissingError, NotConformingError, check
from caas_lab.conformance.gateway_reports import reference_of, transaction_of
from caas_lab.conformance.gateway_under_test import GatewayUnderTest, a_key
from caas_lab.conformance.methods_file import SandboxAction
from caas_lab.conformance.webhook_receiver import ReceivedWebhook

JUNK: Final = (
    b"", b"{}", b"[]", b"null", b"0", b'"x"', b"\xff\xfe", b"{", b"<html></html>", b"[" * 5_000,
    b'{"id": 1}', b'{"type": "transaction.settled", "data": null}', b'{"id": "x", "data": []}',
    b'{"amount": 1e400, "id": "' + b"x" * 5_000 + b'"}',
)  # fmt: skip
LONG: Final = timedelta(days=2)
PAGES_MAX: Final = 10_000


async def each_step_is_reported_and_signed(it: GatewayUnderTest) -> None:
    """An authorization and a capture are reported; the webhooks agree with the answers."""
    receiver = it.webhooks()
    transaction = await it.authorized()
    first = await _about(it, transaction)
    receiver.received.clear()
    await it.capture(transaction)

    for webhook in (first, await _about(it, transaction)):
        _verified(it, webhook)
        for event in _events(it, webhook):
            reported = event.subject
            if not isinstance(reported, GatewayTransaction) or reported.id != transaction.id:
                continue
            check(
                (reported.amount, reported.currency) == (transaction.amount, transaction.currency),
                f"A webhook reports {reported.amount} {reported.currency} of {transaction.amount} "
                f"{transaction.currency}.",
            )


async def a_decline_is_reported(it: GatewayUnderTest) -> None:
    """A decline is reported as failed with its code, or as a hint to look it up."""
    it.webhooks()
    if not it.methods.declines:
        raise MeansMissingError("methods.toml has no [declines].")
    request = it.request(next(iter(it.methods.declines.values())))
    declined = await it.gateway.initiate(request, key=a_key())

    events = _events(it, await _about(it, declined))

    known = [
        isinstance(event.subject, GatewayHint)
        or (
            isinstance(event.subject, GatewayTransaction)
            and event.subject.status is TransactionStatus.FAILED
            and event.subject.decline_code == declined.decline_code
        )
        for event in events
    ]
    check(any(known), f"The webhook of a decline reports {events}.")


async def what_is_wrongly_signed_is_refused(it: GatewayUnderTest) -> None:
    """A changed body, a changed or missing signature: refused, whatever it says."""
    transaction = await it.authorized()
    webhook = await _about(it, transaction)
    _verified(it, webhook)

    for name, reported in (("id", transaction.id), ("reference", transaction.reference)):
        other = webhook.body.replace(reported.encode(), _changed(reported).encode())
        if other != webhook.body:
            _refused(it, other, webhook.headers, f"a webhook with another {name}")
    for header in it.configured.verifier.signed_headers:
        changed = {**webhook.headers, header: _changed(webhook.headers[header])}
        without = {name: value for name, value in webhook.headers.items() if name != header}
        _refused(it, webhook.body, changed, f"a webhook with another {header}")
        _refused(it, webhook.body, without, f"a webhook without {header}")


async def a_webhook_of_long_ago_is_refused(it: GatewayUnderTest) -> None:
    """A recorded webhook cannot be sent again two days later."""
    webhook = await _about(it, await it.authorized())

    for at in (now() + LONG, now() - LONG):
        _refused(it, webhook.body, webhook.headers, "a webhook of another day", at=at)


async def a_repeated_webhook_is_the_same_event(it: GatewayUnderTest) -> None:
    """An event has one id however often it is read, and no other event has it."""
    receiver = it.webhooks()
    await _about(it, await it.captured())

    ids: dict[str, GatewayEvent] = {}
    for webhook in receiver.received:
        events, again = _events(it, webhook), _events(it, webhook)
        check(events == again, "The same webhook is read differently the second time.")
        for event in events:
            same = ids.setdefault(event.id, event) == event
            check(same, f"Two different events have the id {event.id}.")


async def webhooks_mean_the_same_in_any_order(it: GatewayUnderTest) -> None:
    """What a webhook means does not depend on those that came before it."""
    receiver = it.webhooks()
    await _about(it, await it.captured())

    came = list(receiver.received)
    in_order = {webhook.body: _events(it, webhook) for webhook in came}
    for order in (came[::-1], came[1:] + came[:1], sorted(came, key=lambda one: one.body)):
        for webhook in order:
            check(
                _events(it, webhook) == in_order[webhook.body],
                "A webhook means something else when others come first.",
            )


async def junk_is_never_an_event(it: GatewayUnderTest) -> None:
    """What is not of the gateway's form is nothing, or a ValueError; never a crash or an event."""
    for body in JUNK:
        try:
            events = [it.configured.read_event(part) for part in it.configured.split(body)]
        except (ValueError, RecursionError):
            continue
        check(not any(events), f"{body[:40]!r} is read as an event.")


async def the_report_shows_what_was_captured_and_adds_up(it: GatewayUnderTest) -> None:
    """The settlement report of a day is whole, in pages or as a file, and has our capture."""
    transaction = await it.captured()
    try:
        await it.act(SandboxAction.SETTLE, transaction)
    except MeansMissingError:
        booked = False
    else:
        booked = True
    moment = transaction.created_at or now()
    day = moment.astimezone(ZoneInfo(it.methods.report_zone)).date()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report"
        file = await _file(it, transaction, day, path)
        if file is not None:
            _check_file(file, path, transaction, booked=booked)
            return
    await _check_pages(it, transaction, day, booked=booked)


async def _file(
    it: GatewayUnderTest, transaction: GatewayTransaction, day: date, path: Path
) -> SettlementFile | None:
    """Return the report of the whole day as a file; None where it comes in pages."""
    try:
        file = await it.gateway.settlement_file(day, path)
    except SettlementsNotReadyError:
        pass
    else:
        if file is None or file.status is ReportStatus.CLOSED:
            return file
    await it.act(SandboxAction.CLOSE_DAY, transaction)
    return await it.gateway.settlement_file(day, path)


def _check_file(
    file: SettlementFile, path: Path, transaction: GatewayTransaction, *, booked: bool
) -> None:
    try:
        read = report_files.examine(path, path.parent)
    except report_files.BadReportError as error:
        raise NotConformingError(f"The report cannot be read: {error.sentence}") from error
    check(
        read.format.name == file.format,
        f"The report is announced as {file.format}, and is {read.format.name}.",
    )
    content = path.read_bytes()
    ours = transaction.reference.encode() in content or transaction.id.encode() in content
    check(ours or not booked, "The report does not have what was captured.")


async def _check_pages(
    it: GatewayUnderTest, transaction: GatewayTransaction, day: date, *, booked: bool
) -> None:
    pages = [await it.gateway.settlements(day)]
    while pages[-1].next_cursor is not None and len(pages) < PAGES_MAX:
        pages.append(await it.gateway.settlements(day, pages[-1].next_cursor))
    check(pages[-1].next_cursor is None, f"The report has more than {PAGES_MAX} pages.")
    _check_sums(pages)
    ours = [
        line.gross
        for page in pages
        for line in page.lines
        if transaction.id == line.transaction_id or transaction.reference == line.reference
    ]
    check(
        not booked or transaction.amount in ours,
        f"The report has {ours} of the {transaction.amount} that were captured.",
    )


def _check_sums(pages: list[SettlementPage]) -> None:
    lines = [line for page in pages for line in page.lines]
    unreadable = [line.reason for page in pages for line in page.quarantined]
    check(not unreadable, f"Lines of the report cannot be read: {unreadable[:3]}.")
    check(len({page.report_id for page in pages}) == 1, "The pages are of different reports.")
    numbers = [line.line_no for line in lines]
    check(
        numbers == list(range(1, pages[-1].line_count + 1)),
        f"The lines are not numbered from 1 to {pages[-1].line_count}.",
    )
    for name, reported, total in (
        ("gross", pages[-1].gross_total, sum(line.gross for line in lines)),
        ("net", pages[-1].net_total, sum(line.net for line in lines)),
    ):
        check(
            reported == total,
            f"The {name} total is reported as {reported}, and the lines give {total}.",
        )


async def _about(it: GatewayUnderTest, transaction: GatewayTransaction) -> ReceivedWebhook:
    def wanted(webhook: ReceivedWebhook) -> bool:
        return any(
            transaction.id == transaction_of(event) or transaction.reference == reference_of(event)
            for event in _events(it, webhook)
        )

    return await it.webhooks().wait_for(wanted, what=f"transaction {transaction.id}")


def _events(it: GatewayUnderTest, webhook: ReceivedWebhook) -> list[GatewayEvent]:
    """Return the events of a webhook that mean something."""
    try:
        parts = it.configured.split(webhook.body)
        events = [it.configured.read_event(part) for part in parts]
        return [event for event in events if event is not None]
    except ValueError as error:
        raise NotConformingError(f"A webhook of the gateway cannot be read: {error}.") from error


def _verified(it: GatewayUnderTest, webhook: ReceivedWebhook) -> None:
    try:
        _verify(it, webhook.body, webhook.headers, now())
    except WebhookRefusedError as error:
        sentence = f"A webhook of the gateway is refused: {error.sentence}"
        raise NotConformingError(sentence) from error


def _refused(
    it: GatewayUnderTest, body: bytes, headers: Mapping[str, str], what: str,
    *, at: datetime | None = None,
) -> None:  # fmt: skip
    try:
        _verify(it, body, headers, at or now())
    except WebhookRefusedError:
        return
    raise NotConformingError(f"The adapter accepts {what}.")


def _verify(it: GatewayUnderTest, body: bytes, headers: Mapping[str, str], at: datetime) -> None:
    verifier = it.configured.verifier
    given = {name: headers.get(name, "") for name in verifier.signed_headers}
    verifier.verify(body, given, now=at)


def _changed(text: str) -> str:
    """Return a text of the same length that differs in its last letter or digit."""
    at = max(place for place, char in enumerate(text) if char.isalnum())
    return f"{text[:at]}{'0' if text[at] != '0' else '1'}{text[at + 1 :]}"


CASES: Final = (
    Case(each_step_is_reported_and_signed, needs=("separate_capture",)),
    Case(a_decline_is_reported),
    Case(what_is_wrongly_signed_is_refused),
    Case(a_webhook_of_long_ago_is_refused, needs=("dated_webhooks",)),
    Case(a_repeated_webhook_is_the_same_event),
    Case(webhooks_mean_the_same_in_any_order),
    Case(junk_is_never_an_event),
    Case(the_report_shows_what_was_captured_and_adds_up, needs=("settlement_by_day",)),
)
