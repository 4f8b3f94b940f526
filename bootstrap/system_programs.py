"""The programs that only the tests need and PyPI does not have.

A browser, a broker, a pooler of database connections, Prometheus, which checks our alerting
rules, and two shells. Used by `./caas test`. As root on Debian or Ubuntu they are installed; others
are told which are missing, and their tests are skipped with that reason; where CI=true, a skipped
test fails.

Rules: an installation starts no service; CAAS_NO_APT=1 leaves the system alone; a run of named
tests installs nothing.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = {
    "chromium": ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"),
    "mosquitto": ("mosquitto",),
    "pgbouncer": ("pgbouncer",),
    "prometheus": ("promtool",),
    "zsh": ("zsh",),
    "fish": ("fish",),
}
WITHOUT_A_SCREEN = {"chromium": "chromium-headless-shell"}  # a third of the work for each page
SYSTEM_FOLDERS = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
POLICY = Path("/usr/sbin/policy-rc.d")  # Debian asks it whether an installed service may start
POLICY_TEXT = "#!/bin/sh\n# caas: no service starts while test programs are installed\nexit 101\n"
APT_SECONDS_MAX = 900


def ensure(arguments: list[str], *, note: Callable[[str], None]) -> None:
    """Install what a whole test run needs, or say what is missing."""
    named_tests = any(Path(word.partition("::")[0]).exists() for word in arguments)
    if named_tests or not missing():
        return
    if can_install():
        names = " and ".join(missing())
        note(f"Installing {names} for the tests with apt-get (CAAS_NO_APT=1 to leave it).")
        install(missing())
    if missing():
        names = " and ".join(missing())
        note(f"{names} not found: the tests that need them are skipped.")


def missing() -> list[str]:
    """Return the names of the programs that no folder of the path has."""
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}"
    return [
        name
        for name, commands in PROGRAMS.items()
        if not any(shutil.which(command, path=path) for command in commands)
    ]


def can_install() -> bool:
    """Say whether the package manager is ours to use."""
    debian = shutil.which("apt-get", path=SYSTEM_FOLDERS) is not None
    return debian and os.geteuid() == 0 and not os.environ.get("CAAS_NO_APT")


def install(names: list[str]) -> None:
    """Ask apt-get for the packages, once more with fresh lists when the first answer is no.

    A distribution without the browser that has no screen is asked for the whole one.
    """
    smaller = [WITHOUT_A_SCREEN.get(name, name) for name in names]
    with no_service_starts():
        if apt_get("install", "-y", "--no-install-recommends", *smaller):
            return
        apt_get("update")
        for packages in (smaller, names):
            if apt_get("install", "-y", "--no-install-recommends", *packages):
                return


def apt_get(*words: str) -> bool:
    """Run apt-get without questions; say whether it succeeded."""
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": path}
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *words]
    done = subprocess.run(
        command, env=environment, capture_output=True, timeout=APT_SECONDS_MAX, check=False
    )
    return done.returncode == 0


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Answer Debian's question with no, unless the administrator answers it."""
    ours = not POLICY.exists() or POLICY.read_text() == POLICY_TEXT
    if ours:
        POLICY.write_text(POLICY_TEXT)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
