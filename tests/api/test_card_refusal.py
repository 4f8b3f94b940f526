"""F-P5: a card number is refused in every field of every call, and kept nowhere."""

import io
import json
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from caas.api.application import OPERATIONS
from caas.web.card_refusal import holds_one, may_hold_one
from tests.api.addresses import address
from tests.api.conftest import SOMEBODYS_PAYMENT, Doors

PAN = "4111111111111111"
IBAN = "ES9121000418450200051332"
DISGUISES = [
    PAN, "4111 1111 1111 1111", "4111-1111-1111-1111", "４１１１１１１１１１１１１１１１",
    "card4111111111111111", "4111\u200b1111\u200b1111\u200b1111", "Ana 4111.1111.1111.1111 x",
    "N 4111&nbsp;1111&nbsp;1111&nbsp;1111", "4111<br>1111<br>1111<br>1111",
    "4111 x 1111 x 1111 x 1111", "4111&#xA0;1111&#xA0;1111&#xA0;1111", "4111@1111@1111@1111",
    IBAN, "ES91 2100 0418 4502 0005 1332", "5555555555554444", "378282246310005",
]  # fmt: skip


@pytest.mark.parametrize("secret", DISGUISES)
async def test_a_card_number_is_refused_in_any_text_of_a_payment_and_not_echoed(
    quiet_doors: Doors, secret: str
) -> None:
    for field in SOMEBODYS_PAYMENT:
        answer = await quiet_doors.post(
            "/v1/payments/service", {**SOMEBODYS_PAYMENT, field: secret}
        )
        assert (answer.status, answer.json["code"]) == (422, "card_number_refused"), field
        assert secret not in answer.body.decode()
        assert PAN not in answer.body.decode()


async def test_a_card_number_is_refused_in_every_field_of_every_call(quiet_doors: Doors) -> None:
    for operation in OPERATIONS:
        if operation.body is None:
            continue
        for body in canaries(operation.body.content):
            answer = await quiet_doors.call(
                operation.method, address(operation), json=body,
                headers={"idempotency-key": str(uuid4())},
            )  # fmt: skip
            assert (answer.status, answer.json["code"]) == (422, "card_number_refused"), (
                operation.id, body, answer.body
            )  # fmt: skip


def canaries(content: type[msgspec.Struct]) -> list[dict[str, Any]]:
    """Bodies with a card number in each field, in an unknown one, and as the name of one."""
    fields = content.__struct_fields__
    return [
        *({field: PAN} for field in fields),
        *({field: {"deep": [{"er": PAN}]}} for field in fields),
        {"note": PAN},
        {PAN: 1},
    ]


@pytest.mark.parametrize(
    "body",
    [
        '{"payment_method": "4111\\/1111\\/1111\\/1111"}',
        '{"payment_method": "\\u0034111111111111111"}',
        '{"return_url": "https://x.example/?n=4111111111111111"}',
        '{"return_url": "https://x.example/?n=4111%201111%201111%201111"}',
        '{"amount": 4111111111111111}',
        '["4111111111111111"]',
        "4111111111111111",
        '{"payment_method": "4111111111111111"',
        '{"currency": "4111111111111111", "currency": "EUR"}',
    ],
)
async def test_neither_escapes_nor_broken_json_hide_one(quiet_doors: Doors, body: str) -> None:
    answer = await quiet_doors.call(
        "POST", "/v1/payments/service", data=body.encode(),
        headers={"content-type": "application/json", "idempotency-key": str(uuid4())},
    )  # fmt: skip

    assert (answer.status, answer.json["code"]) == (422, "card_number_refused"), answer.body


@pytest.mark.parametrize("secret", [PAN, "4111 1111 1111 1111", IBAN])
async def test_a_card_number_in_address_query_or_headers_is_refused(
    quiet_doors: Doors, secret: str
) -> None:
    asked = [
        await quiet_doors.get(f"/v1/payments/{quote(secret)}"),
        await quiet_doors.get(f"/v1/payments?subject={quote(secret)}"),
        await quiet_doors.get(f"/v1/payments?{quote(secret)}=1"),
        await quiet_doors.get("/v1/payments", headers={"x-note": secret}),
        await quiet_doors.get("/v1/payments", headers={"referer": f"https://x/?n={secret}"}),
        await quiet_doors.post(
            "/v1/payments/service", SOMEBODYS_PAYMENT,
            headers={"idempotency-key": f"key-of-{secret}".replace(" ", "-")},
        ),
    ]  # fmt: skip

    for answer in asked:
        assert (answer.status, answer.json["code"]) == (422, "card_number_refused")
        assert secret not in answer.body.decode()


async def test_a_card_number_as_request_id_is_neither_logged_nor_sent_back(
    quiet_doors: Doors,
) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = await quiet_doors.get("/v1/payments", headers={"x-request-id": PAN})

    assert answer.status == 422
    assert PAN not in json.dumps(lines) + json.dumps(answer.headers) + answer.body.decode()


async def test_after_every_attempt_no_card_number_stands_in_the_database_or_the_log(
    doors: Doors,
) -> None:
    with structlog.testing.capture_logs() as lines:
        for field in (*SOMEBODYS_PAYMENT, "note", PAN):
            await doors.post("/v1/payments/service", {**SOMEBODYS_PAYMENT, field: PAN})
        await doors.get(f"/v1/{PAN}?{PAN}={PAN}", headers={"x-request-id": PAN, "x": PAN})

    assert PAN not in json.dumps(lines, default=str)
    assert PAN not in await everything_in(doors)


async def everything_in(doors: Doors) -> str:
    """Every row of every table as text."""
    database = doors.installation.database
    tables = await database.fetch("select tablename from pg_tables where schemaname = 'caas'")
    dump = io.StringIO()
    for table in tables:
        rows = await database.fetch(f'select row_to_json(t)::text from "{table[0]}" t')
        dump.writelines(row[0] for row in rows)
    return dump.getvalue()


PIECES = st.one_of(
    st.sampled_from([PAN, IBAN, "5500 0000 0000 0004", "GB29 NWBK 6016 1331 9268 19",
                     "3782-822463-10005", "NO9386011117947", "de89370400440532013000"]),
    st.text(max_size=8),
    st.uuids().map(str),
    st.from_regex(r"[A-Z]{2}[0-9]{2}[ -]?[0-9A-Z]{4}", fullmatch=True),
)  # fmt: skip


@given(st.lists(PIECES, max_size=6), st.sampled_from([
    "", " ", "-", '","', ".", "/", "&nbsp;", "<b>", "x", "@", " , - ", "%2D"
]))  # fmt: skip
@example(["ES", "9121000418450200051332"], " ")
@example(["4111", "1111", "1111", "1111"], "_")
@example(["4", "111111111111111"], "+")
@example([PAN], "")
def test_the_quick_look_never_overlooks_what_the_reader_finds(pieces: list[str], glue: str) -> None:
    text = glue.join(pieces)

    assert may_hold_one(text.encode()) or not holds_one(text)


def test_the_quick_look_says_no_to_most_ordinary_bodies() -> None:
    bodies = [
        json.dumps({**SOMEBODYS_PAYMENT, "subject": str(uuid4()), "customer": str(uuid4())})
        for _ in range(500)
    ]

    suspected = sum(may_hold_one(body.encode()) for body in bodies)

    assert suspected < len(bodies) / 3
