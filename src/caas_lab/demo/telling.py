"""How a story is told: what was recorded becomes arrows of the seed's diagrams, in order of time.

Four sources: the lines (what was asked and answered over a socket), the vehicles' messages, the
platform's own records of payments, orders and ledger, and the mail that people got.

Rules a change must keep: nothing is made up, every arrow was seen somewhere; names of parties and
messages are the seed's.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from caas.billing_database.demonstration import LedgerEntry
from caas_lab.demo.play import Play, money
from caas_lab.demo.story import BILLING_DATABASE, ORDER_MANAGEMENT, PAYMENT_PROCESSING, Arrow
from caas_lab.demo.wires_told import told_by_lines, told_by_vehicles

FIRST_STATE: Final = "Initiated"
MOVEMENTS: Final = {
    "captured": "charged", "settled": "settled", "refunded": "refunded", "disputed": "lost",
}  # fmt: skip
HOLDS: Final = "authorised_holds"
OF_NO_INTEREST: Final = frozenset({"Capture accepted", "Gateway called"})


async def tell(play: Play) -> None:
    """Add everything that was recorded of a scene to its story, and put all in order."""
    arrows = list(play.story.arrows)
    told_payments = [await play.payment(payment_id) for payment_id in play.payments]
    arrows += await _payments_told(play, told_payments)
    for order_id in play.orders:
        arrows += _order_told(await play.order(order_id))
    arrows += told_by_lines(play, told_payments)
    arrows += told_by_vehicles(play)
    arrows += _mail_told(play)
    since = play.story.began_at
    play.story.arrows = sorted((it for it in arrows if it.at >= since), key=lambda it: it.at)
    play.story.money = money_moved(told_payments)


def money_moved(payments: Sequence[dict[str, Any]]) -> str:
    """Say what money moved over some payments, in all: what was charged, and what became of it."""
    sums = {
        word: sum(payment["amounts"][name] for payment in payments)
        for name, word in MOVEMENTS.items()
    }
    moved = [f"{money(amount).partition(' ')[0]} {word}" for word, amount in sums.items() if amount]
    return ", ".join(moved) or "nothing"


async def _payments_told(play: Play, payments: Sequence[dict[str, Any]]) -> list[Arrow]:
    entries: list[LedgerEntry] = []
    if play.stage.onlooker is not None:
        entries = await play.stage.onlooker.entries([UUID(it["id"]) for it in payments])
    return [arrow for payment in payments for arrow in _payment_told(payment, entries)]


def _payment_told(payment: dict[str, Any], entries: Iterable[LedgerEntry]) -> Iterable[Arrow]:
    """Yield an arrow for each event of a payment, with its state and its ledger entries."""
    before = ""
    for event in payment["events"]:
        if event["state"] == FIRST_STATE:
            before = FIRST_STATE
            continue
        if event["event"] in OF_NO_INTEREST:
            continue
        changes = []
        if event["state"] != before:
            changes.append(f"{payment['type']} payment {before} -> {event['state']}")
            before = event["state"]
        changes += [
            _entry_told(entry)
            for entry in entries
            if str(entry.payment_id) == payment["id"] and entry.seq == event["seq"]
        ]
        yield Arrow(
            _instant(event["at"]),
            PAYMENT_PROCESSING,
            BILLING_DATABASE,
            event["event"],
            tuple(changes),
        )


def _entry_told(entry: LedgerEntry) -> str:
    amount = money(entry.amount, entry.currency)
    if entry.debit == HOLDS:
        return f"ledger: {amount} held, off balance"
    if entry.credit == HOLDS:
        return f"ledger: {amount} not held any more"
    return f"ledger: {amount} {entry.debit} / {entry.credit}"


def _order_told(order: dict[str, Any]) -> Iterable[Arrow]:
    before = ""
    for event in order["events"]:
        if before:
            yield Arrow(
                _instant(event["at"]),
                ORDER_MANAGEMENT,
                BILLING_DATABASE,
                event["event"],
                (f"order {before} -> {event['state']}",),
            )
        before = event["state"]


def _mail_told(play: Play) -> Iterable[Arrow]:
    if play.stage.mailbox is None:
        return
    for address, name in play.people.items():
        for mail in play.stage.mailbox.to(address):
            yield Arrow(mail.at, "CaaS", name, f'is told "{mail.title}"')


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
