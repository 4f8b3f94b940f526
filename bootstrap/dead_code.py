"""Finds functions, methods, classes and imports that nothing references.

Rules a change must keep: use by tests does not count; a name that only a framework calls is listed
in `bootstrap/alive.txt` with its caller; variables are excluded, because fields are columns and
enum members are states.
"""

import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from vulture import Vulture

ROOT: Final = Path(__file__).resolve().parent.parent
SEEN: Final = ("src", "bootstrap", "benchmarks", "docs")
KINDS: Final = {"class", "function", "import", "method", "property", "unreachable_code"}
DECORATORS: Final = ["@*.command", "@*.callback", "@get", "@post", "@put", "@delete", "@override"]
CONFIDENCE_MIN: Final = 60


def main() -> int:
    """Print unreferenced code; return the exit status."""
    vulture = Vulture(ignore_decorators=DECORATORS)
    vulture.scavenge([str(ROOT / folder) for folder in SEEN if (ROOT / folder).exists()])
    alive = patterns(ROOT / "bootstrap" / "alive.txt")
    dead = [
        item
        for item in vulture.get_unused_code(min_confidence=CONFIDENCE_MIN)
        if item.typ in KINDS and not any(fnmatch(item.name, pattern) for pattern in alive)
    ]
    for item in dead:
        path = Path(item.filename).relative_to(ROOT)
        sys.stdout.write(f"{path}:{item.first_lineno}: {item.typ} {item.name} is not referenced\n")
    return 1 if dead else 0


def patterns(file: Path) -> list[str]:
    """Return the names in a list with # comments."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return [line for line in lines if line]


if __name__ == "__main__":
    raise SystemExit(main())
