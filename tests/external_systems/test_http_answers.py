"""What a complete answer is taken for by its status and its body: success, refusal, or unknown."""

import pytest

from caas.external_systems.http import (
    HttpAnswer,
    OutcomeUnknownError,
    RefusedByPartnerError,
    TooManyRequestsError,
    retry_after_seconds,
)
from caas.external_systems.http_answers import checked
from caas.rules.retry_strategy import GatewayErrorKind


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_every_5xx_is_unknown_and_tried_again(status: int) -> None:
    with pytest.raises(OutcomeUnknownError) as caught:
        checked(HttpAnswer("gateway", "POST /x", status, "application/json", b"{}"))

    assert caught.value.kind is GatewayErrorKind.GATEWAY_5XX_ERROR
    assert caught.value.status == status


def test_a_429_says_when_to_come_back() -> None:
    with pytest.raises(TooManyRequestsError) as caught:
        checked(HttpAnswer("gateway", "POST /x", 429, "text/plain", b"", 30.0))

    assert caught.value.retry_after_seconds == 30.0
    assert caught.value.kind is GatewayErrorKind.RATE_LIMITED


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 422])
def test_a_4xx_with_a_problem_is_a_refusal_with_its_code(status: int) -> None:
    body = b'{"type":"x","code":"no_such_thing","detail":"There is none."}'

    with pytest.raises(RefusedByPartnerError) as caught:
        checked(HttpAnswer("factory", "POST /x", status, "application/problem+json", body))

    assert (caught.value.status, caught.value.refusal) == (status, "no_such_thing")
    assert caught.value.problem == "There is none."


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (404, "text/html", b"<h1>Not Found</h1>"),
        (400, "application/json", b'{"code":"refused"}'),
        (409, "application/problem+json", b"{}"),
        (422, "application/problem+json", b"not json"),
        (422, "application/problem+json", b'{"code":7}'),
        (409, "application/problem+json", b'{"code":"idempotency_in_progress"}'),
        (408, "application/problem+json", b'{"code":"request_timeout"}'),
        (425, "application/problem+json", b'{"code":"too_early"}'),
        (304, "application/json", b""),
        (204, "application/json", b""),
        (206, "application/json", b"{}"),
        (200, "text/html", b"<h1>It works</h1>"),
        (200, "", b"{}"),
        (200, "application/problem+json", b"{}"),
    ],
)
def test_what_no_contract_promises_is_unknown(status: int, content_type: str, body: bytes) -> None:
    with pytest.raises(OutcomeUnknownError):
        checked(HttpAnswer("gateway", "POST /x", status, content_type, body))


def test_a_card_number_in_a_refusal_does_not_survive() -> None:
    body = b'{"code":"invalid","detail":"card 4242 4242 4242 4242 is wrong"}'

    with pytest.raises(RefusedByPartnerError) as caught:
        checked(HttpAnswer("gateway", "POST /x", 400, "application/problem+json", body))

    assert "4242 4242" not in str(caught.value)
    assert "4242 4242" not in caught.value.problem


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        (None, None, None),
        ("12", None, 12.0),
        ("999999999999999999999", None, 3600.0),
        ("-1", None, None),
        ("soon", None, None),
        ("Fri, 20 Nov 2026 10:00:30 GMT", "Fri, 20 Nov 2026 10:00:00 GMT", 30.0),
        ("Fri, 20 Nov 2026 10:00:00 GMT", "Fri, 20 Nov 2026 10:00:30 GMT", 0.0),
        ("Fri, 20 Nov 2026 10:00:30 GMT", None, None),
    ],
)
def test_retry_after_is_a_number_a_date_or_nothing(
    retry_after: str | None, date: str | None, seconds: float | None
) -> None:
    assert retry_after_seconds(retry_after, date) == seconds
