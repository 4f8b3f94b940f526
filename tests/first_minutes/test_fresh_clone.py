"""A newcomer's first commands, in a fresh clone and with nothing set.

`up` ended in a KeyError of a variable that every test had set.
"""

import asyncio
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.first_minutes.checkout import Checkout, Ended, Up, cloned

READING = ("days", "days --json", "discrepancies list", "self-check --full", "verify", "staff list")
NO_DATABASE_YET = (*READING, "report --date 2026-11-19")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a newcomer saw of a platform that came up, stopped, and came up and stopped again."""

    checkout: Checkout
    page: bytes
    first: Up
    second: Up
    while_up: list[Ended]
    after: list[Ended]


@pytest.fixture(scope="module")
async def visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """Start the platform of a fresh clone twice, and read its books meanwhile and afterwards."""
    checkout = cloned(tmp_path_factory.mktemp("visited"))
    async with checkout.up() as first:
        page = await asyncio.to_thread(read, f"{first.url}/health")
    async with checkout.up() as second:
        while_up = [await checkout.runs(f"./caas {words}") for words in READING]
    after = [await checkout.runs(f"./caas {words}") for words in READING]
    return Visit(
        checkout=checkout, page=page, first=first, second=second, while_up=while_up, after=after
    )


def test_up_comes_up_stops_in_order_and_comes_up_again(visit: Visit) -> None:
    first, second = visit.first, visit.second

    assert visit.page
    assert (first.process.returncode, second.process.returncode) == (0, 0)
    assert "Starting the database" in first.welcome
    assert "created on first start" in first.welcome
    assert "created on first start" not in second.welcome
    assert passwords(first.welcome) == passwords(second.welcome)


async def test_two_checkouts_are_up_beside_each_other(
    checkout: Checkout, another_checkout: Checkout
) -> None:
    """Both wanted port 8080, and the second newcomer of a machine was sent away."""
    async with checkout.up() as one, another_checkout.up() as other:
        listed = await another_checkout.runs("./caas staff list")

    assert one.url != other.url
    assert listed.status == 0
    assert (one.process.returncode, other.process.returncode) == (0, 0)


async def test_every_command_finds_the_data_of_the_checkout_wherever_it_is_called(
    checkout: Checkout, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    made = await checkout.runs(f"{checkout.folder}/caas migrate", cwd=elsewhere)
    checked = await checkout.runs(f"{checkout.folder}/caas self-check --full", cwd=checkout.home)

    assert (made.status, checked.status) == (0, 0), made.err + checked.err
    assert (checkout.data / "postgresql").exists()
    assert list(elsewhere.iterdir()) == []


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Make one clone for commands that refuse, and so leave nothing behind."""
    return cloned(tmp_path_factory.mktemp("untouched"))


async def test_before_there_is_a_database_reading_commands_say_what_makes_one(
    untouched: Checkout,
) -> None:
    ended = [await untouched.runs(f"./caas {words}") for words in NO_DATABASE_YET]

    for words, one in zip(NO_DATABASE_YET, ended, strict=True):
        assert one.status == 3, (words, one)
        assert_one_sentence(one)
    assert "./caas up" in ended[0].err
    assert not (untouched.data / "postgresql").exists()


def test_when_the_platform_is_down_its_books_can_still_be_read(visit: Visit) -> None:
    while_up, after = visit.while_up, visit.after

    assert [one.status for one in while_up] == [0] * len(READING), while_up
    assert [one.status for one in after] == [0] * len(READING), after
    assert "ventas@autos-sol.example" in after[-1].out


@pytest.mark.parametrize("command", ["serve", "work", "reconcile --date 2026-11-19",
                                     "bill --month 2026-10"])  # fmt: skip
async def test_what_needs_settings_names_all_of_them_at_once(
    untouched: Checkout, command: str
) -> None:
    """Whoever set one was told of the next, eleven times."""
    ended = await untouched.runs(f"./caas {command}")

    assert ended.status == 3
    assert_one_sentence(ended)
    for name in ("CAAS_DATABASE_URL", "CAAS_GATEWAY_URL", "CAAS_MQTT_URL", "CAAS_API_KEYS"):
        assert name in ended.err


async def test_one_scene_of_the_demonstration_is_played(checkout: Checkout) -> None:
    ended = await checkout.runs("./caas demo --only service-paid")

    assert (ended.status, ended.err) == (0, "")


async def test_a_seed_is_lived(checkout: Checkout) -> None:
    ended = await checkout.runs("./caas simulate --seed 1 --stories 3")

    assert ended.status == 0, ended.err


async def test_the_developers_commands_work(checkout: Checkout) -> None:
    ended = [
        await checkout.runs("./caas setup"),
        await checkout.runs("./caas check format spelling"),
        await checkout.runs("./caas test tests/rules/test_money.py -q"),
        await checkout.runs("./caas run python -c 'import caas, sys; print(caas.__file__)'"),
    ]

    assert [one.status for one in ended] == [0, 0, 0, 0], ended
    assert ended[-1].out.startswith(str(checkout.folder))


async def test_a_goal_is_measured(checkout: Checkout) -> None:
    ended = await checkout.runs("./caas bench --only P2 --rounds 1 --seconds 1 --quick")

    assert ended.status == 0, ended.err


async def test_a_platform_that_was_killed_is_not_taken_for_one_that_is_up(visit: Visit) -> None:
    """What it had left word of stayed, and every command called a database that was gone."""
    checkout = visit.checkout
    process = None
    async with checkout.up() as killed:
        process = killed.process
        process.kill()
        await process.wait()
        assert json.loads((checkout.data / "running.json").read_text())["environment"]

        listed = await checkout.runs("./caas staff list")

    assert listed.status == 0, listed.err


def assert_one_sentence(ended: Ended) -> None:
    """Check that stderr is one line that says what to do."""
    assert ended.err.startswith("caas: ")
    assert ended.err.count("\n") == 1
    assert ended.err.endswith(".\n")
    assert "Traceback" not in ended.err


def passwords(welcome: str) -> list[str]:
    """Return the lines of those who may sign in."""
    return [line for line in welcome.splitlines() if ".example " in line]


def read(address: str) -> bytes:
    """Return what is served there."""
    with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 - our own address
        content: bytes = answer.read()
        return content
