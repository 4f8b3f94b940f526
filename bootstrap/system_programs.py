"""Installs programs that only the tests need and PyPI lacks.

A browser, a broker, a connection pooler, Prometheus (for the alerting rules), and two shells.
`./caas test` installs them as root on Debian or Ubuntu; elsewhere it lists the missing ones, whose
tests are skipped, which fails where CI=true.

Rules a change must keep: installation starts no service; CAAS_NO_APT=1 disables it; a run of named
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
WITHOUT_A_SCREEN = {"chromium": "chromium-headless-shell"}  # a fifth of the CPU time per window
SYSTEM_FOLDERS = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
POLICY = Path(
    "/usr/sbin/policy-rc.d"
)  # Debian asks this file whether an installed service may start
POLICY_TEXT = "#!/bin/sh\n# caas: no service starts while test programs are installed\nexit 101\n"
APT_SECONDS_MAX = 900


def ensure(arguments: list[str], *, note: Callable[[str], None]) -> None:
    """Install what a full test run needs, or list what is missing."""
    if any(Path(word.partition("::")[0]).exists() for word in arguments):
        return
    wanted = [*missing(), *replaceable()]
    if wanted and can_install():
        names = " and ".join(wanted)
        note(f"Installing {names} for the tests with apt-get (set CAAS_NO_APT=1 to prevent this).")
        install(wanted)
    if missing():
        names = " and ".join(missing())
        note(f"{names} not found; tests that need them are skipped.")


def missing() -> list[str]:
    """Return the programs missing from the path."""
    return [name for name, commands in PROGRAMS.items() if not any(map(_found, commands))]


def replaceable() -> list[str]:
    """Return the packages that spare the tests a program which draws what nobody looks at."""
    there = PROGRAMS.keys() - set(missing())
    return [
        smaller
        for name, smaller in WITHOUT_A_SCREEN.items()
        if name in there and not _found(smaller)
    ]


def _found(command: str) -> bool:
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}"
    return shutil.which(command, path=path) is not None


def can_install() -> bool:
    """Return whether we may use the package manager."""
    debian = shutil.which("apt-get", path=SYSTEM_FOLDERS) is not None
    return debian and os.geteuid() == 0 and not os.environ.get("CAAS_NO_APT")


def install(names: list[str]) -> None:
    """Install packages, and retry once with updated lists.

    A distribution without the headless browser gets the full one.
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
    """Run apt-get non-interactively; return whether it succeeded."""
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": path}
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *words]
    done = subprocess.run(
        command, env=environment, capture_output=True, timeout=APT_SECONDS_MAX, check=False
    )
    return done.returncode == 0


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Deny service starts, unless the administrator set a policy."""
    ours = not POLICY.exists() or POLICY.read_text() == POLICY_TEXT
    if ours:
        POLICY.write_text(POLICY_TEXT)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
