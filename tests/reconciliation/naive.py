"""The comparison of Diagram 10 once more, row by row in plain Python: slow, and easy to believe.

Only tests use it. It shares nothing with the SQL text but the meaning of the classes; where the
two disagree on a line, one of them is wrong.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
NOT_CHARGED = {"Voided", "Failed"}
NOT_CHARGED_YET = {"Initiated", "Pending", "Authorized"}
EXPECTS_MONEY = {"Capturing", "Settled", "Refunding", "Refunded"}
CONTENT = (
    "type", "transaction_id", "reference", "gross", "fee", "net", "currency", "booked_at",
    "batch_id", "line_id",
)  # fmt: skip


OF_PROVIDER = {
    "cost": "provider_cost", "tax": "provider_tax", "invoice": "provider_invoice",
    "reserve": "reserve", "transfer": "own_transfer", "carried": "carried_balance",
    "conversion": "conversion",
}  # fmt: skip


@dataclass(slots=True)
class Tally:
    """What the lines of one payment come to, so far or in all."""

    transitioned: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    copies_free: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    reported: bool = False

    @property
    def total(self) -> int:
        return sum(self.transitioned.values())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a line (by rank) or of a record (by payment)."""

    rank: int | None
    payment_id: str | None
    kind: str
    at_stake: int


def classify(
    lines: Sequence[Row], payments: Sequence[Row], terms: Mapping[str, Any]
) -> list[Verdict]:
    """Judge every line and every record, one at a time."""
    book = Book(payments)
    ordered = sorted(lines, key=lambda line: line["rank"])
    seen_contents: set[tuple[Any, ...]] = set()
    in_all: dict[str, Tally] = defaultdict(Tally)
    fresh: dict[int, bool] = {}
    for line in ordered:
        content = tuple(line[name] for name in CONTENT)
        fresh[line["rank"]] = content not in seen_contents
        seen_contents.add(content)
        add(in_all[whose(line, book)], line, book, fresh=fresh[line["rank"]])
    verdicts = []
    so_far: dict[str, Tally] = defaultdict(Tally)
    for line in ordered:
        key = whose(line, book)
        before = so_far[key].transitioned["settlement"]
        add(so_far[key], line, book, fresh=fresh[line["rank"]])
        if line["standing"] == "seen":
            continue
        judge = Judge(line, book.payment_of(line), in_all[key], so_far[key], before, terms)
        of_provider = OF_PROVIDER.get(line["type"])
        if line["type"] == "fee" and not line["transaction_id"] and not line["reference"]:
            of_provider = None if line["gross"] else "provider_fee"
        kind = of_provider or (judge.kind() if fresh[line["rank"]] else "duplicate_line")
        payment = book.payment_of(line)
        verdicts.append(
            Verdict(line["rank"], payment and payment["payment_id"], kind, judge.at_stake(kind))
        )
    for payment in payments:
        verdicts += missed(payment, in_all[payment["payment_id"]], terms["as_of"])
    return verdicts


class Book:
    """The payments, found by transaction or by reference."""

    def __init__(self, payments: Sequence[Row]) -> None:
        self.by_id = {payment["payment_id"]: payment for payment in payments}
        self.by_transaction = {
            payment["transaction_id"]: payment
            for payment in payments
            if payment["transaction_id"] is not None
        }

    def payment_of(self, line: Row) -> Row | None:
        """Return the payment a line belongs to."""
        if line["transaction_id"] in self.by_transaction:
            return self.by_transaction[line["transaction_id"]]
        named = self.by_id.get(line["reference"])
        if named is None:
            return None
        if named["transaction_id"] is not None and line["transaction_id"] is not None:
            return None
        return named


def whose(line: Row, book: Book) -> str:
    """Return under which name a line's money is added up."""
    payment = book.payment_of(line)
    if payment is not None:
        return str(payment["payment_id"])
    return str(line["transaction_id"] or line["rank"])


def add(tally: Tally, line: Row, book: Book, *, fresh: bool) -> None:
    """Count a line's money, unless it is a copy, or was judged not to count."""
    payment = book.payment_of(line)
    own_money = payment is not None and line["currency"] == payment["currency"]
    credited = line["type"] == "settlement" and line["gross"] > 0
    tally.reported |= own_money and (credited or line["type"] == "settlement_failure")
    if fresh:
        tally.copies_free[line["type"]] += 1
    elif line["standing"] != "seen":
        return
    if payment is not None and payment["currency"] != line["currency"]:
        return
    family = "refund" if line["type"] == "refund_reversal" else line["type"]
    if family == "settlement" and line["counts"] < 0:
        family = "debit"
    tally.transitioned[family] += line["counts"]


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges one line."""

    line: Row
    payment: Row | None
    in_all: Tally
    so_far: Tally
    settled_before: int
    terms: Mapping[str, Any]

    def kind(self) -> str:
        line, payment = self.line, self.payment
        if line["type"] == "fee" and not line["transaction_id"] and not line["reference"]:
            return "amount"
        if payment is None:
            given_back = self.in_all.total == 0 and line["gross"]
            return "given_back" if given_back else "missing_in_book"
        if line["reference"] not in (None, payment["payment_id"]):
            return "state_conflict"
        if line["currency"] != payment["currency"]:
            return "currency"
        if payment["state"] in NOT_CHARGED:
            return "given_back" if self.in_all.total == 0 else "settled_though_voided"
        if payment["state"] in NOT_CHARGED_YET:
            captured = payment["state"] == "Authorized" and line["type"] == "settlement"
            return "captured_not_delivered" if captured else "state_conflict"
        judged = getattr(self, line["type"])()
        assert isinstance(judged, str)
        return judged

    def settlement(self) -> str:
        gross, captured = self.line["gross"], self.payment["captured"]
        if self.payment["state"] == "SettlementFailed" and self.less_failed():
            return "state_conflict"
        if gross <= 0:
            return "amount"
        if self.settled_before >= captured:
            return "duplicate_line"
        if self.so_far.transitioned["settlement"] > self.due():
            return "amount"
        if self.in_all.transitioned["settlement"] < self.due():
            return "partial_settlement"
        return self.matched_or_fee_drift()

    def settlement_failure(self) -> str:
        agree = self.payment["state"] == "SettlementFailed" and not self.less_failed()
        return "matched" if agree else "failed_settlement"

    def adjustment(self) -> str:
        return "amount"

    def refund_reversal(self) -> str:
        in_all, known = -self.in_all.transitioned["refund"], self.payment["refunds_known"]
        if self.line["gross"] <= 0 or in_all != known:
            return "refund_mismatch"
        return self.matched_or_fee_drift()

    def refund(self) -> str:
        if self.line["gross"] >= 0:
            return "refund_mismatch"
        given_back, known = -self.so_far.transitioned["refund"], self.payment["refunds_known"]
        if given_back > known and -self.in_all.transitioned["refund"] != known:
            return "refund_mismatch"
        return self.matched_or_fee_drift()

    def chargeback(self) -> str:
        if self.line["gross"] > 0:
            return "chargeback_reversal"
        if self.line["gross"] == 0:
            return "chargeback"
        if -self.so_far.transitioned["chargeback"] > self.payment["disputes_known"]:
            return "chargeback"
        return self.matched_or_fee_drift()

    def chargeback_reversal(self) -> str:
        if self.line["gross"] < 0:
            return "chargeback"
        if self.line["gross"] == 0:
            return "chargeback_reversal"
        if self.so_far.transitioned["chargeback_reversal"] > self.payment["disputes_back"]:
            return "chargeback_reversal"
        return self.matched_or_fee_drift()

    def fee(self) -> str:
        return "amount" if self.line["gross"] else self.matched_or_fee_drift()

    def less_failed(self) -> int:
        return (
            self.in_all.transitioned["settlement"] + self.in_all.transitioned["debit"]
            + self.in_all.transitioned["settlement_failure"]
        )  # fmt: skip

    def due(self) -> int:
        payment = self.payment
        for_less = payment["state"] in {"Settled", "Refunding", "Refunded"}
        return int(
            min(payment["settled"], payment["captured"]) if for_less else payment["captured"]
        )

    def matched_or_fee_drift(self) -> str:
        if self.line["payout_fee"] is not None:
            return "matched"  # the gateway's terms name no currency
        return "matched" if self.line["fee"] == self.fee_agreed() else "fee_drift"

    def fee_agreed(self) -> int:
        terms, line = self.terms, self.line
        if terms["fee_per_mille"] is None:
            return int(line["fee"])
        if line["type"] == "settlement":
            return int(terms["fee_fixed"] + (line["gross"] * terms["fee_per_mille"] + 500) // 1000)
        if line["type"] != "fee" or self.payment is None:
            return 0
        disputes = max(self.in_all.copies_free["chargeback"], self.payment["disputes_count"])
        return int(terms["dispute_fee"]) if self.so_far.copies_free["fee"] <= disputes else 0

    def unexplained_refund(self, whole: int) -> int:
        if self.line["type"] != "refund" or self.line["gross"] >= 0:
            return whole
        known = min(self.payment["refunds_known"], self.payment["refunds_done"])
        return int(min(whole, -self.so_far.transitioned["refund"] - known))

    def at_stake(self, kind: str) -> int:
        line = self.line
        whole = abs(line["gross"]) or abs(line["fee"])
        match kind:
            case _ if kind in {"matched", "given_back", "provider_fee", *OF_PROVIDER.values()}:
                return 0
            case "fee_drift":
                return abs(int(line["fee"]) - self.fee_agreed())
            case "partial_settlement":
                return self.due() - self.in_all.transitioned["settlement"]
            case "amount" if line["type"] == "settlement" and line["gross"] > 0:
                return self.so_far.transitioned["settlement"] - self.due()
            case "amount" if line["type"] == "settlement" and line["gross"] == 0:
                return self.due() - self.in_all.transitioned["settlement"] or int(whole)
            case "refund_mismatch":
                return self.unexplained_refund(whole)
            case "failed_settlement":
                return abs(line["gross"]) or int(self.payment["captured"])
            case _:
                return int(whole)


def missed(payment: Row, tally: Tally, as_of: str) -> list[Verdict]:
    """Tell what should have had a line and has none."""
    found = []
    who = payment["payment_id"]
    expected, refund_expected = payment["expected_on"], payment["refund_expected_on"]
    if (
        expected is not None
        and as_of > expected
        and payment["captured"] > 0
        and payment["state"] in EXPECTS_MONEY
        and not tally.reported
    ):
        late = as_of > payment["missing_from"]
        kind = "missing_at_gateway" if late else "delayed_settlement"
        found.append(Verdict(None, who, kind, payment["captured"]))
    not_listed = payment["refunds_done"] + tally.transitioned["refund"]
    if refund_expected is not None and as_of > refund_expected and not_listed > 0:
        found.append(Verdict(None, who, "refund_mismatch", not_listed))
    if payment["delivered_amount"] is not None and not payment["captured"]:
        found.append(Verdict(None, who, "delivered_not_captured", payment["delivered_amount"]))
    return found
