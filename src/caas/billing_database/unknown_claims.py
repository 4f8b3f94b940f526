"""Claims with an unknown result, which are released once the database responds.

A statement that reached a frozen server runs when the server continues, although its caller has
failed. Its claim would block the rows until the lease ends. The caller therefore registers the
claim here, and it is released repeatedly until it was found or can no longer appear.

Rules a change must keep: a claim is released only by its own attempt's id; number and age of claims
are limited; after that the lease ends them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from typing import Final, Generic, TypeVar

import asyncpg
import structlog

from caas.billing_database.connection import Database
from caas.errors import UnavailableError

LOOK_SECONDS: Final = 1.0
LOOKS_MAX: Final = 30
CLAIMS_MAX: Final = 10_000

Claim = TypeVar("Claim", bound=Hashable)
Settle = Callable[[Sequence[Claim]], Awaitable[Collection[Claim]]]

_log = structlog.get_logger()


class UnknownClaims(Generic[Claim]):
    """Claims of one kind with an unknown result."""

    def __init__(self, database: Database, settle: Settle[Claim]) -> None:
        """Release with `settle`, which returns the claims it found."""
        self._database = database
        self._settle = settle
        self._looks: dict[Claim, int] = {}
        self._settling: asyncio.Task[None] | None = None

    def add(self, claim: Claim) -> None:
        """Release this claim once the database responds; its caller has given it up."""
        if len(self._looks) >= CLAIMS_MAX:
            self._looks.pop(next(iter(self._looks)))  # its lease ends it
        self._looks[claim] = 0
        if self._settling is None or self._settling.done():
            self._settling = asyncio.get_running_loop().create_task(self._settle_all())

    async def _settle_all(self) -> None:
        while self._looks and not self._database.is_closed:
            await asyncio.sleep(LOOK_SECONDS)
            claims = list(self._looks)
            try:
                found = frozenset(await self._settle(claims))
            except UnavailableError:
                continue
            except asyncpg.PostgresError:  # their leases end, too
                _log.exception("unknown_claims.not_settled", claims=len(claims))
                found = frozenset()
            for claim in claims:
                self._looked_for(claim, was_found=claim in found)

    def _looked_for(self, claim: Claim, *, was_found: bool) -> None:
        looks = self._looks.get(claim)
        if looks is None:
            return
        if was_found or looks + 1 >= LOOKS_MAX:
            del self._looks[claim]
        else:
            self._looks[claim] = looks + 1
