"""Card numbers sent to every field of every call (fault F-P5), and the search for them afterwards.

The dump is PostgreSQL's own, so that nothing it keeps is overlooked. Fields take turns with the
ways a number can be written; `make fuzz` sends every way to every field.
"""

import asyncio
import itertools
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from caas import logs
from caas.api.application import OPERATIONS
from caas.api.operation import Operation
from caas.billing_database.embedded_postgresql import program
from caas.external_systems.webhook_signatures import sign
from tests.api.addresses import address
from tests.api.conftest import GATEWAY_SECRET, PARTNER_SECRET, SOMEBODYS_PAYMENT, now
from tests.api.test_webhooks import settled
from tests.bad_input.conftest import World

CANARIES = ("4929130587613451", "374245455400126")
SHAPES = (
    lambda pan: pan,
    lambda pan: " ".join(pan[place : place + 4] for place in range(0, len(pan), 4)),
    lambda pan: "-".join(pan[place : place + 4] for place in range(0, len(pan), 4)),
    lambda pan: pan.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
    lambda pan: pan.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
    lambda pan: f"card {pan} of Ana",
)
WRITTEN = [shape(pan) for pan in CANARIES for shape in SHAPES]
WAYS_AN_ADDRESS = 3
EVERY_WAY = "CAAS_FUZZ_EXAMPLES" in os.environ
PLAIN = [pan.encode() for pan in CANARIES]


async def dump_of(dsn: str) -> bytes:
    """Return the whole database as pg_dump writes it."""
    process = await asyncio.create_subprocess_exec(
        str(program("pg_dump")), "--no-sync", dsn, stdout=asyncio.subprocess.PIPE
    )
    dumped, _ = await process.communicate()
    assert process.returncode == 0
    assert b"payment_events" in dumped
    return dumped


async def test_no_card_number_stands_in_a_dump_of_the_database_the_log_or_a_letter(
    whole_world: World, tmp_path: Path
) -> None:
    with logs.to_file(tmp_path / "caas.log"):
        answered = [await answer for answer in _sent_everywhere(whole_world)]
        await whole_world.doors.installation.rest()
    letters = repr(whole_world.doors.installation.letterbox.letters).encode()
    dumped = await dump_of(whole_world.doors.installation.database.dsn)
    logged = (tmp_path / "caas.log").read_bytes()

    assert len(answered) > len(OPERATIONS) * WAYS_AN_ADDRESS
    for found_in in (dumped, logged, letters, *answered):
        hits = [pan for pan in (*PLAIN, *(it.encode() for it in WRITTEN)) if pan in found_in]
        assert hits == []


def _sent_everywhere(world: World) -> Iterator[Awaitable[bytes]]:
    turns = itertools.cycle(WRITTEN)
    for operation in OPERATIONS:
        for canary in WRITTEN if EVERY_WAY else itertools.islice(turns, WAYS_AN_ADDRESS):
            yield _in_address_and_headers(world, operation, canary)
        for with_canary in _bodies(operation):
            for canary in WRITTEN if EVERY_WAY else [next(turns)]:
                yield _in_body(world, operation, with_canary(canary))
    for sender, canary in itertools.product(("gateway", "factory", "transport"), WRITTEN):
        yield _in_webhook(world, sender, canary)


async def _in_address_and_headers(world: World, operation: Operation, canary: str) -> bytes:
    path = f"{address(operation)}?note={quote(canary)}"
    answer = await world.doors.call(
        operation.method, path, json={} if operation.body else None,
        headers={"idempotency-key": quote(canary), "x-note": quote(canary),
                 "x-request-id": quote(canary), "referer": f"https://x.example/{quote(canary)}"},
    )  # fmt: skip
    return repr(answer.headers).encode() + answer.body


def _bodies(operation: Operation) -> list[Callable[[str], dict[str, object]]]:
    if operation.body is None:
        return []
    valid = SOMEBODYS_PAYMENT if operation.id.startswith("initiate") else {}

    def in_field(name: str) -> Callable[[str], dict[str, object]]:
        return lambda canary: {**valid, name: canary}

    return [
        *(in_field(field.name) for field in msgspec.structs.fields(operation.body.content)),
        lambda canary: {**valid, "note": {"deep": [{"er": canary}]}},
        lambda canary: {**valid, canary: 1},
    ]


async def _in_body(world: World, operation: Operation, body: dict[str, object]) -> bytes:
    answer = await world.doors.call(
        operation.method, address(operation), json=body,
        headers={"idempotency-key": str(uuid4())},
    )  # fmt: skip
    assert answer.status in {401, 422}, (operation.id, body, answer.body)
    return repr(answer.headers).encode() + answer.body


async def _in_webhook(world: World, sender: str, canary: str) -> bytes:
    event_id = f"evt_{uuid4().hex}"
    content = json.loads(settled(event_id))
    content["data"]["reference"] = canary
    content["data"]["description"] = f"{canary} {canary}"
    body = json.dumps(content, ensure_ascii=False).encode()
    secret = GATEWAY_SECRET if sender == "gateway" else PARTNER_SECRET
    signed = sign(secret, event_id=event_id, at=now(), body=body)
    answer = await world.doors.call(
        "POST", f"/webhooks/{sender}", caller=None, data=body,
        headers={"content-type": "application/json", **signed},
    )  # fmt: skip
    return repr(answer.headers).encode() + answer.body


@pytest.mark.parametrize("canary", [WRITTEN[0], WRITTEN[3]])
async def test_the_search_would_find_one(whole_world: World, canary: str) -> None:
    """A dump that could not show a card number would prove nothing."""
    database = whole_world.doors.installation.database
    owner = await asyncpg.connect(database.dsn)
    await owner.execute(f"create table public.planted as select '{canary}' as note")
    dumped = await dump_of(database.dsn)
    await owner.execute("drop table public.planted")
    await owner.close()

    assert canary.encode() in dumped
