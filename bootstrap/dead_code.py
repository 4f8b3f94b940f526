"""Find functions, methods, classes and imports that nothing names.

Rules: a test is no reason to live: only the platform, its simulators and its benchmarks count. A
name that only a framework calls stands in `bootstrap/alive.txt`, with its caller. Variables are
left out, because fields are columns and members of enums are words of the diagrams.
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
    """Print each piece of dead code; return how the process should end."""
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
        sys.stdout.write(f"{path}:{item.first_lineno}: nothing names {item.typ} {item.name}\n")
    return 1 if dead else 0


def patterns(file: Path) -> list[str]:
    """Return the names of a list whose comments begin with a hash."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return [line for line in lines if line]


if __name__ == "__main__":
    raise SystemExit(main())
