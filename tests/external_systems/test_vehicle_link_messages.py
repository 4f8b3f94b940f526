"""What stands on the wire between platform and vehicle, byte for byte."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from caas.external_systems.iot_gateway import (
    Acknowledgement,
    AcknowledgementStatus,
    CommandDeadlinePassedError,
    seconds_to_deadline,
)
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.external_systems.vehicle_messages import (
    EPOCH_MAX,
    MalformedAcknowledgementError,
    UnaddressableCommandError,
    decode_acknowledgement,
    encode_command,
    request_topic,
    response_topic,
    verify_signature,
)
from tests.cars import COMMAND_KEYS, KNOWN_TO_VEHICLES
from tests.external_systems.vehicle_world import VIN, command

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = KEY.public_key().public_bytes_raw()
TOPIC = f"caas/v1/vehicles/{VIN}/commands/command-1/response"
AT = "2026-11-23T08:00:00.123Z"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def payload(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "command_id": "command-1",
        "epoch": 3,
        "payment_id": "payment-1",
        "service": "heated-seats",
        "action": "activate",
        "status": "SUCCEEDED",
        "status_reason": None,
        "at": AT,
    }
    fields |= {name: value for name, value in changes.items() if name in fields}
    signed = (VIN, *(str(fields[name]) for name in ("command_id", "epoch", "payment_id")))
    signed += tuple(str(fields[name]) for name in ("service", "action", "status", "at"))
    signature = base64.b64encode(KEY.sign("|".join(signed).encode())).decode()
    return {**fields, "signature": signature, **changes}


def decoded(**changes: object) -> Acknowledgement:
    return decode_acknowledgement(TOPIC, json.dumps(payload(**changes)).encode())


def test_a_command_is_written_in_the_agreed_form() -> None:
    one = command(
        4,
        action="deactivate",
        valid_until=NOON + timedelta(days=30),
        deadline=NOON,
    )

    assert request_topic(one.vin, one.command_id) == (
        "caas/v1/vehicles/WVWZZZ1JZXW000001/commands/command-4/request"
    )
    assert response_topic(one.vin, one.command_id) == (
        "caas/v1/vehicles/WVWZZZ1JZXW000001/commands/command-4/response"
    )
    written = json.loads(encode_command(one, COMMAND_KEYS))
    signature = base64.b64decode(written.pop("signature"))
    assert written == {
        "command_id": "command-4",
        "epoch": 4,
        "action": "deactivate",
        "payment_id": "payment-4",
        "service": "heated-seats",
        "valid_until": "2026-12-23T12:00:00Z",
        "deadline": "2026-11-23T12:00:00Z",
        "key_id": COMMAND_KEYS.public[0].key_id,
    }
    Ed25519PublicKey.from_public_bytes(KNOWN_TO_VEHICLES[written["key_id"]]).verify(
        signature,
        b"WVWZZZ1JZXW000001|command-4|4|payment-4|heated-seats|deactivate"
        b"|2026-12-23T12:00:00Z|2026-11-23T12:00:00Z",
    )


@pytest.mark.parametrize("microsecond", [0, 1, 120_000])
def test_what_is_signed_of_an_instant_is_the_text_that_is_sent(microsecond: int) -> None:
    one = command(1, deadline=NOON.replace(microsecond=microsecond))

    written = json.loads(encode_command(one, COMMAND_KEYS))

    assert written["valid_until"] is None
    Ed25519PublicKey.from_public_bytes(KNOWN_TO_VEHICLES[written["key_id"]]).verify(
        base64.b64decode(written["signature"]),
        f"{VIN}|command-1|1|payment-1|heated-seats|activate||{written['deadline']}".encode(),
    )


def test_the_first_key_signs_and_all_are_published() -> None:
    keys = VehicleCommandKeys([b"2" * 32, b"1" * 32])
    written = json.loads(encode_command(command(), keys))

    assert [key.key_id for key in keys.public] == [*keys.known_to_vehicles]
    assert written["key_id"] == keys.public[0].key_id != keys.public[1].key_id


@pytest.mark.parametrize("field", ["command_id", "vin", "payment_id", "service"])
@pytest.mark.parametrize("name", ["", "a|b", "a/b", "+", "#", "a b", "a\n", "x" * 129, "ñ"])
def test_a_name_that_cannot_be_addressed_or_signed_is_refused(field: str, name: str) -> None:
    with pytest.raises(UnaddressableCommandError) as raised:
        command(1, **{field: name})

    assert raised.value.facts == {"field": field}


def test_an_acknowledgement_is_read_with_the_instant_as_it_was_signed() -> None:
    one = decoded(at="2026-11-23T09:00:00.12+01:00", status="REJECTED", status_reason="ignition on")

    assert one.vin == VIN
    assert one.at_text == "2026-11-23T09:00:00.12+01:00"
    assert one.at == datetime(2026, 11, 23, 8, 0, 0, 120_000, tzinfo=UTC)
    assert (one.status, one.status_reason) == (AcknowledgementStatus.REJECTED, "ignition on")
    assert one.signed_text == (
        f"{VIN}|command-1|3|payment-1|heated-seats|activate|REJECTED|2026-11-23T09:00:00.12+01:00"
    )
    assert verify_signature(one, PUBLIC_KEY)


def test_fields_added_later_do_not_disturb() -> None:
    assert decoded(firmware="7.1").status is AcknowledgementStatus.SUCCEEDED


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "DONE"},
        {"status": None},
        {"epoch": "3"},
        {"epoch": -1},
        {"epoch": 3.0e0 + 0.5},
        {"epoch": EPOCH_MAX + 1},
        {"epoch": True},
        {"payment_id": "a|b"},
        {"payment_id": "payment-1\n"},
        {"service": "heated-seats|FAILED"},
        {"at": "yesterday"},
        {"at": "2026-11-23T08:00:00"},
        {"at": "0001-01-01T00:00:00+14:00"},
        {"signature": "not base64!"},
        {"signature": base64.b64encode(bytes(63)).decode()},
        {"signature": "é"},
        {"command_id": "command-2"},
    ],
)
def test_what_is_not_of_the_agreed_form_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MalformedAcknowledgementError):
        decoded(**changes)


@pytest.mark.parametrize("missing", sorted(payload().keys() - {"status_reason"}))
def test_an_acknowledgement_without_one_of_its_fields_is_refused(missing: str) -> None:
    fields = payload()
    del fields[missing]

    with pytest.raises(MalformedAcknowledgementError):
        decode_acknowledgement(TOPIC, json.dumps(fields).encode())


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "caas/v1/vehicles//commands/command-1/response",
        f"caas/v1/vehicles/{VIN}/commands/command-1/request",
        f"caas/v2/vehicles/{VIN}/commands/command-1/response",
        f"caas/v1/vehicles/{VIN}/commands/command-1/response/",
        f"caas/v1/vehicles/{VIN}|x/commands/command-1/response",
        f"caas/v1/vehicles/{VIN}/commands/command-1/response\n",
    ],
)
def test_a_topic_that_is_no_response_is_refused(topic: str) -> None:
    with pytest.raises(MalformedAcknowledgementError, match="topic"):
        decode_acknowledgement(topic, json.dumps(payload()).encode())


def test_a_long_reason_is_cut_and_a_long_payload_refused() -> None:
    assert len(decoded(status_reason="x" * 5000).status_reason) == 500
    with pytest.raises(MalformedAcknowledgementError, match="8192 bytes"):
        decoded(status_reason="x" * 9000)


@given(st.binary(max_size=200), st.text(max_size=60))
def test_no_bytes_whatever_do_more_than_be_refused(noise: bytes, topic: str) -> None:
    for name in (TOPIC, topic):
        with pytest.raises(MalformedAcknowledgementError):
            decode_acknowledgement(name, noise)


@given(
    st.dictionaries(
        st.sampled_from(sorted(payload())),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
    )
)
def test_no_value_in_any_field_does_more_than_be_refused(changes: dict[str, object]) -> None:
    try:
        one = decoded(**changes)
    except MalformedAcknowledgementError:
        return

    assert one.at.tzinfo is UTC
    assert "|" not in f"{one.vin}{one.command_id}{one.payment_id}{one.service}{one.at_text}"


@pytest.mark.parametrize(
    "changes",
    [
        {"vin": "WVWZZZ1JZXW000002"},
        {"command_id": "command-2"},
        {"epoch": 4},
        {"payment_id": "payment-2"},
        {"service": "heated-seat"},
        {"status": AcknowledgementStatus.IN_PROGRESS},
        {"at_text": "2026-11-23T08:00:00.124Z"},
        {"at_text": "2026-11-23T08:00:00.1230Z"},
    ],
)
def test_a_signature_holds_for_nothing_but_what_was_signed(changes: dict[str, object]) -> None:
    one = decoded()
    assert verify_signature(one, PUBLIC_KEY)

    assert not verify_signature(replace(one, **changes), PUBLIC_KEY)


@given(st.integers(min_value=0, max_value=64 * 8 - 1))
def test_no_single_bit_of_a_signature_can_change(bit: int) -> None:
    one = decoded()
    changed = bytearray(one.signature)
    changed[bit // 8] ^= 1 << bit % 8

    assert not verify_signature(replace(one, signature=bytes(changed)), PUBLIC_KEY)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(32), b"\xff" * 32])
def test_a_key_that_is_none_or_another_proves_nothing(key: bytes) -> None:
    assert not verify_signature(decoded(), key)


@pytest.mark.parametrize(
    ("left", "seconds"), [(0.001, 1), (1.0, 1), (1.2, 2), (59.9, 60), (86_400.0, 86_400)]
)
def test_the_expiry_is_the_time_left_in_whole_seconds(left: float, seconds: int) -> None:
    one = command(deadline=NOON + timedelta(seconds=left))

    assert seconds_to_deadline(one, NOON) == seconds


@pytest.mark.parametrize("left", [0.0, -0.001, -60.0])
def test_a_deadline_that_has_passed_is_refused(left: float) -> None:
    one = command(deadline=NOON + timedelta(seconds=left))

    with pytest.raises(CommandDeadlinePassedError):
        seconds_to_deadline(one, NOON)
