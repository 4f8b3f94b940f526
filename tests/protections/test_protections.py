"""The tests of the tests: without a protection, the test that shows it must fail.

A copy of our sources with the protection taken out is tested in a process of its own, over a
database of its own. The suite does a few of them; `make protections` does them all
(`CAAS_PROTECTIONS=all`).
"""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.protections.removals import REMOVALS, Removal

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "caas"
IN_THE_SUITE = "one capture or one void,a webhook is of now"
CHOSEN = os.environ.get("CAAS_PROTECTIONS", IN_THE_SUITE)
TAKEN_OUT = list(REMOVALS) if CHOSEN == "all" else CHOSEN.split(",")
FAILED = re.compile(r"^\d+ failed", re.MULTILINE)
SECONDS_MAX = 600.0


@pytest.mark.parametrize("name", REMOVALS)
def test_a_protection_stands_in_its_place_and_names_its_proof(name: str) -> None:
    removal = REMOVALS[name]
    file, _, test = removal.shown_by.partition("::")
    proof = (ROOT / "tests" / file).read_text()
    faults = (ROOT / "docs" / "faults.md").read_text()

    assert (SOURCES / removal.file).read_text().count(removal.protection) == 1
    assert f"def {test.partition('[')[0]}(" in proof or not test
    assert f"| {removal.fault} |" in faults


@pytest.mark.parametrize("name", TAKEN_OUT)
async def test_without_it_its_proof_fails(tmp_path: Path, name: str) -> None:
    removal = REMOVALS[name]
    without(removal, tmp_path)

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:randomly",
        "-p", "no:cacheprovider", "-p", "no:xdist", f"tests/{removal.shown_by}",
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS_MAX):
            stated, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()

    assert process.returncode == 1, stated.decode()
    assert FAILED.search(stated.decode()), stated.decode()


def without(removal: Removal, folder: Path) -> None:
    """Copy our sources, and take the protection out of the copy."""
    for package in ("caas", "caas_simulators"):
        shutil.copytree(
            SOURCES.parent / package, folder / package, ignore=shutil.ignore_patterns("*.pyc")
        )
    changed = folder / "caas" / removal.file
    changed.write_text(changed.read_text().replace(removal.protection, removal.without))
