"""One merchant account of the simulated Adyen: its clock, its objects, and what it reports."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from caas_simulators.simulated_time import Agenda, Clock
from caas_simulators.stripe.store import Store

Json = dict[str, Any]
DAY: Final = 86_400.0
LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
PSP_CHARS: Final = 16
CLOCK: Final = "clock"
FILE: Final = "adyen.sqlite"


class AdyenSettings(msgspec.Struct, kw_only=True):
    """What the simulator is started with; without a folder nothing outlives it.

    A modification is decided `modification_seconds` after it was received, in simulated time.
    """

    api_keys: tuple[str, ...] = ("AQE-simulated",)
    merchant_account: str = "CaaSSimulatedECOM"
    public_url: str | None = None
    merchant: str = "CaaS"
    folder: Path | None = None
    seed: int | None = None
    time_scale: float = 1.0
    webhook_url: str | None = None
    hmac_keys: list[str] = msgspec.field(default_factory=list)
    report_user: str = "report@Company.CaaSSimulated"
    report_password: str = "report-simulated"  # noqa: S105  # of a simulator
    modification_seconds: float = 5.0
    authorization_seconds: float = 7 * DAY
    link_seconds: float = DAY
    control: bool = True


class World:
    """The state of the account, and what becomes due in it."""

    def __init__(self, settings: AdyenSettings) -> None:
        """Take up the account where its folder left it."""
        self.settings = settings
        self.public_url = settings.public_url or ""
        self.clock = Clock(settings.time_scale, "UTC")
        self.agenda = Agenda(self.clock)
        self.chance = random.Random(settings.seed)
        self.store = Store(settings.folder, self.clock, self.chance, file=FILE)
        self.deliver: Callable[[list[Json]], None] = lambda _items: None
        self._reported: list[Json] = []
        moved = self.store.find(CLOCK, CLOCK)
        if moved is not None:
            self.clock.moved_seconds = moved["seconds"]

    def psp_reference(self) -> str:
        """Return a pspReference that nothing else has."""
        return "".join(self.chance.choices(LETTERS, k=PSP_CHARS))

    def at(self, seconds: float) -> float:
        """Return the instant so much simulated time from now."""
        return self.clock.now() + self.clock.span(seconds)

    def text(self, instant: float | None = None) -> str:
        """Write an instant as Adyen does."""
        moment = datetime.fromtimestamp(self.clock.now() if instant is None else instant, UTC)
        return moment.isoformat(timespec="seconds")

    def report(self, code: str, payment: Json, **more: object) -> None:
        """Add an item to the next webhook."""
        item: Json = {
            "additionalData": {}, "amount": {"value": payment["value"],
            "currency": payment["currency"]}, "eventCode": code, "eventDate": self.text(),
            "merchantAccountCode": self.settings.merchant_account,
            "merchantReference": payment["reference"], "paymentMethod": "visa",
            "pspReference": payment["id"], "reason": "", "success": "true", **more,
        }  # fmt: skip
        self._reported.append(item)

    def flush(self) -> None:
        """Write what was changed, and send what was reported meanwhile in one webhook."""
        self.store.flush()
        items, self._reported = self._reported, []
        if items:
            self.deliver(items)

    def advance(self, seconds: float, *, until: float | None = None) -> None:
        """Move the clock forward; what becomes due happens on the way."""
        if until is None:
            self.agenda.advance(seconds)
        else:
            self.agenda.advance_to(until)
        self.store.put({"id": CLOCK, "object": CLOCK, "seconds": self.clock.moved_seconds})
        self.flush()
