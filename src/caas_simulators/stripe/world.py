"""One Stripe account in one mode: its clock, its objects, and the events that tell of changes."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from caas_simulators.simulated_time import Agenda, Clock
from caas_simulators.stripe.refusals import Json
from caas_simulators.stripe.shapes import shown
from caas_simulators.stripe.store import Store

API_VERSION: Final = "2025-04-30.basil"
LIVE_KEYS: Final = ("sk_live_", "rk_live_")
REQUESTS_A_SECOND: Final = 25.0
"""As documented for a sandbox."""
CLOCK: Final = "clock"


class StripeSettings(msgspec.Struct, kw_only=True):
    """What the simulator is started with; without a folder nothing outlives it."""

    api_keys: tuple[str, ...] = ("sk_test_simulated",)
    account: str = "acct_1CaaSSimulated000"
    public_url: str | None = None
    merchant: str = "CaaS"
    folder: Path | None = None
    seed: int | None = None
    time_scale: float = 1.0
    webhook_url: str | None = None
    webhook_secrets: list[str] = msgspec.field(default_factory=list)
    requests_a_second: float = REQUESTS_A_SECOND
    control: bool = True

    @property
    def livemode(self) -> bool:
        """Whether these are keys of live mode."""
        return self.api_keys[0].startswith(LIVE_KEYS)


class World:
    """The state of the account and what becomes due in it."""

    def __init__(self, settings: StripeSettings) -> None:
        """Take up the account where its folder left it."""
        self.settings = settings
        self.public_url = settings.public_url or ""
        self.clock = Clock(settings.time_scale, "UTC")
        self.agenda = Agenda(self.clock)
        self.chance = random.Random(settings.seed)
        self.store = Store(settings.folder, self.clock, self.chance)
        self.deliver: Callable[[Json], None] = lambda _event: None
        self.request: Json = {"id": None, "idempotency_key": None}
        self.declines: list[tuple[str, str]] = []
        moved = self.store.find(CLOCK, CLOCK)
        if moved is not None:
            self.clock.moved_seconds = moved["seconds"]

    def new(self, kind: str, prefix: str, **fields: object) -> Json:
        """Make an object of this account, with what every object has."""
        one: Json = {
            "id": self.store.new_id(prefix), "object": kind, "created": self.store.now(),
            "livemode": self.settings.livemode, **fields,
        }  # fmt: skip
        return self.store.put(one)

    def emit(self, event_type: str, subject: Json) -> Json:
        """Record an event with the object as it is now, and have it delivered."""
        event = self.new(
            "event", "evt", type=event_type, api_version=API_VERSION, pending_webhooks=0,
            data={"object": shown(self.store, subject)}, request=dict(self.request),
        )  # fmt: skip
        self.deliver(event)
        return event

    def advance(self, seconds: float, *, until: float | None = None) -> None:
        """Move the clock forward; what becomes due happens on the way."""
        if until is None:
            self.agenda.advance(seconds)
        else:
            self.agenda.advance_to(until)
        self.store.put({"id": CLOCK, "object": CLOCK, "seconds": self.clock.moved_seconds})
        self.store.flush()
