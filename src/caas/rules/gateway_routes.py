"""Where new payments go: a gateway for each market, and a fallback (decision 208).

Rule a change must keep: a route names a gateway and never decides about a payment that has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class GatewayRoutes:
    """Where new payments go: the gateway of each market that has its own, and the fallback.

    A payment goes to the fallback when its gateway has certainly not received it. None: it waits or
    fails, as its type says.
    """

    by_market: Mapping[str, str] = field(default_factory=dict)
    fallback: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """The gateways that are named."""
        return frozenset(self.by_market.values()) | ({self.fallback} if self.fallback else set())


NO_ROUTES: Final = GatewayRoutes()
