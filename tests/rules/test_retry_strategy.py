"""Diagram 11 and the Retry Strategy table."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules.retry_strategy import (
    CARD_DECLINED,
    CUSTOMER_IMPACT,
    INSUFFICIENT_FUNDS,
    INVALID_CARD_DATA,
    KNOWLEDGE,
    RETRY_AFTER_SECONDS_MAX,
    WAITS,
    GatewayErrorKind,
    Knowledge,
    decline_kind,
    wait_before_retry,
)

K = GatewayErrorKind

SEED_RETRY_STRATEGY = [
    ("Network timeout", 3, (2, 4, 8), "Delayed response"),
    ("Gateway 5xx error", 3, (2, 4, 8), "Delayed response"),
    ("Card declined", 0, (), "Immediate failure"),
    ("Insufficient funds", 0, (), "Immediate failure"),
    ("Invalid card data", 0, (), "Immediate failure"),
]


@pytest.mark.parametrize(("error_type", "max_retries", "backoff", "impact"), SEED_RETRY_STRATEGY)
def test_the_waits_are_the_seeds_table(
    error_type: str, max_retries: int, backoff: tuple[int, ...], impact: str
) -> None:
    kind = GatewayErrorKind(error_type)

    assert WAITS[kind] == backoff
    assert len(WAITS[kind]) == max_retries
    assert CUSTOMER_IMPACT[kind] == impact


def test_every_kind_of_error_is_in_every_table() -> None:
    assert set(WAITS) == set(CUSTOMER_IMPACT) == set(KNOWLEDGE) == set(GatewayErrorKind)


def test_a_time_out_is_tried_again_after_two_four_and_eight_seconds() -> None:
    waits = [wait_before_retry(K.NETWORK_TIMEOUT, retry=retry) for retry in (1, 2, 3, 4)]

    assert waits == [2, 4, 8, None]


@pytest.mark.parametrize("kind", [K.CARD_DECLINED, K.INSUFFICIENT_FUNDS, K.INVALID_CARD_DATA])
def test_a_decline_is_never_tried_again(kind: GatewayErrorKind) -> None:
    assert wait_before_retry(kind, retry=1, retry_after=5) is None
    assert KNOWLEDGE[kind] is Knowledge.REFUSED


def test_what_nobody_recognises_is_neither_tried_again_nor_taken_for_a_refusal() -> None:
    assert wait_before_retry(K.UNRECOGNISED, retry=1) is None
    assert KNOWLEDGE[K.UNRECOGNISED] is Knowledge.UNKNOWN


def test_only_a_refused_connection_tells_that_nothing_was_sent() -> None:
    assert [k for k, known in KNOWLEDGE.items() if known is Knowledge.NOT_SENT] == [K.NOT_SENT]


def test_only_a_429_tells_that_a_request_was_turned_away() -> None:
    assert [k for k, known in KNOWLEDGE.items() if known is Knowledge.TURNED_AWAY] == [
        K.RATE_LIMITED
    ]


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [(None, 2), (0.5, 2), (30, 30), (3600, RETRY_AFTER_SECONDS_MAX), (math.inf, 60), (-4, 2),
     (math.nan, 2)],
)  # fmt: skip
def test_a_429_waits_as_long_as_it_asks_within_the_limit(
    retry_after: float | None, wait: float
) -> None:
    assert wait_before_retry(K.RATE_LIMITED, retry=1, retry_after=retry_after) == wait


def test_retry_after_means_nothing_on_any_other_error() -> None:
    assert wait_before_retry(K.GATEWAY_5XX_ERROR, retry=2, retry_after=50) == 4


@pytest.mark.parametrize("retry", [0, -1])
def test_retries_are_counted_from_one(retry: int) -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        wait_before_retry(K.NETWORK_TIMEOUT, retry=retry)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("card_declined", K.CARD_DECLINED),
        ("insufficient_funds", K.INSUFFICIENT_FUNDS),
        ("invalid_card_data", K.INVALID_CARD_DATA),
        ("do_not_honor", K.CARD_DECLINED),
        ("Do Not Honor", K.CARD_DECLINED),
        ("Not enough balance", K.INSUFFICIENT_FUNDS),
        ("CVC Declined", K.INVALID_CARD_DATA),
        ("Expired-Card", K.INVALID_CARD_DATA),
        ("05", K.CARD_DECLINED),
        ("51", K.INSUFFICIENT_FUNDS),
        ("14", K.INVALID_CARD_DATA),
        ("0190", K.CARD_DECLINED),
        ("AM04", K.INSUFFICIENT_FUNDS),
        ("AC01", K.INVALID_CARD_DATA),
    ],
)
def test_the_usual_decline_codes_are_known_however_they_are_spelt(
    code: str, kind: GatewayErrorKind
) -> None:
    assert decline_kind(code) is kind


@pytest.mark.parametrize(
    "code",
    ["processing_error", "issuer_not_available", "try_again_later", "91", "96", "94", "5", "",
     None, "approved", "gateway_on_fire"],
)  # fmt: skip
def test_a_code_that_does_not_say_no_is_unrecognised(code: str | None) -> None:
    assert decline_kind(code) is K.UNRECOGNISED


@given(st.text())
def test_any_text_at_all_gets_a_kind_that_is_never_tried_again(code: str) -> None:
    assert WAITS[decline_kind(code)] == ()


def test_no_code_stands_for_two_kinds() -> None:
    codes = [*CARD_DECLINED, *INSUFFICIENT_FUNDS, *INVALID_CARD_DATA]

    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("code", sorted(CARD_DECLINED | INSUFFICIENT_FUNDS | INVALID_CARD_DATA))
def test_every_code_in_the_sets_can_be_found(code: str) -> None:
    assert decline_kind(code.upper()) is not K.UNRECOGNISED
