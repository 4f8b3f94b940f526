"""Install what `uv.lock` says with the pip of the environment that runs this file.

Used by `./caas` on machines where uv cannot be had. Called with `--developers` it installs the
developers' tools as well.

Rules: exactly the locked versions, each file checked against its locked sha256; pip resolves
nothing, because two answers to the same question would be one too many.
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
    """Install the locked packages that this platform needs, or end with pip's own status."""
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
    """Walk from the project along the edges that hold here; yield each package with its hashes."""
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
    """Return the one version of a package that the edge names."""
    return next(one for one in candidates if edge.get("version", one["version"]) == one["version"])


if __name__ == "__main__":
    main()
