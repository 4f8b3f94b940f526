"""`caas simulate`: a whole life of the platform, drawn from a seed, and judged by its books.

The demonstration plays what somebody thought of; the simulation plays what nobody did. People buy,
reserve, subscribe, change their minds and press twice, cars sleep, refuse and lie, gateway,
partners and webhooks fail, all as a seed draws it, on a platform that is really running. When the
world is well again every payment must come to rest, every law must hold, and the gateway's books,
the cars and ours must say the same.

Rules a change must keep: what is drawn follows from the seed alone (`plan`); the oracle is laws,
books and rest, never an expectation about one story; the world is healed before it is judged, the
platform never.
"""

from caas_lab.simulation.performance import Outcome, simulate
from caas_lab.simulation.plan import Fault, Kind, Plan, Story, drawn

__all__ = ["Fault", "Kind", "Outcome", "Plan", "Story", "drawn", "simulate"]
