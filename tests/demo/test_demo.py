"""`caas demo` as a person runs it: all scenarios, one scenario, and failing verdicts.

The tests of one process share their data folder, whose database and broker are set up once.
"""

import asyncio
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caas import local_machine
from caas.errors import StartupError
from caas.local_machine import LocalWorld
from caas_lab.demo import running_platform
from caas_lab.demo.scenarios import SCENARIOS, SHORT

pytestmark = pytest.mark.xdist_group("demo")  # one at a time: they share a folder

SECONDS_MAX = 500.0
PLANTED = Path(__file__).with_name("planted.py")
COLUMNS_MAX = 100
CONTENTS = "Contents, and the expected end of each scenario\n"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo-data")


def environment(folder: Path) -> dict[str, str]:
    path = "/usr/bin:/bin:/usr/sbin"
    return {"PATH": path, "CAAS_DATA_DIR": str(folder), "HOME": str(folder)}


async def run(folder: Path, *arguments: str) -> Ran:
    """Run Python with these arguments, and kill it when it takes too long."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment(folder),
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS_MAX):
            out, err = await process.communicate()
    except TimeoutError:
        process.terminate()
        out, err = await process.communicate()
        pytest.fail(f"it took longer than {SECONDS_MAX} s:\n{out.decode()[-2000:]}")
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def demo(folder: Path, *options: str) -> Ran:
    return await run(folder, "-m", "caas_lab", "demo", *options)


async def planted(folder: Path, *names: str) -> Ran:
    return await run(folder, str(PLANTED), *names)


def missed(ran: Ran) -> Sequence[str]:
    return [line for line in ran.out.splitlines() if line.lstrip().startswith("NO ")]


async def test_every_flow_and_failure_of_the_seed_ends_as_it_says(folder: Path) -> None:
    ran = await demo(folder)

    verdict = ran.out.splitlines()[-1]
    assert missed(ran) == []
    assert verdict == (
        f"{len(SCENARIOS)} of {len(SCENARIOS)} scenarios passed; every integrity check holds; "
        "the ledgers agree."
    )
    assert (ran.status, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= COLUMNS_MAX
    data = ran.out.partition(CONTENTS)[2]
    for number, scenario in enumerate(SCENARIOS, start=1):
        assert f"\n{number:>3} {scenario.title}\n" in data
    assert_contents(ran, [scenario.name for scenario in SCENARIOS])


async def test_the_short_form_plays_each_payment_type_paid_and_failed(folder: Path) -> None:
    """The help of the script named --short, and there was none."""
    ran = await demo(folder, "--short")

    assert missed(ran) == []
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[-1].startswith(f"{len(SHORT)} of {len(SHORT)} scenarios passed")
    assert_contents(ran, SHORT)
    types = {name.partition("-")[0] for name in SHORT}
    assert types == {"reservation", "final", "service", "month"}
    assert {f"{kind}-{end}" for kind in types for end in ("paid", "declined")} == set(SHORT)


async def test_the_short_form_and_chosen_scenes_exclude_each_other(folder: Path) -> None:
    both = await demo(folder, "--short", "--only", "service-paid")
    listed = await demo(folder, "--short", "--list")

    assert both.status == 2
    assert "--only" in both.err
    assert [line.split()[0] for line in listed.out.splitlines()[::2]] == list(SHORT)


def assert_contents(ran: Ran, names: Sequence[str]) -> None:
    """The contents come first, and name every scene that is played, in its order."""
    contents = ran.out.partition(CONTENTS)[2].partition("\n\n")[0]
    numbered = re.findall(r"^ +(\d+) {2}(.*?)(?: {2,}|$)", contents, re.MULTILINE)
    titles = {scenario.name: scenario.title for scenario in SCENARIOS}
    assert len(numbered) == len(names)
    for (number, shown), name in zip(numbered, names, strict=True):
        assert titles[name].startswith(shown), number


async def test_one_scene_can_be_had_as_json(folder: Path) -> None:
    ran = await demo(folder, "--only", "service-paid", "--json")

    (scenario,) = ran.json["scenarios"]
    arrows = [arrow["arrow"] for arrow in scenario["timeline"]]
    assert (ran.status, ran.json["ok"], scenario["ok"]) == (0, True, True)
    assert scenario["money"] == "12.99 charged, 12.99 settled"
    assert "Settlement Webhook" in arrows
    assert all(check["broken"] == 0 for check in ran.json["integrity_checks"])
    assert {book["what"] for book in ran.json["ledgers"]} >= {"captured", "settled", "refunded"}


async def test_one_bad_scene_is_enough_for_a_bad_verdict(folder: Path) -> None:
    ran = await planted(folder, "not-as-expected", "breaks-off", "good", "charged-behind-our-back")

    assert ran.status == 1
    assert "NO  the moon is: expected green cheese, saw a rock" in ran.out
    assert "NO  broke off: RuntimeError: the curtain fell" in ran.out
    assert "payment nobody-told-us: the gateway has 100, we have 0" in ran.out
    assert ran.out.splitlines()[-1] == (
        "2 of 4 scenarios passed; every integrity check holds; the ledgers differ."
    )


async def test_an_error_inside_fails_the_demo_though_the_scene_ends_well(folder: Path) -> None:
    ran = await planted(folder, "good-in-the-end")

    assert missed(ran) == []
    assert ran.status == 1
    assert "jobs.failed notify: RuntimeError: the post office is shut" in ran.out


async def test_a_machine_without_a_broker_plays_with_cars_in_its_own_process(folder: Path) -> None:
    ran = await planted(folder, "without-broker")

    assert missed(ran) == []
    assert ran.status == 0, ran.out + ran.err


async def test_the_scenes_are_listed_without_playing_any(folder: Path) -> None:
    ran = await demo(folder, "--list")

    assert ran.status == 0
    assert all(scenario.name in ran.out for scenario in SCENARIOS)


async def test_an_unknown_scene_is_wrong_usage(folder: Path) -> None:
    ran = await demo(folder, "--only", "no-such-scenario")

    assert ran.status == 2
    assert "no-such-scenario" in ran.err


async def test_a_second_demo_in_the_same_folder_says_so(folder: Path) -> None:
    first = asyncio.create_task(demo(folder, "--only", "car-asleep"))
    async with asyncio.timeout(SECONDS_MAX):
        while not (folder / "demo" / "running.json").exists():
            await asyncio.sleep(0.02)

    second = await demo(folder, "--only", "card-number")

    assert second.status == 3
    assert "Another demonstration is running" in second.err
    assert (await first).status == 0


async def test_an_interrupted_demo_is_no_success(folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "caas_lab", "demo",
        stdout=asyncio.subprocess.PIPE, env=environment(folder),
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS_MAX):
        await process.stdout.readuntil(b"Initiate Reservation Payment")
        process.send_signal(signal.SIGINT)
        await process.communicate()

    assert process.returncode == 130


async def test_a_platform_that_is_not_there_is_said_to_be_away(folder: Path) -> None:
    ran = await demo(folder, "--against", "http://127.0.0.1:9")

    assert ran.status == 3
    assert "No response from http://127.0.0.1:9" in ran.err
    assert "CAAS_API_KEYS" not in ran.err
    assert (await demo(folder, "--against", "junk")).status == 3


async def test_a_platform_with_another_gateway_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = "http://127.0.0.1:9"
    runs = LocalWorld(
        environment={"CAAS_GATEWAY": "stripe", "CAAS_PUBLIC_URL": url}, controls={}, keys={}
    )
    monkeypatch.setattr(local_machine, "running_world", lambda _environment: runs)

    with pytest.raises(StartupError, match="needs the simulated contract gateway"):
        async with running_platform.connected(url, {"CAAS_DATA_DIR": str(tmp_path)}):
            pass
