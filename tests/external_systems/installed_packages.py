"""Packages of third parties, installed as pip would: a module and its entry points."""

from pathlib import Path

GROUP = "caas.gateways"


def install(folder: Path, package: str, *, entries: dict[str, str], code: str) -> None:
    """Write a module `package` and the metadata of its entry points into a folder of the path."""
    (folder / f"{package}.py").write_text(code)
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
