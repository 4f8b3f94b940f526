"""The classes of refusal codes, and the tables of the providers (decision 280)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.external_systems import adyen_refusals, stripe_refusals
from caas.rules.payment_failures import (
    AMOUNT_REFUSALS,
    hours_before_next_charge,
    reason_for_customers,
)
from caas.rules.refusal_codes import (
    CLASS_OF,
    MEANING,
    OURS,
    TECHNICAL,
    UNKNOWN,
    RefusalClass,
    is_decline,
    refusal_class,
)
from caas.rules.retry_strategy import CARD_DECLINED, INSUFFICIENT_FUNDS, INVALID_CARD_DATA

C = RefusalClass
DECLINES = CARD_DECLINED | INSUFFICIENT_FUNDS | INVALID_CARD_DATA
RECORDED = {
    **{f"stripe {code}": recorded for code, recorded in stripe_refusals.REFUSALS.items()},
    **{f"adyen {code}": recorded for code, _, recorded in adyen_refusals.REFUSALS},
}


def test_every_code_has_exactly_one_class() -> None:
    classes = (DECLINES, TECHNICAL, OURS)

    assert sum(map(len, classes)) == len(frozenset().union(*classes)) == len(CLASS_OF)
    assert {refusal_class(code.upper()) for code in DECLINES} == {C.DECLINE}
    assert {refusal_class(code.upper()) for code in TECHNICAL} == {C.TECHNICAL}
    assert {refusal_class(code.upper()) for code in OURS} == {C.OURS}
    assert set(MEANING) == set(C)


@pytest.mark.parametrize("theirs", sorted(RECORDED))
def test_every_code_of_a_provider_is_recorded_as_one_that_has_a_class(theirs: str) -> None:
    assert RECORDED[theirs] in CLASS_OF


def test_a_provider_lists_each_code_and_each_text_once() -> None:
    codes, texts, _ = zip(*adyen_refusals.REFUSALS, strict=True)

    assert len(set(codes)) == len(codes)
    assert len({text.casefold() for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("theirs", "found"),
    [
        ("adyen 2", C.DECLINE), ("adyen 4", C.TECHNICAL), ("adyen 7", C.OURS),
        ("adyen 9", C.TECHNICAL), ("adyen 12", C.DECLINE), ("adyen 15", C.TECHNICAL),
        ("adyen 16", C.TECHNICAL), ("adyen 21", C.OURS), ("adyen 39", C.TECHNICAL),
        ("adyen 41", C.TECHNICAL), ("adyen 42", C.TECHNICAL), ("adyen 46", C.OURS),
        ("stripe insufficient_funds", C.DECLINE), ("stripe do_not_try_again", C.DECLINE),
        ("stripe processing_error", C.TECHNICAL), ("stripe issuer_not_available", C.TECHNICAL),
        ("stripe try_again_later", C.TECHNICAL), ("stripe reenter_transaction", C.TECHNICAL),
        ("stripe approve_with_id", C.TECHNICAL), ("stripe invalid_amount", C.OURS),
        ("stripe testmode_decline", C.OURS),
        ("stripe card_decline_rate_limit_exceeded", C.OURS),
    ],
)  # fmt: skip
def test_what_no_bank_declined_is_no_decline(theirs: str, found: RefusalClass) -> None:
    assert refusal_class(RECORDED[theirs]) is found


@pytest.mark.parametrize("code", [None, "", "94", "code_4711", "abandoned", "gateway_refused"])
def test_a_code_without_a_class_is_no_decline(code: str | None) -> None:
    assert refusal_class(code) is None
    assert not is_decline(code)


@given(st.text())
def test_a_code_that_a_provider_has_not_documented_is_ours(code: str) -> None:
    if code not in stripe_refusals.REFUSALS:
        assert stripe_refusals.recorded_code(code, "card_declined") == UNKNOWN
    if code not in {known for known, _, _ in adyen_refusals.REFUSALS}:
        assert adyen_refusals.recorded_code(code) == UNKNOWN


@pytest.mark.parametrize(
    ("decline_code", "code", "recorded"),
    [
        ("insufficient_funds", "card_declined", "insufficient_funds"),
        (None, "card_declined", "card_declined"), ("try_again_later", "card_declined",
                                                   "try_again_later"),
        ("generic_decline", "processing_error", "processing_error"),
        ("something_new", "card_declined", UNKNOWN), ("generic_decline", "something_new", UNKNOWN),
        (None, "something_new", UNKNOWN), (None, None, UNKNOWN),
    ],
)  # fmt: skip
def test_stripe_declines_only_by_codes_that_all_say_so(
    decline_code: str | None, code: str | None, recorded: str
) -> None:
    assert stripe_refusals.recorded_code(decline_code, code) == recorded


def test_an_amount_that_is_never_charged_is_our_matter() -> None:
    assert {refusal_class(code) for code in AMOUNT_REFUSALS} == {C.OURS}


def test_a_month_is_charged_again_a_few_times() -> None:
    assert [hours_before_next_charge(n) for n in (1, 2, 3, 4, 5, 6)] == [1, 6, 24, 72, None, None]


def test_a_customer_reads_that_it_may_be_tried_again() -> None:
    assert {reason_for_customers(code) for code in TECHNICAL} == {"try_again"}
    assert {reason_for_customers(code) for code in OURS} == {"no_decline"}
