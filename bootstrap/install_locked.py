"""Installs the packages of `uv.lock` with the environment's pip.

`./caas` uses it on machines without uv. `--developers` adds the development tools.

Rules a change must keep: exactly the locked versions, each file verified by its sha256; pip
resolves nothing.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pip._vendor.packaging.markers import Marker

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "caas-payments"


def main() -> None:
    """Install the locked packages for this platform, or exit with pip's status."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    needed = list(requirements(lock, developers="--developers" in sys.argv[1:]))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write("\n".join(needed))
        listed.flush()
        options = [
            "--require-hashes",
            "--no-deps",
            "--quiet",
            "--disable-pip-version-check",
            "--retries=2",
        ]
        index = ["--index-url", os.environ["CAAS_INDEX"]]
        pip = [sys.executable, "-m", "pip", "install", *options, *index, "-r", listed.name]
        raise SystemExit(subprocess.run(pip, check=False).returncode)


def requirements(lock: dict[str, Any], *, developers: bool) -> Iterator[str]:
    """Follow the applicable dependencies from the project; yield each package with its hashes."""
    packages: dict[str, list[dict[str, Any]]] = {}
    for package in lock["package"]:
        packages.setdefault(package["name"], []).append(package)
    project = packages[PROJECT][0]
    edges = [*project["dependencies"]]
    edges += project["dev-dependencies"]["dev"] if developers else []
    seen = set()
    while edges:
        edge = edges.pop()
        wanted = (edge["name"], *edge.get("extra", ()))
        if wanted in seen or ("marker" in edge and not Marker(edge["marker"]).evaluate()):
            continue
        seen.add(wanted)
        package = chosen(packages[edge["name"]], edge)
        edges += package.get("dependencies", [])
        for extra in edge.get("extra", ()):
            edges += package["optional-dependencies"][extra]
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        hashes = " ".join(f"--hash={file['hash']}" for file in files)
        yield f"{package['name']}=={package['version']} {hashes}"


def chosen(candidates: list[dict[str, Any]], edge: dict[str, Any]) -> dict[str, Any]:
    """Return the version of a package that a dependency selects."""
    return next(one for one in candidates if edge.get("version", one["version"]) == one["version"])


if __name__ == "__main__":
    main()
