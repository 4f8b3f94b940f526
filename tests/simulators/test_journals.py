"""Journals that stay small, and scripted faults that outlive the simulator's process."""

import os
from pathlib import Path

import msgspec
import pytest

from caas_simulators import journal
from caas_simulators.faults import SCRIPTED_MAX
from caas_simulators.vehicle_car import Behaviour, Manner
from caas_simulators.vehicle_fleet import Fleet
from caas_simulators.vehicle_memory import FleetMemory
from tests.simulators.gateway_client import SECRET, Receiver
from tests.simulators.simulator_process import process


@pytest.mark.parametrize("simulator", ["gateway", "partners"])
async def test_faults_are_still_scripted_after_a_restart(tmp_path: Path, simulator: str) -> None:
    """A scripted fault was gone when the process died, and no page said so."""
    state = ("--state-file", str(tmp_path / "state.jsonl"))
    fault = {"match": {"operation": "find", "times": 3}, "action": {"status": 503}}
    find = "/transactions?reference=r" if simulator == "gateway" else "/orders?reference=r"
    async with process(simulator, *state) as one:
        await one.control("POST", "/faults", {"match": {}, "action": {"latency_ms": 1}})
        await one.control("DELETE", "/faults")
        await one.control("POST", "/faults", fault)
        await one.get(find)
        before = await one.control("GET", "/faults")

    async with process(simulator, *state) as one:
        after = await one.control("GET", "/faults")
        statuses = [(await one.get(find)).status for _ in range(3)]

    assert after == before
    assert after["data"][0]["acted"] == 1
    assert statuses == [503, 503, 200]


async def test_a_gateway_takes_no_more_faults_than_it_can_keep(tmp_path: Path) -> None:
    fault = {"match": {"operation": "void", "times": 1}, "action": {"status": 503}}
    async with process("gateway", "--state-file", str(tmp_path / "state.jsonl")) as gateway:
        for _ in range(SCRIPTED_MAX):
            await gateway.control("POST", "/faults", fault)
        refused = await gateway.post("/_control/faults", fault)
        await gateway.control("DELETE", "/faults")
        taken = await gateway.post("/_control/faults", fault)

    assert (refused.status, taken.status) == (409, 201)


async def test_a_gateways_journal_stays_bounded_and_forgets_nothing_that_is_still_so(
    tmp_path: Path, receiver: Receiver
) -> None:
    path = tmp_path / "gateway.jsonl"
    state = ("--state-file", str(path), "--seed", "1", "--webhook-secret", SECRET)
    async with process("gateway", *state, "--webhook-url", "http://127.0.0.1:1") as gateway:
        settled = await gateway.settled(reference="pay-2")
        replayed = await gateway.initiate(reference="pay-1", key="k")
        await gateway.control("POST", "/close-day")
        for _ in range(8):
            await grow(gateway, path)
        report = (await gateway.get("/settlements")).body
        ledger = await gateway.control("GET", "/ledger")
        faults = await gateway.control("GET", "/faults")

    assert b'"compacted"' in path.read_bytes().splitlines()[0]
    assert path.stat().st_size < 3 * journal.COMPACT_BYTES_MIN
    assert not path.with_name("gateway.jsonl.new").exists()
    async with process("gateway", *state, "--webhook-url", receiver.url) as gateway:
        assert (await gateway.get("/settlements")).body == report
        assert (await gateway.control("GET", "/ledger"))["transactions"] == ledger["transactions"]
        assert (await gateway.control("GET", "/faults")) == faults
        assert (await gateway.initiate(reference="pay-1", key="k")).text == replayed.text
        another = (await gateway.initiate(reference="pay-3")).body["id"]
        await receiver.until("transaction.settled")

    assert another not in {settled, replayed.body["id"]}


async def grow(gateway: object, path: Path) -> None:
    """Script and delete faults until the journal has grown by a third of what compacts it."""
    until = path.stat().st_size + journal.COMPACT_BYTES_MIN // 3
    fault = {"match": {"operation": "void"}, "action": {"status": 503, "body": "x" * 30_000}}
    for _ in range(100):
        await gateway.control("POST", "/faults", fault)  # type: ignore[attr-defined]
        await gateway.control("DELETE", "/faults")  # type: ignore[attr-defined]
        size = path.stat().st_size
        if size > until or size < until - journal.COMPACT_BYTES_MIN // 3:
            return


async def test_ids_of_a_seed_do_not_come_again_after_a_journal_was_compacted(
    tmp_path: Path,
) -> None:
    """How many records were read told the seed how far it was; a snapshot has fewer of them."""
    path, ids = tmp_path / "gateway.jsonl", set()
    for number in range(6):
        async with process("gateway", "--state-file", str(path), "--seed", "1") as gateway:
            ids.add((await gateway.initiate(reference=f"pay-{number}")).body["id"])
            for _ in range(4):
                await grow(gateway, path)

    assert len(ids) == 6


async def test_cars_recall_from_a_snapshot_what_they_recall_from_their_journal(
    tmp_path: Path,
) -> None:
    path = tmp_path / "vehicles.jsonl"
    memory = FleetMemory(path)
    fleet = Fleet(1, memory=memory)
    fleet.add("AWAKE")
    fleet.add("SLP1", Manner(Behaviour.ASLEEP))
    for number in range(40):
        for vin in ("AWAKE", "SLP1"):
            fleet.receive(*request(vin, number), 60.0)
    before = reported(fleet)
    memory.compact()
    memory.close()

    again = FleetMemory(path)
    after = reported(Fleet(1, memory=again))
    again.close()

    assert after == before
    assert path.read_bytes().startswith(b'{"record":"compacted"')


def request(vin: str, number: int) -> tuple[str, bytes]:
    """Return the topic and the payload of a command."""
    command = {
        "command_id": f"command-{number}", "epoch": number, "action": "activate",
        "payment_id": "payment", "service": "heated-seats", "valid_until": None,
        "deadline": "2026-12-01T00:00:00Z",
    }  # fmt: skip
    topic = f"caas/v1/vehicles/{vin}/commands/command-{number}/request"
    return topic, msgspec.json.encode(command)


def reported(fleet: Fleet) -> list[object]:
    """Return what cars are and remember."""
    return [
        (car.vin, car.manner, car.commands, car.expired, car.services, car.applied, car.asleep)
        for car in fleet.cars.values()
    ]


def test_whoever_has_a_journal_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence said to end the other simulator, and not which process that is."""
    monkeypatch.setattr(journal, "IN_USE_ATTEMPTS_MAX", 1)
    decoder = msgspec.json.Decoder(journal.Delivered)
    first = journal.Journal(tmp_path / "gateway.jsonl", decoder)

    with pytest.raises(journal.JournalInUseError) as refused:
        journal.Journal(tmp_path / "gateway.jsonl", decoder)
    first.close()

    if Path("/proc/locks").exists():
        assert f"(process {os.getpid()}), which may be stopped: kill -9" in str(refused.value)
    assert str(refused.value).endswith("and start again.")
