"""Installs the environment of `uv.lock` with a pinned uv, or with pip.

Rules a change must keep: the uv version is pinned, with a sha256 per platform; a downloaded file
gets its final name when it is complete; uv uses an installed Python and never downloads one.
"""

import hashlib
import io
import os
import platform
import shutil
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.error import HTTPError

from bootstrap.package_index import (
    PYPI,
    certificates,
    fetch,
    index_url,
    link_of,
    without_password,
)

ROOT: Final = Path(__file__).resolve().parent.parent
UV_VERSION: Final = "0.13.9"
UV_WHEELS: Final = {  # platform: wheel tags and sha256 as published on PyPI
    "linux-x86_64-glibc": (
        "manylinux_2_17_x86_64.manylinux2014_x86_64",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    ),
    "linux-x86_64-musl": (
        "musllinux_1_1_x86_64",
        "2c45530751517d6c3bbc69a19473f6effe47cce047bede01ffd8af7ea7b36b25",
    ),
    "linux-aarch64": (
        "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
    ),
    "darwin-x86_64": (
        "macosx_10_12_x86_64",
        "c16ed11e013557536b3e60065f1b912f6407bd6518e041b961e23ef9e6b4fbf5",
    ),
    "darwin-arm64": (
        "macosx_11_0_arm64",
        "66c512266d633bef48384a1f53003f41f2a8e7b36fe6e7fbfd3e0fd52d96fa63",
    ),
}
LINES_SHOWN_MAX: Final = 8


class UvUnavailableError(Exception):
    """No uv is available for this machine; the message gives the reason."""


class InstallError(Exception):
    """The packages cannot be installed; the message gives the remedy."""


def install(
    home: Path, environment_dir: Path, *, developers: bool, note: Callable[[str], None]
) -> None:
    """Install the locked packages; `note` receives progress messages.

    Raises:
        InstallError: both uv and pip failed.
    """
    source = without_password(index_url())
    try:
        uv = find_uv(home, note=note)
    except UvUnavailableError as reason:
        note(
            f"uv is not available ({reason}); installing with pip from {source}, "
            "which takes longer."
        )
        install_with_pip(environment_dir, developers=developers)
    else:
        note(f"Installing the packages of uv.lock from {source}.")
        install_with_uv(uv, home, environment_dir, developers=developers)


def find_uv(home: Path, *, note: Callable[[str], None]) -> str:
    """Return a uv: downloaded earlier, installed in the same series, or downloaded now.

    Raises:
        UvUnavailableError: none is available.
    """
    if os.environ.get("CAAS_WITHOUT_UV"):
        raise UvUnavailableError("CAAS_WITHOUT_UV is set")
    key = platform_key()
    ours = home / "tools" / f"uv-{UV_VERSION}-{key}"
    theirs = shutil.which("uv")
    series = UV_VERSION.rpartition(".")[0]
    if _version(ours) == UV_VERSION:
        return str(ours)
    if theirs and _version(theirs).startswith(f"{series}."):
        return theirs
    if key not in UV_WHEELS:
        raise UvUnavailableError(f"no pinned version for {key}")
    note(f"Downloading uv {UV_VERSION} from {without_password(index_url())}.")
    fetch_uv(ours, *UV_WHEELS[key])
    if _version(ours) != UV_VERSION:
        raise UvUnavailableError(f"{ours} does not run here")
    return str(ours)


def platform_key() -> str:
    """Return this platform's key in the table of wheels."""
    key = f"{sys.platform}-{platform.machine()}"
    if key == "linux-x86_64":
        key += "-glibc" if platform.libc_ver()[0] == "glibc" else "-musl"
    return key


def fetch_uv(target: Path, tags: str, sha256: str) -> None:
    """Download the wheel, verify it, and install its program.

    Raises:
        UvUnavailableError: the index lacks the file or has another one.
        InstallError: the index does not respond.
    """
    name = f"uv-{UV_VERSION}-py3-none-{tags}.whl"
    try:
        wheel = fetch(link_of(name, page_url=f"{index_url()}/uv/"))
    except (HTTPError, ValueError) as refusal:
        raise UvUnavailableError(str(refusal)) from refusal
    except OSError as failure:  # pip would wait for the same unreachable network
        raise InstallError(f"{_what_to_do('')}\n    {failure}") from failure
    if hashlib.sha256(wheel).hexdigest() != sha256:
        raise UvUnavailableError(f"the sha256 of {name} differs from the pinned one")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        unfinished.write_bytes(archive.read(f"uv-{UV_VERSION}.data/scripts/uv"))
    unfinished.chmod(0o755)
    unfinished.replace(target)


def install_with_uv(uv: str, home: Path, environment_dir: Path, *, developers: bool) -> None:
    """Install with uv, from the addresses in the lock file or from another index.

    The lock file contains PyPI's addresses. For another index, names, versions and hashes are
    exported and looked up there.
    """
    index, environment = index_url(), environment_of_uv(home, environment_dir)
    groups = [] if developers else ["--no-dev"]
    if index == PYPI:
        sync = ["sync", "--frozen", "--no-install-project", "--python", sys.executable]
        _run([uv, *sync, *groups], environment)
        return
    listed = str(home / "requirements.txt")
    export = ["export", "--frozen", "--no-emit-project", "--output-file", listed]
    _run([uv, *export, *groups], environment)
    _run(
        [uv, "venv", "--allow-existing", "--python", sys.executable, str(environment_dir)],
        environment,
    )
    python = str(environment_dir / "bin" / "python")
    options = ["--require-hashes", "--python", python, "--default-index", index]
    _run([uv, "pip", "sync", *options, listed], environment)


def environment_of_uv(home: Path, environment_dir: Path) -> dict[str, str]:
    """Return uv's environment: no managed Python, a writable cache."""
    variables = {name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"}
    variables["UV_PROJECT_ENVIRONMENT"] = str(environment_dir)
    variables["UV_PYTHON_DOWNLOADS"] = "never"
    if "UV_CACHE_DIR" not in variables and not _has_cache_folder():
        variables["UV_CACHE_DIR"] = str(home / "uv-cache")
    named = certificates()
    if named is not None:
        variables["SSL_CERT_FILE"] = named
    elif ssl.get_default_verify_paths().cafile:
        variables["UV_SYSTEM_CERTS"] = "true"
    return variables


def install_with_pip(environment_dir: Path, *, developers: bool) -> None:
    """Install with pip: the same files, verified the same way."""
    python = str(environment_dir / "bin" / "python")
    script = str(Path(__file__).with_name("install_locked.py"))
    variables = {**os.environ, "CAAS_INDEX": index_url()}
    _run([sys.executable, "-m", "venv", "--clear", str(environment_dir)], variables)
    _run([python, script, *(["--developers"] if developers else [])], variables)


def _run(command: list[str], environment: dict[str, str]) -> None:
    """Run a command; its output is shown on a terminal, or if it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if sys.stderr.isatty() else subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    lines = (done.stderr or "").strip().splitlines()[-LINES_SHOWN_MAX:]
    stated = "".join(f"\n    {line}" for line in lines)
    raise InstallError(_what_to_do(done.stderr or "") + stated)


def _what_to_do(stated: str) -> str:
    if "uv.lock" in stated:
        return "Cannot read uv.lock. Restore it with `git checkout uv.lock`."
    if "ensurepip" in stated:
        return "Neither uv nor Python's venv module is available. Install python3-venv, or uv."
    if "Expected:" in stated or "DO NOT MATCH" in stated:
        return (
            "A downloaded file does not match its sha256 in uv.lock. Investigate before retrying."
        )
    return (
        f"The packages could not be installed from {without_password(index_url())}. "
        "Connect this machine to the network, or set a reachable mirror "
        "(PIP_INDEX_URL=https://...), and run the same command again; downloaded "
        "files are kept."
    )


def _has_cache_folder() -> bool:
    home = os.environ.get("HOME", "")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache")
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return cache.is_absolute() and bool(home) and os.access(existing, os.W_OK)


def _version(uv: str | Path) -> str:
    """Return the version a uv reports; empty if it does not run."""
    try:
        stated = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return stated.stdout.split()[1] if stated.stdout.startswith("uv ") else ""
