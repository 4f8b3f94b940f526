"""Results of benchmarks are kept, and drawn beside their aims."""

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import typer.testing

from caas_lab.__main__ import program
from caas_lab.bench import history
from caas_lab.bench.goals import Measurement
from caas_lab.bench.history import Result
from caas_lab.bench.runner import GOALS

AT = datetime(2026, 11, 30, tzinfo=UTC)


def measured(goal: str, *ratios: float, at_most: bool = False, aim: float = 1.0) -> Result:
    """A run of a goal with these ratios."""
    return Result(
        at=AT, goal=goal, aim=aim, at_most=at_most,
        conditions="two cores", theirs=[1.0 for _ in ratios], ours=list(ratios),
        cpu=[{} for _ in ratios],
    )  # fmt: skip


def dots(results: list[Result]) -> list[tuple[float, str]]:
    """Where the medians are drawn, and as what."""
    drawn = ET.fromstring(history.chart(results))  # noqa: S314  # our own
    circles = drawn.iter("{http://www.w3.org/2000/svg}circle")
    return [(float(it.attrib["cx"]), it.attrib["class"]) for it in circles]


def test_results_are_appended_and_read_as_they_were_measured(tmp_path: Path) -> None:
    kept = tmp_path / "folder" / "benchmarks.jsonl"
    rounds = [Measurement(2.0, 1.0, {"our": 12.0}), Measurement(2.0, 3.0)]

    for name in ("P1", "U1"):
        result = history.result(name, GOALS[name], rounds, conditions="two cores", at=AT)
        history.append(kept, result)

    first, second = history.read(kept)
    assert (first.goal, first.ratios, first.median, first.worst) == ("P1", [0.5, 1.5], 1.0, 0.5)
    assert (second.goal, second.worst, second.cpu[0]) == ("U1", 1.5, {"our": 12.0})


@pytest.mark.parametrize("at_most", [True, False])
def test_what_reaches_its_aim_is_to_the_right_of_it(*, at_most: bool) -> None:
    good, bad = (0.5, 2.0) if at_most else (2.0, 0.5)

    (met, as_met), (exactly, _), (missed, as_missed) = dots([
        measured("P1", good, at_most=at_most),
        measured("P1", 1.0, at_most=at_most),
        measured("P1", bad, at_most=at_most),
    ])  # fmt: skip

    assert missed < exactly < met
    assert (as_met, as_missed) == ("met", "missed")


def test_a_ratio_far_from_its_aim_stays_on_the_chart() -> None:
    places = [x for x, _ in dots([measured("P1", ratio) for ratio in (0.0, 1e-9, 1e9)])]

    assert all(history.LEFT <= x <= history.WIDTH for x in places)


def test_a_history_that_is_not_there_or_is_damaged_is_wrong_usage(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text("{}\n", "utf-8")
    runner = typer.testing.CliRunner()

    for kept in (tmp_path / "none.jsonl", damaged):
        drawn = str(tmp_path / "drawn.svg")
        ended = runner.invoke(program, ["bench", "--history", str(kept), "--draw", drawn])

        assert ended.exit_code == 2, ended.output
    assert not (tmp_path / "drawn.svg").exists()
