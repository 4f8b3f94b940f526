"""`caas simulate`: the same seed draws the same plan, and a run is judged by ledgers and checks.

The suite runs a short simulation; `make simulate` runs twenty long ones.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from caas_lab.demo import own_platform
from caas_lab.simulation import runner, verdict
from caas_lab.simulation.plan import Kind, draw_plan

pytestmark = pytest.mark.xdist_group("simulation")

SEED = int(os.environ.get("CAAS_SIMULATION_SEED", "1"))
STORIES = 10


def test_a_seed_draws_the_same_life_again_and_another_seed_another() -> None:
    again = draw_plan(SEED, 100)

    assert draw_plan(SEED, 100) == again
    assert draw_plan(SEED + 1, 100).waves != again.waves
    assert sum(len(wave.stories) for wave in again.waves) == 100
    assert {story.kind for wave in again.waves for story in wave.stories} == set(Kind)


async def test_a_life_ends_at_rest_with_laws_and_books_intact(tmp_path: Path) -> None:
    outcome = await runner.simulate(draw_plan(SEED, STORIES), surroundings(tmp_path))

    assert outcome.findings == []
    assert outcome.payments.total() >= STORIES


async def test_a_charge_that_our_books_know_nothing_of_is_found(tmp_path: Path) -> None:
    """The oracle itself: somebody takes money at the gateway behind the platform's back."""
    async with own_platform.started(surroundings(tmp_path)) as testbed:
        assert await verdict.wait_for_rest(testbed, seconds_max=5.0) == []
        asked: dict[str, Any] = {
            "reference": "nobody-of-ours", "amount": 700, "currency": "EUR",
            "capture": "automatic", "payment_method": "pm_ok", "customer_reference": "x",
            "description": "behind our back", "return_url": None,
        }  # fmt: skip
        headers = {
            "authorization": f"Bearer {api_key(tmp_path)}", "idempotency-key": "behind-our-back",
        }  # fmt: skip
        async with testbed.session.post(
            f"{testbed.gateway.url}/transactions", json=asked, headers=headers
        ) as answer:
            assert answer.ok, await answer.text()

        found = await verdict.wait_for_rest(testbed, seconds_max=1.0)

    assert any("nobody-of-ours" in finding for finding in found), found


def surroundings(folder: Path) -> dict[str, str]:
    """An environment in which nothing but the folder is told."""
    return {"CAAS_DATA_DIR": str(folder)}


def api_key(folder: Path) -> str:
    """The platform's key at the gateway, as its data folder keeps it."""
    kept = json.loads((folder / "demo" / "secrets.json").read_text())
    return str(kept["gateway_api_key"])
