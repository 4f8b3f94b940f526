"""Make an environment exactly what `uv.lock` says: by a pinned uv, or by pip without it.

Rules: the uv that is fetched is one version, one file for each platform, its sha256 written below;
a fetched file gets its name when it is whole; uv installs into a Python that is there and never
downloads another.
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
UV_WHEELS: Final = {  # platform: tags of the wheel and its sha256, as published on PyPI
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


class CannotBeHadError(Exception):
    """There is no uv for this machine; the message says why."""


class CannotBeInstalledError(Exception):
    """The packages cannot be installed; the message says what a person can do."""


def install(
    home: Path, environment_dir: Path, *, developers: bool, note: Callable[[str], None]
) -> None:
    """Install the locked packages, telling `note` what takes time.

    Raises:
        CannotBeInstalledError: neither uv nor pip could.
    """
    source = without_password(index_url())
    try:
        uv = find_uv(home, note=note)
    except CannotBeHadError as reason:
        note(f"uv cannot be had ({reason}); installing with pip from {source}, which takes longer.")
        install_with_pip(environment_dir, developers=developers)
    else:
        note(f"Installing the packages of uv.lock from {source}.")
        install_with_uv(uv, home, environment_dir, developers=developers)


def find_uv(home: Path, *, note: Callable[[str], None]) -> str:
    """Return a uv: the one fetched before, the system's if of the same series, or one fetched now.

    Raises:
        CannotBeHadError: none of the three is possible.
    """
    if os.environ.get("CAAS_WITHOUT_UV"):
        raise CannotBeHadError("CAAS_WITHOUT_UV is set")
    key = platform_key()
    ours = home / "tools" / f"uv-{UV_VERSION}-{key}"
    theirs = shutil.which("uv")
    series = UV_VERSION.rpartition(".")[0]
    if _version(ours) == UV_VERSION:
        return str(ours)
    if theirs and _version(theirs).startswith(f"{series}."):
        return theirs
    if key not in UV_WHEELS:
        raise CannotBeHadError(f"none is pinned for {key}")
    note(f"Fetching uv {UV_VERSION} from {without_password(index_url())}.")
    fetch_uv(ours, *UV_WHEELS[key])
    if _version(ours) != UV_VERSION:
        raise CannotBeHadError(f"{ours} does not run here")
    return str(ours)


def platform_key() -> str:
    """Return the name of this platform in the table of wheels."""
    key = f"{sys.platform}-{platform.machine()}"
    if key == "linux-x86_64":
        key += "-glibc" if platform.libc_ver()[0] == "glibc" else "-musl"
    return key


def fetch_uv(target: Path, tags: str, sha256: str) -> None:
    """Download the wheel, check it, and move its one program into place.

    Raises:
        CannotBeHadError: the index has no such file, or not the pinned one.
        CannotBeInstalledError: the index does not answer.
    """
    name = f"uv-{UV_VERSION}-py3-none-{tags}.whl"
    try:
        wheel = fetch(link_of(name, page_url=f"{index_url()}/uv/"))
    except (HTTPError, ValueError) as refusal:
        raise CannotBeHadError(str(refusal)) from refusal
    except OSError as failure:  # pip would find no network either, and take its time
        raise CannotBeInstalledError(f"{_what_to_do('')}\n    {failure}") from failure
    if hashlib.sha256(wheel).hexdigest() != sha256:
        raise CannotBeHadError(f"{name} is not the file whose sha256 is pinned")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        unfinished.write_bytes(archive.read(f"uv-{UV_VERSION}.data/scripts/uv"))
    unfinished.chmod(0o755)
    unfinished.replace(target)


def install_with_uv(uv: str, home: Path, environment_dir: Path, *, developers: bool) -> None:
    """Install by uv, from the lock file's own addresses or from another index.

    The lock file holds the addresses of PyPI. With another index its names, versions and hashes
    are exported, and the files looked up there.
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
    """Return the variables uv runs with: no Python of its own, a cache it can write."""
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
    """Install by pip: the same files, checked the same way."""
    python = str(environment_dir / "bin" / "python")
    script = str(Path(__file__).with_name("install_locked.py"))
    variables = {**os.environ, "CAAS_INDEX": index_url()}
    _run([sys.executable, "-m", "venv", "--clear", str(environment_dir)], variables)
    _run([python, script, *(["--developers"] if developers else [])], variables)


def _run(command: list[str], environment: dict[str, str]) -> None:
    """Run one step; its own words are seen at a terminal, or when it fails."""
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
    raise CannotBeInstalledError(_what_to_do(done.stderr or "") + stated)


def _what_to_do(stated: str) -> str:
    if "uv.lock" in stated:
        return "uv.lock cannot be read; restore it with `git checkout uv.lock`."
    if "ensurepip" in stated:
        return "Neither uv nor Python's venv module can be had; install python3-venv, or uv."
    if "Expected:" in stated or "DO NOT MATCH" in stated:
        return "A file that was fetched is not the one whose sha256 uv.lock names; look into it."
    return (
        "The packages could not be installed. Without network nothing comes from "
        f"{without_password(index_url())}: connect this machine, or name a mirror it can reach "
        "(PIP_INDEX_URL=https://...), and run the same command again; what was fetched is kept."
    )


def _has_cache_folder() -> bool:
    home = os.environ.get("HOME", "")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache")
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return cache.is_absolute() and bool(home) and os.access(existing, os.W_OK)


def _version(uv: str | Path) -> str:
    """Return which version a uv says it is; nothing when it does not run."""
    try:
        stated = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return stated.stdout.split()[1] if stated.stdout.startswith("uv ") else ""
