"""A generated day of settlement: a book, a report, and errors of every kind, each written down.

The generator is seeded. `Planted.expected` says what a perfect reconciliation finds: the class of
each line, and of each payment that has no line. Whatever else is found is false.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

AS_OF = "2026-11-20"
PAST, LONG_PAST, FUTURE = "2026-11-18", "2026-11-10", "2026-11-24"
TERMS = {"as_of": AS_OF, "fee_per_mille": 14, "fee_fixed": 25, "dispute_fee": 1500}

Row = dict[str, Any]


def fee_of(amount: int) -> int:
    """Return the fee agreed on a settlement."""
    return (amount * 14 + 500) // 1000 + 25


@dataclass(slots=True)
class Planted:
    """The relations of one comparison, and what is to be found in them."""

    seed: int
    lines: list[Row] = field(default_factory=list)
    payments: list[Row] = field(default_factory=list)
    expected: dict[int | str, str] = field(default_factory=dict)
    terms: Row = field(default_factory=lambda: dict(TERMS))
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def payment(self, state: str = "Settled", **more: Any) -> Row:
        """Put a payment into the book."""
        number = len(self.payments) + 1
        amount = self.chance.choice([1, 99, 1299, 4950, 100_000, self.chance.randrange(1, 10**9)])
        uncharged = state in {"Initiated", "Pending", "Authorized", "Failed", "Voided"}
        row: Row = {
            "payment_id": str(UUID(int=(0x0193_6D5E << 96) | (7 << 76) | (2 << 62) | number)),
            "transaction_id": f"txn_{self.seed}_{number}",
            "state": state,
            "version": 6,
            "currency": "EUR",
            "captured": 0 if uncharged else amount,
            "settled": amount if state in {"Settled", "Refunding", "Refunded"} else 0,
            "refunds_known": 0,
            "refunds_done": 0,
            "disputes_known": 0,
            "disputes_count": 0,
            "disputes_back": 0,
            "delivered_amount": None,
            "expected_on": None,
            "missing_from": None,
            "refund_expected_on": None,
        }
        row |= more
        if row["settled"] == amount and "settled" not in more:
            row["settled"] = row["captured"]
        self.payments.append(row)
        return row

    def line(self, payment: Row | None, kind: str, type_: str = "settlement", **more: Any) -> Row:
        """Put a line into the report, with the class it must end in."""
        gross = payment["captured"] if payment else 1299
        row: Row = {
            "rank": len(self.lines) + 1,
            "standing": "new",
            "report": "00000000-0000-0000-0000-00000000000a",
            "line_no": len(self.lines) + 1,
            "batch_id": "bat_20261119",
            "line_id": None,
            "transaction_id": payment and payment["transaction_id"],
            "reference": payment and payment["payment_id"],
            "type": type_,
            "gross": gross,
            "currency": "EUR",
            "booked_at": "2026-11-19T10:{:02}:{:02}Z".format(*divmod(len(self.lines) % 3600, 60)),
            "value_date": "2026-11-20",
            "method": None,
            "commission": None,
            "markup": None,
            "scheme_fees": None,
            "interchange": None,
            "rate": None,
            "payout_fee": None,
            "payout_unit": None,
        }
        row |= more
        row.setdefault("fee", fee_of(row["gross"]) if type_ == "settlement" else 0)
        row["net"] = row["gross"] - row["fee"]
        row.setdefault("counts", row["gross"])
        self.lines.append(row)
        self.expected[row["rank"]] = kind
        return row

    def record(self, payment: Row, kind: str) -> None:
        """Write down that a payment must be found without a line."""
        assert payment["payment_id"] not in self.expected
        self.expected[payment["payment_id"]] = kind


Plant = Callable[[Planted], object]


def settled(day: Planted) -> None:
    payment = day.payment(day.chance.choice(["Settled", "Capturing", "Refunding", "Refunded"]))
    day.line(payment, "matched")


def settled_on_its_due_day(day: Planted) -> None:
    day.line(day.payment("Capturing", expected_on=PAST, missing_from=FUTURE), "matched")


def settled_by_reference_alone(day: Planted) -> None:
    day.line(day.payment("Capturing", transaction_id=None), "matched", transaction_id="txn_new")


def settled_without_reference(day: Planted) -> None:
    day.line(day.payment(), "matched", reference=None)


def settled_in_two_parts(day: Planted) -> None:
    payment = day.payment("Capturing", captured=1299, expected_on=PAST, missing_from=FUTURE)
    day.line(payment, "matched", gross=500)
    day.line(payment, "matched", gross=799)


def settled_the_rest(day: Planted) -> None:
    payment = day.payment("Capturing", captured=1299, settled=500)
    seen(day, payment, gross=500)
    day.line(payment, "matched", gross=799)


def paid_out_in_another_currency(day: Planted) -> None:
    day.line(day.payment(), "matched", fee=0, payout_fee=987, payout_unit=1)


def refunded(day: Planted) -> None:
    payment = day.payment("Refunded", captured=1299, refunds_known=1299, refunds_done=1299)
    day.line(payment, "matched", "refund", gross=-300)
    day.line(payment, "matched", "refund", gross=-999)


def disputed_and_known(day: Planted) -> None:
    payment = day.payment(captured=1299, disputes_known=1299, disputes_count=1)
    day.line(payment, "matched", "chargeback", gross=-1299)
    day.line(payment, "matched", "fee", gross=0, fee=1500)


def dispute_won_and_known(day: Planted) -> None:
    payment = day.payment(captured=1299, disputes_known=1299, disputes_count=1, disputes_back=1299)
    day.line(payment, "matched", "chargeback_reversal", gross=1299)


def failed_and_known(day: Planted) -> None:
    day.line(day.payment("SettlementFailed"), "matched", "settlement_failure", gross=0)


def reversed_and_known(day: Planted) -> None:
    payment = day.payment("SettlementFailed", captured=1299)
    seen(day, payment, gross=1299)
    day.line(payment, "matched", "settlement_failure", gross=-1299)


def not_due_yet(day: Planted) -> None:
    day.payment("Capturing", expected_on=AS_OF, missing_from=FUTURE)


def taken_and_given_back(day: Planted) -> None:
    payment = day.payment("Voided")
    day.line(payment, "given_back", gross=1299)
    day.line(payment, "given_back", "refund", gross=-1299)


def delayed(day: Planted) -> None:
    payment = day.payment("Capturing", expected_on=PAST, missing_from=FUTURE)
    day.record(payment, "delayed_settlement")


def missing_at_gateway(day: Planted) -> None:
    payment = day.payment(
        day.chance.choice(["Capturing", "Settled"]), expected_on=LONG_PAST, missing_from=PAST
    )
    day.record(payment, "missing_at_gateway")


def chargeback(day: Planted) -> None:
    payment = day.payment(captured=1299)
    day.line(payment, "chargeback", "chargeback", gross=-1299)
    day.line(payment, "matched", "fee", gross=0, fee=1500)


def reversal_of_nothing(day: Planted) -> None:
    payment = day.payment(captured=1299)
    day.line(payment, "chargeback_reversal", "chargeback_reversal", gross=1299)


def partial(day: Planted) -> None:
    payment = day.payment("Capturing", captured=1299, expected_on=PAST, missing_from=FUTURE)
    day.line(payment, "partial_settlement", gross=500)


def failed(day: Planted) -> None:
    payment = day.payment("Capturing", expected_on=PAST, missing_from=FUTURE)
    day.line(payment, "failed_settlement", "settlement_failure", gross=0)


def reversed_and_unknown(day: Planted) -> None:
    payment = day.payment(captured=1299)
    seen(day, payment, gross=1299)
    day.line(payment, "failed_settlement", "settlement_failure", gross=-1299)


def missing_in_book(day: Planted) -> None:
    number = len(day.lines)
    day.line(None, "missing_in_book", transaction_id=f"txn_alien_{number}", reference=None)


def charged_under_another_transaction(day: Planted) -> None:
    day.line(day.payment(captured=1299), "missing_in_book", transaction_id=f"txn_x{len(day.lines)}")


def too_much(day: Planted) -> None:
    payment = day.payment("Capturing", captured=1299)
    day.line(payment, "amount", gross=1399)


def adjusted(day: Planted) -> None:
    day.line(day.payment(), "amount", "adjustment", gross=day.chance.choice([-5, 5]))


def other_currency(day: Planted) -> None:
    payment = day.payment("Capturing", expected_on=PAST, missing_from=FUTURE)
    day.line(payment, "currency", currency="USD")
    day.record(payment, "delayed_settlement")


def only_a_debit(day: Planted) -> None:
    payment = day.payment("Capturing", captured=1299, expected_on=LONG_PAST, missing_from=PAST)
    day.line(payment, "amount", gross=-1299)
    day.record(payment, "missing_at_gateway")


def reported_twice(day: Planted) -> None:
    payment = day.payment()
    first = day.line(payment, "matched")
    day.line(payment, "duplicate_line", booked_at=first["booked_at"])


def settled_twice(day: Planted) -> None:
    payment = day.payment(captured=1299)
    seen(day, payment, gross=1299)
    day.line(payment, "duplicate_line", gross=1299)


def settled_though_voided(day: Planted) -> None:
    payment = day.payment(day.chance.choice(["Voided", "Failed"]))
    day.line(payment, "settled_though_voided", gross=1299)


def named_another_payment(day: Planted) -> None:
    other = day.payment()
    day.line(day.payment(), "state_conflict", reference=other["payment_id"])


def settled_while_pending(day: Planted) -> None:
    payment = day.payment("Pending", transaction_id=None)
    day.line(payment, "state_conflict", transaction_id=f"txn_p{len(day.lines)}", gross=1299)


def settled_after_loss(day: Planted) -> None:
    day.line(day.payment("SettlementFailed", captured=1299), "state_conflict", gross=1299)


def refunded_by_nobody(day: Planted) -> None:
    day.line(day.payment(captured=1299), "refund_mismatch", "refund", gross=-1299)


def refunded_too_much(day: Planted) -> None:
    payment = day.payment("Refunded", captured=1299, refunds_known=1299, refunds_done=1299)
    day.line(payment, "matched", "refund", gross=-1299)
    day.line(payment, "refund_mismatch", "refund", gross=-1)


def refund_never_listed(day: Planted) -> None:
    payment = day.payment("Refunded", refunds_known=300, refunds_done=300, refund_expected_on=PAST)
    day.record(payment, "refund_mismatch")


def fee_too_high(day: Planted) -> None:
    payment = day.payment(captured=4950)
    day.line(payment, "fee_drift", fee=fee_of(4950) + day.chance.choice([-1, 1, 500]))


def fee_for_nothing(day: Planted) -> None:
    day.line(day.payment(), "fee_drift", "fee", gross=0, fee=1500)


def fee_of_nobody(day: Planted) -> None:
    day.line(
        None, "provider_fee", "fee", gross=0, fee=len(day.lines) + 1, transaction_id=None,
        reference=None,
    )  # fmt: skip


def costs_of_the_provider(day: Planted) -> None:
    classes = {
        "cost": "provider_cost", "tax": "provider_tax", "invoice": "provider_invoice",
        "reserve": "reserve", "transfer": "own_transfer", "carried": "carried_balance",
        "conversion": "conversion",
    }  # fmt: skip
    for type_, kind in classes.items():
        for _ in range(2):
            day.line(None, kind, type_, gross=-5, fee=0, transaction_id=None, reference=None)


def refund_that_came_back(day: Planted) -> None:
    payment = day.payment(captured=1299)
    day.line(payment, "matched", "refund", gross=-300)
    day.line(payment, "matched", "refund_reversal", gross=300)


def refund_that_came_back_twice(day: Planted) -> None:
    payment = day.payment()
    day.line(payment, "refund_mismatch", "refund", gross=-300)
    day.line(payment, "refund_mismatch", "refund_reversal", gross=300)
    day.line(payment, "refund_mismatch", "refund_reversal", gross=300, batch_id="b2")


def refund_that_came_back_in_part(day: Planted) -> None:
    payment = day.payment(captured=1299)
    day.line(payment, "refund_mismatch", "refund", gross=-300)
    day.line(payment, "refund_mismatch", "refund_reversal", gross=200)


def debit_beside_its_settlement(day: Planted) -> None:
    payment = day.payment("Capturing", captured=1299)
    for gross, kind in day.chance.choice(
        [((-1299, "amount"), (1299, "matched")), ((1299, "matched"), (-1299, "amount"))]
    ):
        day.line(payment, kind, gross=gross, fee=0 if gross < 0 else 43)


def copy_of_a_decided_copy(day: Planted) -> None:
    payment = day.payment(captured=1299)
    seen(day, payment, gross=1299, counts=0)
    seen(day, payment, gross=1299)
    day.line(payment, "duplicate_line", gross=1299, booked_at="2026-11-01T00:00:00Z")


def settled_for_less(day: Planted) -> None:
    payment = day.payment(captured=1299, settled=500)
    seen(day, payment, gross=500)
    day.line(payment, "amount", gross=799)


def nothing_settled(day: Planted) -> None:
    day.line(day.payment("Capturing", captured=1299), "amount", gross=0, fee=0)


def refund_that_came_back_unknown(day: Planted) -> None:
    payment = day.payment("Refunded", captured=1299, refunds_known=300, refunds_done=300)
    day.line(payment, "matched", "refund", gross=-300)
    day.line(payment, "refund_mismatch", "refund_reversal", gross=300)


def captured_not_delivered(day: Planted) -> None:
    day.line(day.payment("Authorized"), "captured_not_delivered", gross=1299)


def delivered_not_captured(day: Planted) -> None:
    payment = day.payment(day.chance.choice(["Voided", "Failed"]), delivered_amount=1299)
    day.record(payment, "delivered_not_captured")


def seen(day: Planted, payment: Row, **more: Any) -> None:
    """Put in a line that an earlier run judged and posted."""
    row = day.line(payment, "matched", booked_at="2026-11-01T00:00:00Z", **more)
    del day.expected[row["rank"]]
    row |= {"standing": "seen", "report": "00000000-0000-0000-0000-000000000001"}


HARMLESS: tuple[Plant, ...] = (
    settled, settled_on_its_due_day, settled_without_reference, settled_in_two_parts,
    settled_the_rest, refunded, disputed_and_known, dispute_won_and_known, failed_and_known,
    reversed_and_known, not_due_yet, taken_and_given_back, costs_of_the_provider,
    paid_out_in_another_currency, refund_that_came_back,
)  # fmt: skip
ERRORS: tuple[Plant, ...] = (
    delayed, missing_at_gateway, chargeback, reversal_of_nothing, partial, failed,
    reversed_and_unknown, missing_in_book, charged_under_another_transaction, too_much, adjusted,
    other_currency, only_a_debit, reported_twice, settled_twice, settled_though_voided,
    named_another_payment, settled_while_pending, settled_after_loss, refunded_by_nobody,
    refunded_too_much, refund_that_came_back_twice, refund_that_came_back_in_part,
    refund_that_came_back_unknown,
    refund_never_listed, debit_beside_its_settlement, copy_of_a_decided_copy, settled_for_less,
    nothing_settled,
    fee_too_high, fee_for_nothing, fee_of_nobody, captured_not_delivered, delivered_not_captured,
)  # fmt: skip


def planted(seed: int, *, harmless: int = 200, errors: int = 2) -> Planted:
    """Generate a day: this many harmless scenarios, and each error this many times."""
    day = Planted(seed)
    plants = [day.chance.choice(HARMLESS) for _ in range(harmless)]
    plants += [error for error in ERRORS for _ in range(errors)]
    plants.append(settled_by_reference_alone)
    day.chance.shuffle(plants)
    for plant in plants:
        plant(day)
    # What was judged before stands before what is new.
    in_order = sorted(day.lines, key=lambda row: (row["standing"] == "new", row["rank"]))
    found: dict[int | str, str] = {k: v for k, v in day.expected.items() if isinstance(k, str)}
    for rank, row in enumerate(in_order, start=1):
        if row["rank"] in day.expected:
            found[-rank] = day.expected[row["rank"]]
        row["rank"] = rank
    day.lines = in_order
    day.expected = {-k if isinstance(k, int) else k: v for k, v in found.items()}
    return day
