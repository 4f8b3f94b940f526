"""A gateway, or the partners, killed and started again on a state file, as a process."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.simulators.gateway_client import SECRET, Receiver
from tests.simulators.simulator_process import process


async def test_a_killed_gateway_remembers_everything(tmp_path: Path) -> None:
    state = ("--state-file", str(tmp_path / "gateway.jsonl"), "--seed", "1")
    async with process("gateway", *state) as gateway:
        initiated = await gateway.initiate(key="k")
        settled = await gateway.settled(reference="pay-2")
        refund = await gateway.post(f"/transactions/{settled}/refund", {"amount": 100})
        await gateway.control("POST", f"/transactions/{settled}/dispute", {"amount": 300})
        report = (await gateway.get("/settlements")).body
        before = [await gateway.find(settled), await gateway.find(initiated.body["id"])]

    async with process("gateway", *state) as gateway:
        after = [await gateway.find(settled), await gateway.find(initiated.body["id"])]
        replayed = await gateway.initiate(key="k")
        refund_after = (await gateway.get(f"/refunds/{refund.body['id']}")).body
        report_after = (await gateway.get("/settlements")).body
        decided = await gateway.control(
            "POST", f"/transactions/{settled}/dispute", {"outcome": "lost"}
        )
        another = await gateway.initiate(reference="pay-3")

    assert after == before
    assert replayed.text == initiated.text
    assert refund_after["amount"] == 100
    assert report_after == report
    assert decided["id"] == settled
    assert another.body["id"] not in (settled, initiated.body["id"])


async def test_what_was_due_becomes_due_after_the_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    state = ("--state-file", str(tmp_path / "gateway.jsonl"), "--settlement-seconds", "60")
    async with process("gateway", *state) as gateway:
        captured = await gateway.captured()
        disputed = await gateway.captured("pm_chargeback", reference="pay-2")

    webhooks = ("--webhook-url", receiver.url, "--webhook-secret", SECRET)
    async with process("gateway", *state, *webhooks) as gateway:
        await receiver.until("transaction.settled")
        await gateway.control("POST", "/advance", {"seconds": 86_400 * 90})
        await receiver.until("dispute.lost")

        assert (await gateway.find(captured))["status"] == "settled"
        assert (await gateway.find(disputed))["status"] == "settled"


async def test_what_was_accepted_is_decided_after_the_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    state = ("--state-file", str(tmp_path / "gateway.jsonl"), "--modification-seconds", "3600")
    async with process("gateway", *state) as gateway:
        captured = (await gateway.initiate()).body["id"]
        voided = (await gateway.initiate(reference="pay-2")).body["id"]
        accepted = await gateway.post(f"/transactions/{captured}/capture", {})
        late = await gateway.post(f"/transactions/{captured}/void", {}, key="late")
        await gateway.post(f"/transactions/{voided}/void", {})
        before = [(await gateway.find(one))["status"] for one in (captured, voided)]

    webhooks = ("--webhook-url", receiver.url, "--webhook-secret", SECRET)
    async with process("gateway", *state, *webhooks) as gateway:
        replayed = await gateway.post(f"/transactions/{captured}/void", {}, key="late")
        await gateway.control("POST", "/advance", {"seconds": 3_600})
        refused = await receiver.until("void.refused")
        after = [(await gateway.find(one))["status"] for one in (captured, voided)]

    assert (accepted.status, accepted.body["transaction_id"]) == (202, captured)
    assert before == ["authorized", "authorized"]
    assert after == ["capturing", "voided"]
    assert replayed.body["id"] == late.body["id"] == refused["data"]["id"]
    assert refused["data"]["code"] == "already_captured"


async def test_undelivered_webhooks_are_sent_after_the_restart_and_delivered_ones_are_not(
    tmp_path: Path, receiver: Receiver
) -> None:
    state = ("--state-file", str(tmp_path / "gateway.jsonl"), "--webhook-secret", SECRET)
    async with process("gateway", *state, "--webhook-url", receiver.url) as gateway:
        await gateway.initiate(reference="delivered")
        await gateway.webhooks_arrived()
    async with process("gateway", *state, "--webhook-url", "http://127.0.0.1:1") as gateway:
        await gateway.initiate(reference="undelivered")

    async with process("gateway", *state, "--webhook-url", receiver.url) as gateway:
        await gateway.webhooks_arrived()

    references = [one.body["data"]["reference"] for one in receiver.received]
    assert references == ["delivered", "undelivered"]
    assert all(one.genuine for one in receiver.received)


async def test_the_moved_clock_stays_moved(tmp_path: Path) -> None:
    state = ("--state-file", str(tmp_path / "gateway.jsonl"))
    async with process("gateway", *state) as gateway:
        held = (await gateway.initiate()).body["id"]
        await gateway.control("POST", "/close-day")
        day = (await gateway.get("/settlements")).body["date"]
        await gateway.control("POST", "/advance", {"seconds": 86_400 * 8})

    async with process("gateway", *state) as gateway:
        assert (await gateway.find(held))["void_reason"] == "authorization_expired"
        assert (await gateway.get(f"/settlements?date={day}")).body["status"] == "closed"


async def test_killed_partners_remember_what_they_have_to_do(
    tmp_path: Path, receiver: Receiver
) -> None:
    state = ("--state-file", str(tmp_path / "partners.jsonl"), "--seed", "1")
    order = {"reference": "ord-1"}
    vehicle = {"reference": "ord-1", "vin": "VSS1"}
    async with process("partners", *state) as partners:
        placed = await partners.post("/orders", order, "k")
        registered = await partners.post("/registrations", vehicle)
        delivery = await partners.post("/deliveries", vehicle)

    webhooks = ("--factory-webhook-url", receiver.url, "--transport-webhook-url", receiver.url)
    async with process("partners", *state, *webhooks, "--webhook-secret", SECRET) as partners:
        replayed = await partners.post("/orders", order, "k")
        by_key = await partners.get("/orders?idempotency_key=k")
        registration = await partners.get("/registrations?reference=ord-1")
        another = await partners.post("/registrations", vehicle)
        await partners.control("POST", "/advance", {"seconds": 86_400 * 31})
        ready = await receiver.until("vehicle.ready")
        completed = await receiver.until("delivery.completed")

    assert replayed.text == placed.text
    assert by_key.body["data"] == [placed.body]
    assert registration.body["data"] == [registered.body]
    assert another.body["plate"] != registered.body["plate"]
    assert ready["data"]["factory_order_id"] == placed.body["factory_order_id"]
    assert completed["data"]["delivery_id"] == delivery.body["delivery_id"]


async def test_an_open_page_is_found_at_the_new_address(tmp_path: Path) -> None:
    state = ("--state-file", str(tmp_path / "gateway.jsonl"), "--time-scale", "1")
    async with process("gateway", *state) as gateway:
        asked = (await gateway.initiate(None)).body["id"]

    async with process("gateway", *state) as gateway:
        page = (await gateway.find(asked))["hosted_page_url"]
        shown = await gateway.get(page.removeprefix(gateway.url))

    assert page.startswith(gateway.url)
    assert shown.status == 200


async def test_partners_send_again_what_did_not_arrive(tmp_path: Path, receiver: Receiver) -> None:
    state = ("--state-file", str(tmp_path / "partners.jsonl"), "--webhook-secret", SECRET)
    async with process("partners", *state, "--factory-webhook-url", "http://127.0.0.1:1") as one:
        order = (await one.post("/orders", {"reference": "ord-1"})).body["factory_order_id"]
        await one.control("POST", f"/ready/{order}")

    async with process("partners", *state, "--factory-webhook-url", receiver.url) as partners:
        await partners.webhooks_arrived()

    assert receiver.types == ["vehicle.ready"]
    assert receiver.received[0].genuine


async def test_a_last_line_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "gateway.jsonl"
    async with process("gateway", "--state-file", str(path)) as gateway:
        held = (await gateway.initiate()).body["id"]
    with path.open("ab") as file:
        file.write(b'{"record":"book')

    async with process("gateway", "--state-file", str(path)) as gateway:
        assert (await gateway.find(held))["status"] == "authorized"
        again = (await gateway.initiate(reference="pay-2")).body["id"]
    async with process("gateway", "--state-file", str(path)) as gateway:
        assert (await gateway.find(again))["status"] == "authorized"


async def test_a_journal_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "gateway.jsonl"
    path.write_text('{"record":"nonsense"}\n')

    with pytest.raises(json.JSONDecodeError):
        async with process("gateway", "--state-file", str(path)):
            pytest.fail("it started")


async def test_the_same_seed_gives_the_same_ids() -> None:
    ids = []
    for _ in range(2):
        async with process("gateway", "--seed", "5") as gateway:
            ids.append((await gateway.initiate()).body["id"])

    assert ids[0] == ids[1]


async def test_a_gateway_told_to_stop_stops() -> None:
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "caas_simulators", "gateway", stdout=asyncio.subprocess.PIPE
    )
    assert started.stdout is not None
    await started.stdout.readline()

    started.terminate()

    assert await asyncio.wait_for(started.wait(), 10) == 0
