"""Where CI=true, a test that was skipped is a test that failed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PASSES = "def test_passes():\n    pass\n"
SKIPS = "import pytest\n\n\ndef test_skips():\n    pytest.skip('no browser')\n"


@pytest.mark.parametrize(("tests", "status"), [(PASSES, 0), (PASSES + SKIPS, 1)])
def test_a_run_with_a_skipped_test_fails(tmp_path: Path, tests: str, status: int) -> None:
    (tmp_path / "test_some.py").write_text(tests)
    pytest_command = [sys.executable, "-m", "pytest", "-p", "bootstrap.no_skips", "-c", "/dev/null"]

    ended = subprocess.run(
        [*pytest_command, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == status
    assert ("no browser" in ended.stdout) == bool(status)
