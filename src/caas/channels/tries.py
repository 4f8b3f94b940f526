"""Tries to sign in, slowed down by login and by address, or by the known device they come from.

Rules a change must keep: a try is counted before it is judged; who comes from a device known for
the login waits for nobody's wrong tries but their own; a right try does not forgive the address the
wrong ones that others made there.
"""

import math
from dataclasses import dataclass
from uuid import UUID

from caas.billing_database import operations_counts
from caas.billing_database.audit_events import AuditType, Outsider, audit
from caas.billing_database.slowed_tries import CountedFor, SlowedTries
from caas.channels.rooms import Channels
from caas.channels.visit import Visit
from caas.errors import CaasError
from caas.rules.rate_limits import owner_of
from caas.rules.slowing import OF_A_DEVICE, OF_A_LOGIN, OF_AN_ADDRESS


class TooManyTriesError(CaasError):
    """Too many tries went wrong; wait as long as Retry-After says."""

    code = "too_many_tries"
    http_status = 429

    def __init__(self, wait_seconds: float) -> None:
        """Keep how long to wait."""
        super().__init__(retry_after_seconds=max(math.ceil(wait_seconds), 1))


@dataclass(frozen=True, slots=True)
class Try:
    """A try under way; counted as wrong until it is said to be right."""

    channels: Channels
    visit: Visit
    own: tuple[CountedFor, ...]
    address: tuple[CountedFor, ...]
    next_wait_seconds: float

    async def was_wrong(self, account: UUID | None) -> None:
        """Write down that the next try has to wait, if it has."""
        if self.next_wait_seconds:
            await audit(
                AuditType.SIGN_IN_SLOWED, by=Outsider.NOBODY, subject=account,
                address=self.visit.address, within=self.channels.rooms.books.database,
            )  # fmt: skip

    async def was_right(self) -> None:
        """Forget the wrong tries before it."""
        table = SlowedTries(self.channels.rooms.books.database)
        await table.forget(self.own)
        if self.address:
            await table.take_back(self.address)


async def begin(channels: Channels, visit: Visit, login: str, *, what: str = "sign-in") -> Try:
    """Count a try of `what` for this login, as it was typed.

    Raises:
        TooManyTriesError: there were too many before it.
    """
    database = channels.rooms.books.database
    now = (await operations_counts.now(database)).timestamp()
    device = channels.devices.known(visit, login, now=now)
    own: tuple[CountedFor, ...] = (CountedFor(f"{what}:login:{login}", OF_A_LOGIN),)
    address: tuple[CountedFor, ...] = (
        CountedFor(f"{what}:address:{owner_of(visit.address)}", OF_AN_ADDRESS),
    )
    if device is not None:
        own, address = (CountedFor(f"{what}:device:{device}", OF_A_DEVICE),), ()
    counted = await SlowedTries(database).count((*own, *address))
    if counted.wait_seconds:
        raise TooManyTriesError(counted.wait_seconds)
    return Try(channels, visit, own, address, counted.next_wait_seconds)
