"""Which webhooks are believed (F-W6, F-W7): only untouched ones, signed by a secret, signed now."""

import base64
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from caas.errors import StartupError
from caas.external_systems import webhook_signatures
from caas.external_systems.http import Secret
from caas.external_systems.webhook_signatures import (
    TOLERANCE_SECONDS,
    WEBHOOK_BODY_BYTES_MAX,
    WebhookBodyTooLargeError,
    WebhookHeadersError,
    WebhookRefusedError,
    WebhookSignatureError,
    WebhookTimestampError,
    WebhookVerifier,
    sign,
)

NOW = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)
NEW = Secret("whsec_" + base64.b64encode(b"n" * 32).decode())
OLD = Secret("whsec_" + base64.b64encode(b"o" * 24).decode())
STRANGE = Secret("whsec_" + base64.b64encode(b"s" * 32).decode())
BODY = '{"id":"evt_1","type":"transaction.settled","note":"ñ"}'.encode()


def signed(body: bytes = BODY, *, secret: Secret = NEW, at: datetime = NOW) -> dict[str, str]:
    """The headers of an honest webhook."""
    return sign(secret, event_id="evt_1", at=at, body=body)


def test_a_webhook_signed_now_is_believed() -> None:
    verified = WebhookVerifier([NEW]).verify(BODY, signed(), now=NOW)

    assert (verified.id, verified.signed_at) == ("evt_1", NOW)


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_during_rotation_either_secret_will_do(secret: Secret) -> None:
    verifier = WebhookVerifier([NEW, OLD])

    assert verifier.verify(BODY, signed(secret=secret), now=NOW).id == "evt_1"


def test_a_partner_who_signs_with_both_secrets_is_believed() -> None:
    headers = signed()
    both = f"v1a,AAAA {signed(secret=STRANGE)['webhook-signature']} {headers['webhook-signature']}"

    verified = WebhookVerifier([NEW]).verify(BODY, headers | {"webhook-signature": both}, now=NOW)

    assert verified.id == "evt_1"


def test_a_secret_that_was_dropped_opens_nothing() -> None:
    with pytest.raises(WebhookSignatureError):
        WebhookVerifier([NEW]).verify(BODY, signed(secret=OLD), now=NOW)


@pytest.mark.parametrize("seconds", [-TOLERANCE_SECONDS, 0, TOLERANCE_SECONDS])
def test_the_window_includes_its_ends(seconds: int) -> None:
    headers = signed(at=NOW + timedelta(seconds=seconds))

    assert WebhookVerifier([NEW]).verify(BODY, headers, now=NOW).id == "evt_1"


@pytest.mark.parametrize("seconds", [-86_400, -301, 301, 86_400])
def test_outside_the_window_nothing_is_believed_on_either_side(seconds: int) -> None:
    headers = signed(at=NOW + timedelta(seconds=seconds))

    with pytest.raises(WebhookTimestampError):
        WebhookVerifier([NEW]).verify(BODY, headers, now=NOW)


def test_a_fraction_of_a_second_beyond_the_window_is_outside() -> None:
    now = NOW + timedelta(seconds=TOLERANCE_SECONDS, microseconds=1)

    with pytest.raises(WebhookTimestampError):
        WebhookVerifier([NEW]).verify(BODY, signed(), now=now)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", " "])
def test_a_webhook_without_a_header_is_refused(name: str, value: str | None) -> None:
    headers = signed()
    del headers[name]
    if value is not None:
        headers[name] = value

    with pytest.raises(WebhookRefusedError):
        WebhookVerifier([NEW]).verify(BODY, headers, now=NOW)


@pytest.mark.parametrize(
    "respell",
    [
        lambda seconds: f"+{seconds}",
        lambda seconds: f" {seconds}",
        lambda seconds: f"{seconds} ",
        lambda seconds: f"0{seconds}",
        lambda seconds: f"{seconds}.0",
        lambda seconds: f"{seconds}.9",
        lambda seconds: f"{int(seconds):_}",
        lambda seconds: f"{int(seconds):e}",
        lambda seconds: "".join(chr(ord(digit) + 0xFEE0) for digit in seconds),
        lambda _: "nan",
        lambda _: "inf",
        lambda _: "-1",
        lambda _: "9" * 400,
    ],
)
def test_another_spelling_of_the_timestamp_is_refused(respell: Callable[[str], str]) -> None:
    headers = signed()
    headers["webhook-timestamp"] = respell(headers["webhook-timestamp"])

    with pytest.raises(WebhookHeadersError):
        WebhookVerifier([NEW]).verify(BODY, headers, now=NOW)


def test_the_signed_parts_cannot_be_cut_elsewhere() -> None:
    """The id, the timestamp and the body are joined with full stops; an id may hold none."""
    body = f"{int(NOW.timestamp())}.rest".encode()
    headers = signed(body)
    transitioned = headers | {"webhook-id": f"evt_1.{headers['webhook-timestamp']}"}

    with pytest.raises(WebhookHeadersError):
        WebhookVerifier([NEW]).verify(b"rest", transitioned, now=NOW)


@pytest.mark.parametrize("version", ["v1a", "v2", "V1", "none", ""])
def test_another_version_of_the_signature_is_refused(version: str) -> None:
    headers = signed()
    signature = headers["webhook-signature"].partition(",")[2]
    headers["webhook-signature"] = f"{version},{signature}"

    with pytest.raises(WebhookSignatureError):
        WebhookVerifier([NEW]).verify(BODY, headers, now=NOW)


def test_a_body_that_was_decoded_and_written_again_is_refused() -> None:
    with pytest.raises(WebhookSignatureError):
        WebhookVerifier([NEW]).verify(BODY.replace(b":", b": "), signed(), now=NOW)


def test_a_thousand_signatures_are_not_tried() -> None:
    headers = signed()
    headers["webhook-signature"] = " ".join(["v1,AAAA"] * 1_000 + [headers["webhook-signature"]])

    with pytest.raises(WebhookHeadersError):
        WebhookVerifier([NEW]).verify(BODY, headers, now=NOW)


def test_a_body_of_the_limit_is_read_and_one_byte_more_is_not() -> None:
    largest = b"x" * WEBHOOK_BODY_BYTES_MAX

    assert WebhookVerifier([NEW]).verify(largest, signed(largest), now=NOW).id == "evt_1"
    with pytest.raises(WebhookBodyTooLargeError):
        WebhookVerifier([NEW]).verify(largest + b"x", signed(largest + b"x"), now=NOW)


def test_every_single_bit_counts() -> None:
    """F-W6: all single-bit mutations of headers and body, one after another."""
    verifier = WebhookVerifier([NEW, OLD])
    headers = signed()
    accepted = []
    for name, value in headers.items():
        for mutated in mutations(value.encode()):
            changed = headers | {name: mutated.decode("latin-1")}
            if believed(verifier, BODY, changed):
                accepted.append((name, mutated))
    accepted += [("body", it) for it in mutations(BODY) if believed(verifier, it, headers)]

    assert accepted == []


@settings(max_examples=200)
@given(
    body=st.binary(min_size=1, max_size=300),
    event_id=st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True),
    secret=st.binary(min_size=24, max_size=64),
    bit=st.integers(min_value=0),
)
def test_any_body_is_believed_untouched_and_refused_with_one_bit_changed(
    body: bytes, event_id: str, secret: bytes, bit: int
) -> None:
    key = Secret(base64.b64encode(secret).decode())
    verifier = WebhookVerifier([NEW, key])
    headers = sign(key, event_id=event_id, at=NOW, body=body)

    assert believed(verifier, body, headers)
    assert not believed(verifier, flipped(body, bit % (len(body) * 8)), headers)


@settings(max_examples=200)
@given(body=st.text(max_size=300), secret=st.binary(min_size=24, max_size=64))
def test_the_standard_s_own_library_signs_alike(body: str, secret: bytes) -> None:
    key = Secret("whsec_" + base64.b64encode(secret).decode())
    theirs = Webhook(key.reveal()).sign("evt_1", NOW.replace(tzinfo=None), body)

    ours = sign(key, event_id="evt_1", at=NOW, body=body.encode())

    assert ours["webhook-signature"] == theirs


def test_the_standard_s_own_library_believes_what_we_sign() -> None:
    now = datetime.now(UTC)
    headers = signed(at=now)

    Webhook(NEW.reveal()).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(STRANGE.reveal()).verify(BODY, headers)


@pytest.mark.parametrize(
    "secrets",
    [
        [],
        [NEW] * 5,
        [Secret("whsec_")],
        [Secret("short")],
        [Secret("whsec_" + base64.b64encode(b"n" * 23).decode())],
        [Secret("whsec_not-base64!")],
    ],
)
def test_secrets_that_protect_nothing_are_refused_at_start(secrets: list[Secret]) -> None:
    with pytest.raises(StartupError):
        WebhookVerifier(secrets)


def test_every_refusal_says_what_to_do_and_shows_no_secret() -> None:
    errors = [
        WebhookHeadersError(),
        WebhookBodyTooLargeError(),
        WebhookTimestampError(),
        WebhookSignatureError(),
    ]

    for error in errors:
        assert error.http_status in {400, 401, 413}
        assert any(verb in error.sentence.lower() for verb in ("send", "check"))


def test_without_the_window_an_old_webhook_would_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of the test: the protection of F-W7 switched off."""
    monkeypatch.setattr(webhook_signatures, "TOLERANCE_SECONDS", 10**12)

    headers = signed(at=NOW - timedelta(days=1))

    assert believed(WebhookVerifier([NEW]), BODY, headers)


def test_without_the_comparison_a_forged_webhook_would_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The test of the test: the protection of F-W6 switched off."""
    monkeypatch.setattr(hmac, "compare_digest", lambda _ours, _theirs: True)

    assert believed(WebhookVerifier([NEW]), b"forged", signed())


def believed(verifier: WebhookVerifier, body: bytes, headers: dict[str, str]) -> bool:
    """Whether a webhook passes."""
    try:
        verifier.verify(body, headers, now=NOW)
    except WebhookRefusedError:
        return False
    return True


def mutations(value: bytes) -> list[bytes]:
    """Every value that differs in one bit."""
    return [flipped(value, bit) for bit in range(len(value) * 8)]


def flipped(value: bytes, bit: int) -> bytes:
    """The value with one bit changed."""
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)
