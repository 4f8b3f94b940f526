"""How a simulated provider's account is served: until it is no longer needed, and then put away."""

import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Protocol, TypeVar

from caas_simulators.http_server import Answer, Request, Server, listening
from caas_simulators.simulated_time import Agenda


class AccountStore(Protocol):
    """What an account remembers."""

    def close(self) -> None:
        """Write nothing more."""


class AccountWorld(Protocol):
    """The state of an account, and the address it is reached at."""

    public_url: str
    agenda: Agenda

    @property
    def store(self) -> AccountStore:
        """What it remembers."""
        ...


class AccountWebhooks(Protocol):
    """What an account sends."""

    async def close(self) -> None:
        """Stop sending."""


class ProviderAccount(Protocol):
    """An account that answers requests, sends webhooks, and has a clock of its own."""

    @property
    def world(self) -> AccountWorld:
        """Its state."""
        ...

    @property
    def webhooks(self) -> AccountWebhooks:
        """What it sends."""
        ...

    def handle(self, request: Request) -> Answer | Awaitable[Answer | None]:
        """Answer a request."""


Account = TypeVar("Account", bound=ProviderAccount)


@contextlib.asynccontextmanager
async def serving(
    account: Account, *, host: str, port: int
) -> AsyncIterator[tuple[Server, Account]]:
    """Serve an account until the block is left."""
    try:
        async with listening(account.handle, host=host, port=port) as server:
            account.world.public_url = account.world.public_url or server.url
            yield server, account
    finally:
        account.world.agenda.stop()
        await account.webhooks.close()
        account.world.store.close()
