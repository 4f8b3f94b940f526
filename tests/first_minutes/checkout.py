"""A fresh clone, as a user has it: nothing set, an empty home, and the commands of the documents.

The packages are those of the checkout under test, linked into the clone: what a set-up fetches is
looked at elsewhere. Everything else is the clone's own.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
SECONDS_MAX = 300.0
ADDRESS = re.compile(r"The platform is running at (http://\S+)")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


@dataclass(slots=True)
class Up:
    """A platform that is up, and what it printed until then."""

    process: asyncio.subprocess.Process
    url: str
    welcome: str

    async def line(self, wanted: str) -> str:
        """Wait until a line with these words is printed."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                line = (await self.process.stdout.readline()).decode()
                assert line, f"it ended without saying {wanted!r}"
                if wanted in line:
                    return line


@dataclass(frozen=True, slots=True)
class Checkout:
    """A clone and a home of its own."""

    folder: Path
    home: Path

    @property
    def data(self) -> Path:
        """Where the platform keeps what is its own."""
        return self.folder / ".caas" / "data"

    async def starts(self, words: str, *, cwd: Path | None = None) -> asyncio.subprocess.Process:
        """Start a command line with nothing set but PATH and an empty HOME."""
        return await asyncio.create_subprocess_exec(
            "/bin/bash", "-c", f"exec {words}" if " " in words else words,
            env={"PATH": PATH, "HOME": str(self.home)}, cwd=cwd or self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )  # fmt: skip

    async def runs(self, words: str, *, cwd: Path | None = None) -> Ended:
        """Run a command line to its end."""
        process = await self.starts(words, cwd=cwd)
        async with asyncio.timeout(SECONDS_MAX):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def up(self, words: str = "./caas up") -> AsyncIterator[Up]:
        """Start the platform, and stop it in order at the end."""
        process = await self.starts(words)
        try:
            yield await _is_up(process)
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(SECONDS_MAX):
                await process.communicate()
            self._end_broker()

    def _end_broker(self) -> None:
        """End the broker, which a killed platform leaves for the next one to join."""
        running = self.data / "mosquitto" / "broker.json"
        if running.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(json.loads(running.read_text())["pid"], signal.SIGTERM)


async def _is_up(process: asyncio.subprocess.Process) -> Up:
    assert process.stdout is not None
    stated = ""
    async with asyncio.timeout(SECONDS_MAX):
        while "./caas self-check" not in stated:
            line = (await process.stdout.readline()).decode()
            if not line:
                _, err = await process.communicate()
                raise AssertionError(f"it ended: {stated}{err.decode()}")
            stated += line
    found = ADDRESS.search(stated)
    assert found is not None
    return Up(process, found[1], stated)


def cloned(folder: Path) -> Checkout:
    """Clone the checkout under test, with what is not committed, and link its packages."""
    clone, home = folder / "clone", folder / "home"
    home.mkdir(parents=True)
    git("clone", "--quiet", "--shared", str(ROOT), str(clone))
    changed = git("-C", str(ROOT), "ls-files", "-z", "--modified", "--others", "--exclude-standard")
    for name in filter(None, changed.split("\0")):
        source, target = ROOT / name, clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.exists():
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
        else:
            target.unlink(missing_ok=True)
    link_packages(clone)
    bring_compiled(clone)
    return Checkout(clone, home)


def bring_compiled(clone: Path) -> None:
    """Bring what Python compiled of the same sources, which it knows by their size and time."""
    for compiled in (ROOT / "src").rglob("__pycache__/*.pyc"):
        source = compiled.parent.parent / f"{compiled.name.partition('.')[0]}.py"
        if source.exists():
            target = clone / compiled.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(compiled, target)
            shutil.copystat(source, clone / source.relative_to(ROOT))


def git(*words: str) -> str:
    """Run git, as nobody in particular."""
    environment = {"PATH": PATH, "HOME": "/nonexistent", "GIT_CONFIG_COUNT": "1",
                   "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}  # fmt: skip
    return subprocess.run(
        ["git", *words], env=environment, check=True, capture_output=True, text=True
    ).stdout


def link_packages(clone: Path) -> None:
    """Leave behind what a finished set-up does: an environment whose sources are the clone's."""
    loader = SourceFileLoader("caas_of_the_clone", str(clone / "caas"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    script = module_from_spec(spec)
    loader.exec_module(script)
    ours, theirs = Path(sys.prefix), Path(script.environment_of(str(clone / ".caas")))
    packages = Path("lib", f"python3.{sys.version_info[1]}", "site-packages")
    (theirs / packages).mkdir(parents=True)
    (theirs / "bin").mkdir()
    (theirs / "pyvenv.cfg").write_bytes((ours / "pyvenv.cfg").read_bytes())
    for entry in (ours / "bin").iterdir():
        (theirs / "bin" / entry.name).symlink_to(entry.readlink() if entry.is_symlink() else entry)
    for entry in (ours / packages).iterdir():
        if entry.name != "caas-sources.pth":
            (theirs / packages / entry.name).symlink_to(entry)
    script.finish(str(theirs), tools="developers")
