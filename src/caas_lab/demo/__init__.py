"""`caas demo`: every flow and every failure of the seed, played and explained.

`perform(Wish(...), environment)` sets the stage, plays the scenes, checks laws and books, and
returns the `Performance`; its `ok` is the verdict.

Rules a change must keep: the platform is spoken to over its public HTTP API, the world around it
over the simulators' control planes, and the books are read in sessions that cannot write.
"""

from caas_lab.demo.performance import NoSuchSceneError, Wish, chosen, perform
from caas_lab.demo.printing import Paper, print_scenes
from caas_lab.demo.summary import Performance, as_data

__all__ = [
    "NoSuchSceneError",
    "Paper",
    "Performance",
    "Wish",
    "as_data",
    "chosen",
    "perform",
    "print_scenes",
]
