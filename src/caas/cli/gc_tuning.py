"""When Python looks for garbage in circles, in a process that serves for months.

Modules, routes, templates, statements and pools are there from the start to the end. The full
collection looked at all of them again and again, and nobody was answered meanwhile. What is there
when a process begins to serve is therefore set aside, and the young are looked at less often:
almost everything of a request goes by reference count, without a collector.

Rule a change must keep: called once, by the process's own command, when it is ready to serve.
"""

import atexit
import gc
from typing import Final

YOUNG_MAX: Final = 20_000
YOUNG_LOOKS: Final = 50
MIDDLE_LOOKS: Final = 100


def set_aside_what_stays() -> None:
    """Take what is there now out of every later collection, and make collections rarer."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # at the end everything is let go in order
    gc.set_threshold(YOUNG_MAX, YOUNG_LOOKS, MIDDLE_LOOKS)
