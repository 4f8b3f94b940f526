"""Whoever watches a run, or reads one that was cut off, knows what has failed by then."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAILS = "def test_fails():\n    assert 1 == 2\n"
HANGS = "import time\n\n\ndef test_hangs():\n    time.sleep(600)\n"


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_a_failure_is_named_before_the_run_is_over(tmp_path: Path, workers: list[str]) -> None:
    stated = run(tmp_path, FAILS, *workers)

    before_the_end = stated.partition("= FAILURES =")[0]
    assert "::test_fails at call: assert 1 == 2" in before_the_end


def test_a_test_that_hangs_is_named_and_the_run_ends(tmp_path: Path) -> None:
    """One test that never ended took the whole run with it, and nobody knew which."""
    limits = ["-o", "faulthandler_timeout=1", "-o", "faulthandler_exit_on_timeout=true"]

    stated = run(tmp_path, HANGS, "-n", "1", "--max-worker-restart", "0", *limits)

    assert "crashed while running" in stated
    assert "::test_hangs" in stated.partition("= FAILURES =")[0]


def test_no_test_may_hang() -> None:
    settings = (ROOT / "pyproject.toml").read_text()

    assert "faulthandler_exit_on_timeout = true" in settings
    assert "faulthandler_timeout = 600" in settings


def run(folder: Path, tests: str, *more: str) -> str:
    """Run these tests as `./caas test` does, and return what was said."""
    (folder / "test_some.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-p", "bootstrap.failures_at_once"]
    ended = subprocess.run(
        [*command, "-c", "/dev/null", "--rootdir", str(folder), str(folder), *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    return ended.stdout
