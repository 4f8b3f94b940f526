"""A vehicle's word is whose key signed exactly this text."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caas.rules.vehicle_signatures import SignedMessage, signed_with

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC_KEY = KEY.public_key().public_bytes_raw()
WORD = SignedMessage(
    vin="VIN1", command_id="c", epoch=7, payment_id="p", service="heated-seats",
    action="activate", status="SUCCEEDED", at="2026-11-26T18:00:00Z",
)  # fmt: skip
SIGNATURE = KEY.sign(WORD.text.encode())


def test_the_text_is_the_public_one() -> None:
    assert WORD.text == ("VIN1|c|7|p|heated-seats|activate|SUCCEEDED|2026-11-26T18:00:00Z")


def test_a_word_of_before_is_read_without_its_action() -> None:
    assert replace(WORD, action=None).text == (
        "VIN1|c|7|p|heated-seats|SUCCEEDED|2026-11-26T18:00:00Z"
    )


def test_whoever_has_the_key_has_signed() -> None:
    assert signed_with(PUBLIC_KEY, signature=SIGNATURE, text=WORD.text)


@pytest.mark.parametrize(
    "change",
    [
        {"vin": "VIN2"}, {"command_id": "d"}, {"epoch": 8}, {"payment_id": "q"},
        {"service": "other"}, {"action": "deactivate"}, {"action": None}, {"status": "FAILED"},
        {"at": "2026-11-26T18:00:01Z"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_no_other_word_is_signed_with_it(change: dict[str, str | int | None]) -> None:
    other = replace(WORD, **change)  # type: ignore[arg-type]

    assert not signed_with(PUBLIC_KEY, signature=SIGNATURE, text=other.text)


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 33, b"\x00" * 32])
def test_what_is_no_key_of_the_vehicle_has_signed_nothing(key: bytes) -> None:
    assert not signed_with(key, signature=SIGNATURE, text=WORD.text)


@pytest.mark.parametrize("signature", [b"", bytes(64), SIGNATURE[:-1], SIGNATURE + b"\x00"])
def test_what_is_no_signature_proves_nothing(signature: bytes) -> None:
    assert not signed_with(PUBLIC_KEY, signature=signature, text=WORD.text)
