"""What decisions book: every kind and every resolution it allows has a plan, and plans balance."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.errors import StartupError
from caas.rules import postings
from caas.rules.discrepancies import KINDS, DiscrepancyKind, Resolution
from caas.rules.payment_types import PaymentType
from caas.rules.postings import Entry
from caas.rules.resolutions import (
    GATEWAY_CLAIMS,
    UNEXPLAINED_FUNDS,
    Action,
    Plan,
    Subject,
    offered,
    plan,
    reversed_,
    still_posted,
    taken,
)
from caas.rules.settlement_dates import FeeTerms, read_fee_terms

PAIRS = [(kind, resolution) for kind, row in KINDS.items() for resolution in row.allowed]
AMOUNTS = st.integers(min_value=-(10**12), max_value=10**12)
K, R = DiscrepancyKind, Resolution


def about(kind: DiscrepancyKind, **more: object) -> Subject:
    """A discrepancy of 100 about a line of 1299, of which 43 were kept."""
    facts: dict[str, object] = {
        "kind": kind, "at_stake": 100, "gross": 1299, "fee": 43, "net": 1256,
        "is_settlement": True, "payment_type": PaymentType.SERVICE,
    }  # fmt: skip
    return Subject(**(facts | more))


def balances(entries: tuple[Entry, ...]) -> dict[str, int]:
    """Return what entries come to, by account."""
    total: Counter[str] = Counter()
    for debit, credit, amount in entries:
        total[debit] += amount
        total[credit] -= amount
    return {account: amount for account, amount in total.items() if amount}


@pytest.mark.parametrize(("kind", "resolution"), PAIRS)
@pytest.mark.parametrize("gross", [None, 1299, -1299, 0])
def test_every_allowed_decision_has_a_plan_that_balances(
    kind: DiscrepancyKind, resolution: Resolution, gross: int | None
) -> None:
    fee = 0 if gross is None else 43
    net = 0 if gross is None else gross - fee

    decided = plan(about(kind, gross=gross, fee=fee, net=net), resolution)

    assert sum(balances(decided.entries).values()) == 0
    assert all(entry.amount > 0 for entry in decided.entries)
    assert decided.ends or resolution in {
        R.WAIT, R.CLAIM_FROM_GATEWAY, R.REFUND_THE_CUSTOMER,
    }  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind, row in KINDS.items() if R.WAIT in row.allowed])
def test_waiting_books_nothing(kind: DiscrepancyKind) -> None:
    assert plan(about(kind), R.WAIT) == Plan(ends=False)


@pytest.mark.parametrize(
    ("subject", "resolution", "expected", "actions"),
    [
        (about(K.AMOUNT), R.CORRECT_BY_ENTRY,
         {"bank": 1256, "gateway_fees": 43, "settled_funds": -1199, UNEXPLAINED_FUNDS: -100},
         (Action.SETTLE_WHAT_IS_DUE,)),
        (about(K.DUPLICATE_LINE), R.CLAIM_FROM_GATEWAY,
         {"bank": 1256, "gateway_fees": 43, GATEWAY_CLAIMS: -1299}, ()),
        (about(K.CHARGEBACK, gross=-1299, fee=0, net=-1299), R.CLAIM_FROM_GATEWAY,
         {"bank": -1299, "settled_funds": 1299, GATEWAY_CLAIMS: 1299,
          "risk_loss:chargeback": -1299}, (Action.LOSE_DISPUTE,)),
        (about(K.CHARGEBACK_REVERSAL, fee=0, net=1299), R.REINSTATE_THE_PAYMENT,
         {"bank": 1299, "settled_funds": -1299}, (Action.REVERSE_DISPUTE,)),
        (about(K.CHARGEBACK_REVERSAL, fee=0, net=1299), R.CORRECT_BY_ENTRY,
         {"bank": 1299, "settled_funds": -1299, UNEXPLAINED_FUNDS: -1299,
          "risk_loss:chargeback": 1299}, (Action.REVERSE_DISPUTE,)),
        (about(K.DUPLICATE_LINE), R.WRITE_OFF,
         {"bank": 1256, "gateway_fees": 43, "unallocated_income": -1299}, ()),
        (about(K.DUPLICATE_LINE, gross=-1299, fee=0, net=-1299), R.WRITE_OFF,
         {"bank": -1299, "risk_loss:write_off": 1299}, ()),
        (about(K.REFUND_MISMATCH, at_stake=1299, gross=-1299, fee=0, net=-1299),
         R.ACCEPT_LOSS,
         {"bank": -1299, "settled_funds": 1299, "risk_loss:refund_mismatch": 1299,
          "risk_loss:chargeback": -1299}, (Action.LOSE_DISPUTE,)),
        (about(K.REFUND_MISMATCH, at_stake=799, gross=-1299, fee=0, net=-1299),
         R.ACCEPT_LOSS,
         {"bank": -1299, "settled_funds": 1299, "risk_loss:refund_mismatch": 799,
          "risk_loss:chargeback": -799}, (Action.LOSE_DISPUTE,)),
        (about(K.CHARGEBACK, gross=-1299, fee=0, net=-1299), R.ACCEPT_LOSS,
         {"bank": -1299, "settled_funds": 1299}, (Action.LOSE_DISPUTE,)),
        (about(K.FAILED_SETTLEMENT, gross=0, fee=0, net=0), R.CLAIM_FROM_GATEWAY,
         {GATEWAY_CLAIMS: 100, "gateway_receivable": -100}, ()),
        (about(K.MISSING_AT_GATEWAY, gross=None, payment_settled=True), R.CLAIM_FROM_GATEWAY,
         {GATEWAY_CLAIMS: 100, "settled_funds": -100}, ()),
        (about(K.DELIVERED_NOT_CAPTURED, gross=None), R.ACCEPT_LOSS,
         {"risk_loss:delivered_not_captured": 100, "service_revenue": -100}, ()),
        (about(K.FEE_DRIFT, fee_drift=-7), R.WRITE_OFF,
         {"unallocated_income": -7, "gateway_fees": 7}, ()),
        (about(K.REFUND_MISMATCH, gross=None), R.ACCEPT_LOSS,
         {"settled_funds": 100, "unallocated_income": -100}, ()),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Subject) else "",
)  # fmt: skip
def test_what_a_decision_books(
    subject: Subject, resolution: Resolution, expected: dict[str, int], actions: tuple[Action, ...]
) -> None:
    decided = plan(subject, resolution)

    assert (balances(decided.entries), decided.actions) == (expected, actions)


@pytest.mark.parametrize(
    ("subject", "refused", "allowed"),
    [
        (about(K.AMOUNT), set(), {R.REFUND_THE_CUSTOMER}),
        (about(K.MISSING_AT_GATEWAY, gross=None, payment_lost=True), {R.CLAIM_FROM_GATEWAY},
         {R.ACCEPT_LOSS}),
        (about(K.AMOUNT, gross=-5, fee=0, net=-5), {R.REFUND_THE_CUSTOMER}, {R.WRITE_OFF}),
        (about(K.MISSING_IN_BOOK, has_transaction=False), {R.REFUND_THE_CUSTOMER}, {R.WAIT}),
        (about(K.SETTLED_THOUGH_VOIDED), {R.CORRECT_BY_ENTRY}, {R.REFUND_THE_CUSTOMER}),
        (about(K.SETTLED_THOUGH_VOIDED, is_settlement=False), {R.REFUND_THE_CUSTOMER},
         {R.CORRECT_BY_ENTRY}),
        (about(K.STATE_CONFLICT, is_evidence=True), {R.CORRECT_BY_ENTRY, R.CLAIM_FROM_GATEWAY},
         {R.WAIT}),
        (about(K.STATE_CONFLICT), set(), {R.CORRECT_BY_ENTRY}),
        *(
            (about(kind), {R.CLAIM_FROM_GATEWAY}, KINDS[kind].allowed & {R.CORRECT_BY_ENTRY})
            for kind in (K.MISSING_IN_BOOK, K.AMOUNT, K.CURRENCY, K.DUPLICATE_LINE)
        ),
        (about(K.CHARGEBACK), {R.CLAIM_FROM_GATEWAY}, {R.ACCEPT_LOSS}),
        (about(K.MISSING_IN_BOOK, gross=0, net=-43), {R.CLAIM_FROM_GATEWAY}, {R.CORRECT_BY_ENTRY}),
        (about(K.REFUND_MISMATCH, gross=None), {R.CLAIM_FROM_GATEWAY}, {R.WAIT}),
        (about(K.FEE_DRIFT, fee_drift=-7), {R.CLAIM_FROM_GATEWAY}, {R.CORRECT_BY_ENTRY}),
        (about(K.DUPLICATE_LINE, gross=-1299, fee=0, net=-1299), set(), {R.CLAIM_FROM_GATEWAY}),
        (about(K.FEE_DRIFT, fee_drift=7), set(), {R.CLAIM_FROM_GATEWAY}),
        (about(K.MISSING_AT_GATEWAY, gross=None), set(), {R.CLAIM_FROM_GATEWAY}),
    ],
)  # fmt: skip
def test_only_what_can_be_done_is_offered(
    subject: Subject, refused: set[Resolution], allowed: set[Resolution]
) -> None:
    """Claims were filed of what we owed the gateway: the account said it, the claim did not."""
    found = offered(subject)

    assert allowed <= found <= KINDS[subject.kind].allowed
    assert not found & refused


@given(gross=AMOUNTS, fee=AMOUNTS)
def test_taking_a_line_is_paying_out_whatever_its_sign(gross: int, fee: int) -> None:
    net = gross - fee

    entries = taken(gross=gross, fee=fee, net=net)

    wanted = {"bank": net, "gateway_fees": fee, "settled_funds": -gross}
    assert balances(entries) == {account: amount for account, amount in wanted.items() if amount}
    if net >= 0 and fee >= 0:
        assert entries == postings.paid_out(net=net, fee=fee)
    assert not balances(entries + reversed_(entries))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(1, 99))))
def test_what_is_still_posted_is_what_entries_come_to(
    posted: list[tuple[str, str, int]],
) -> None:
    entries = tuple(Entry(*entry) for entry in posted)

    assert balances(still_posted(entries)) == balances(entries)
    assert still_posted(entries + reversed_(entries)) == ()


@pytest.mark.parametrize(
    ("gross", "fee"), [(1299, 43), (-1299, 0), (-300, 5), (0, 1500), (10, 60), (0, 0)]
)
async def test_the_ledger_shows_a_line_as_its_entries_would(
    database: Database, gross: int, fee: int
) -> None:
    """The view and the rule say the same of any line, so that one row may stand for three."""
    report = new_id()
    async with database.transaction() as connection:
        await connection.execute(
            "insert into reconciliation_days (gateway, day) values ('g', '2026-01-01')"
        )
        await connection.execute(
            "insert into reconciliation_runs (id, gateway, day, mode, state, rule_version,"
            " started_at) values ($1, 'g', '2026-01-01', 'incremental', 'done', 'r', now())",
            report,
        )
        await connection.execute(
            "insert into settlement_reports (id, gateway, day, report_ref, origin, format, status,"
            " lines_stored, gross_stored, net_stored, received_at, updated_at)"
            " values ($1, 'g', '2026-01-01', 'r', 'file', 'f', 'closed', 1, $2, $3, now(), now())",
            report, gross, gross - fee,
        )  # fmt: skip
        await connection.execute(
            "insert into settlement_lines (report_id, line_no, batch_id, type, gross, fee, net,"
            " currency, booked_at, value_date, class, at_stake, run_id, at) values ($1, 1, 'b',"
            " 'settlement', $2, $3, $4, 'EUR', now(), now(), 'given_back', 0, $1, now())",
            report, gross, fee, gross - fee,
        )  # fmt: skip

    shown = await database.fetch("select account, amount from ledger_lines")

    assert {row["account"]: row["amount"] for row in shown} == balances(
        taken(gross=gross, fee=fee, net=gross - fee)
    )


@given(gross=st.integers(1, 10**12))
def test_fees_are_rounded_half_up(gross: int) -> None:
    terms = FeeTerms(per_mille=14, fixed=25, dispute=1500)

    assert terms.of_settlement(gross) == 25 + int((gross * 14 * 2 + 1000) // 2000)


def test_fee_terms_are_three_whole_numbers_or_none() -> None:
    assert read_fee_terms(" ") is None
    assert read_fee_terms("14, 25,1500") == FeeTerms(per_mille=14, fixed=25, dispute=1500)
    for wrong in ("14", "14,25,-1", "a,b,c", "1.4,25,1500"):
        with pytest.raises(StartupError):
            read_fee_terms(wrong)
