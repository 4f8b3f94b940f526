"""Finds mosquitto on this machine, or downloads it without user interaction.

The broker of the IoT Gateway of Diagram 1.

Rules a change must keep:

- Nothing outside the given folder changes and no privileges are needed: apt downloads the packages
  into our folder, verified with the machine's own sources and keys, and dpkg unpacks them there.
  Debian's package is never installed, so its system service on port 1883 never starts.
- Each step has a time limit, and each failure is reported in one sentence.
"""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

DOWNLOAD_SECONDS_MAX: Final = 60.0
UPDATE_SECONDS_MAX: Final = 60.0
UNPACK_SECONDS_MAX: Final = 20.0
CHECK_SECONDS_MAX: Final = 5.0
PROGRAM_FOLDERS: Final = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/opt/homebrew/sbin",
    "/opt/homebrew/opt/mosquitto/sbin",
)
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Program(msgspec.Struct, frozen=True):
    """A runnable mosquitto, and the environment in which it finds its libraries."""

    path: Path
    environment: Mapping[str, str]


class NoBroker(msgspec.Struct, frozen=True):
    """Why there is no broker, in one sentence."""

    sentence: str


async def find_or_fetch(folder: Path) -> Program | NoBroker:
    """Return an installed mosquitto, one downloaded earlier, or one downloaded now."""
    for candidate in (_installed(), _unpacked(folder)):
        if candidate is not None and await _runs(candidate):
            return candidate
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return NoBroker("There is no mosquitto here, and no apt to fetch it with.")
    return await _fetch(folder)


async def _fetch(folder: Path) -> Program | NoBroker:
    packages = await _download(folder / "apt")
    if not packages:
        return NoBroker("mosquitto is not installed, and apt could not download it.")
    unpacked = folder / "program.new"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    for package in packages:
        if not await _run("dpkg-deb", "-x", str(package), str(unpacked), limit=UNPACK_SECONDS_MAX):
            return NoBroker(f"dpkg could not unpack {package.name}.")
    shutil.rmtree(folder / "program", ignore_errors=True)
    unpacked.rename(folder / "program")
    shutil.rmtree(folder / "apt", ignore_errors=True)
    program = _unpacked(folder)
    if program is None or not await _runs(program):
        return NoBroker("The mosquitto that apt downloaded does not run here.")
    return program


async def _download(folder: Path) -> list[Path]:
    """Download with the machine's package lists, or with new ones of our own."""
    for name in ("lists", "archives"):
        (folder / name / "partial").mkdir(parents=True, exist_ok=True)
    ours = [
        f"-oDir::Cache={folder}",
        f"-oDir::Cache::archives={folder / 'archives'}",
        "-oDebug::NoLocking=1",
        "-oAPT::Sandbox::User=root",
    ]
    fetch = ("install", "--download-only", "--yes", "--no-install-recommends", "mosquitto")
    if not await _run("apt-get", *ours, *fetch, limit=DOWNLOAD_SECONDS_MAX):
        ours.append(f"-oDir::State::Lists={folder / 'lists'}")
        # Its status is ignored: a hook of the machine may fail after the lists were downloaded.
        await _run("apt-get", *ours, "update", limit=UPDATE_SECONDS_MAX)
        if not await _run("apt-get", *ours, *fetch, limit=DOWNLOAD_SECONDS_MAX):
            return []
    return sorted((folder / "archives").glob("*.deb"))


def _installed() -> Program | None:
    path = shutil.which("mosquitto") or shutil.which("mosquitto", path=":".join(PROGRAM_FOLDERS))
    return Program(Path(path), {"PATH": SEARCH_PATH}) if path else None


def _unpacked(folder: Path) -> Program | None:
    root = folder / "program"
    path = root / "usr/sbin/mosquitto"
    if not path.exists():
        return None
    libraries = sorted({str(library.parent) for library in root.rglob("*.so.*")})
    return Program(path, {"PATH": SEARCH_PATH, "LD_LIBRARY_PATH": ":".join(libraries)})


async def _runs(program: Program) -> bool:
    """Return whether it starts, to detect a missing library now."""
    process = await asyncio.create_subprocess_exec(
        str(program.path),
        "-h",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(program.environment),
    )
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            stated, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    return stated.startswith(b"mosquitto version 2.")


async def _run(*command: str, limit: float) -> bool:
    """Run a command with our environment (it may set a proxy); return whether it succeeded."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(limit):
            return await process.wait() == 0
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
