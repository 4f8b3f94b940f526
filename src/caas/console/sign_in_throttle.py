"""Throttles sign-in attempts by login, address or known device.

Rules a change must keep: a try is counted before it is judged; who comes from a device known for
the login waits for nobody's wrong tries but their own; a right try does not forgive the address the
wrong ones that others made there.
"""

import math
from dataclasses import dataclass
from uuid import UUID

from caas.billing_database import operations_counts
from caas.billing_database.audit_events import AuditType, Outsider, audit
from caas.billing_database.sign_in_attempts import CountedFor, SignInAttempts
from caas.console.context import Console
from caas.console.request import PageRequest
from caas.errors import CaasError
from caas.rules.rate_limits import owner_of
from caas.rules.throttling import OF_A_DEVICE, OF_A_LOGIN, OF_AN_ADDRESS


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

    console: Console
    request: PageRequest
    own: tuple[CountedFor, ...]
    address: tuple[CountedFor, ...]
    next_wait_seconds: float

    async def was_wrong(self, account: UUID | None) -> None:
        """Write down that the next try has to wait, if it has."""
        if self.next_wait_seconds:
            await audit(
                AuditType.SIGN_IN_SLOWED, by=Outsider.NOBODY, subject=account,
                address=self.request.address, within=self.console.platform.tables.database,
            )  # fmt: skip

    async def was_right(self) -> None:
        """Forget the wrong tries before it."""
        table = SignInAttempts(self.console.platform.tables.database)
        await table.forget(self.own)
        if self.address:
            await table.take_back(self.address)


async def begin(
    console: Console, request: PageRequest, login: str, *, what: str = "sign-in"
) -> Try:
    """Count a try of `what` for this login, as it was typed.

    Raises:
        TooManyTriesError: there were too many before it.
    """
    database = console.platform.tables.database
    now = (await operations_counts.now(database)).timestamp()
    device = console.devices.known(request, login, now=now)
    own: tuple[CountedFor, ...] = (CountedFor(f"{what}:login:{login}", OF_A_LOGIN),)
    address: tuple[CountedFor, ...] = (
        CountedFor(f"{what}:address:{owner_of(request.address)}", OF_AN_ADDRESS),
    )
    if device is not None:
        own, address = (CountedFor(f"{what}:device:{device}", OF_A_DEVICE),), ()
    counted = await SignInAttempts(database).count((*own, *address))
    if counted.wait_seconds:
        raise TooManyTriesError(counted.wait_seconds)
    return Try(console, request, own, address, counted.next_wait_seconds)
