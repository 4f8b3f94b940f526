"""What a process holds from its start is out of the collector's sight, until it ends."""

import subprocess
import sys

SERVES = """
import gc, caas.server
from caas.cli.commands import freeze_long_lived_objects
freeze_long_lived_objects()
print(gc.get_freeze_count() > 10_000)
"""


def test_a_process_with_frozen_objects_exits_cleanly() -> None:
    """A library told the terminal of thirty leaks, because what it had made was still set aside."""
    ended = subprocess.run(
        [sys.executable, "-c", SERVES], capture_output=True, text=True, check=True
    )

    assert (ended.stdout, ended.stderr) == ("True\n", "")
