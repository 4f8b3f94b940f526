"""A head of the history is made once a day and kept outside the database (decision 118).

Rules a change must keep: a head that is made is sent to every place until each has it; a place
that is away keeps no other one waiting; a copy that differs is an alert.
"""

from dataclasses import dataclass
from typing import Final

from caas.billing_database import history_heads
from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.due_work import DueWork
from caas.billing_database.identifiers import derived_id
from caas.errors import UnavailableError
from caas.external_systems.head_copies import HeadCopies, OtherHeadError
from caas.external_systems.http_answers import NotSentError, OutcomeUnknownError
from caas.external_systems.notification_channel import NotDeliveredError
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.open_work import Again, Answer, Done, OpenWork
from caas.payment_processing.flow import Alert
from caas.rules.pace import Pace
from caas.rules.signed_heads import SignedHead

MAKE_HEAD: Final = "make_head"
KEEP_HEAD: Final = "keep_head"
HEAD_REWRITTEN: Final = "head_rewritten"
DAY_SECONDS: Final = 86_400.0
EARLY_SECONDS: Final = 60.0
TRY_AGAIN_SECONDS: Final = 300.0
AWAY: Final = (UnavailableError, NotSentError, OutcomeUnknownError, NotDeliveredError)


@dataclass(frozen=True, slots=True)
class HeadTerms:
    """The keys that sign heads (Ed25519, the first one signs), and where copies are kept."""

    keys: VehicleCommandKeys
    copies: tuple[HeadCopies, ...]

    def sign(self, body: str) -> SignedHead:
        """Sign a head."""
        signed = self.keys.sign(body)
        return SignedHead(body, self.keys.public[0].public_key, signed.signature)


class HistoryKeeping:
    """Makes the heads, and has them kept elsewhere."""

    def __init__(self, *, books: Books, alert: Alert, pace: Pace, terms: HeadTerms | None) -> None:
        """Make heads of these books; none without a key to sign them."""
        self._books = books
        self._alert = alert
        self._pace = pace
        self._terms = terms

    def register(self, open_work: OpenWork) -> None:
        """Take the making and the keeping of heads."""
        if self._terms is not None:
            open_work.register(MAKE_HEAD, self._make)
            open_work.register(KEEP_HEAD, self._keep)

    async def begin(self) -> None:
        """Make sure that heads are made from now on; saying it again changes nothing."""
        if self._terms is not None:
            await self._books.work.add_all([(MAKE_HEAD, derived_id("history"), 0.0, {})])

    async def _make(self, _work: DueWork) -> Answer:
        assert self._terms is not None, "registered with a key alone"
        last = await history_heads.last_heads(self._books.database, rows_max=1)
        if last:
            wait = DAY_SECONDS - last[0].age.total_seconds() * self._pace.scale
            if wait > EARLY_SECONDS:
                return Again(wait, begins_anew=True)
        await history_heads.made(self._books.database, sign=self._terms.sign, also=self._have_kept)
        return Again(DAY_SECONDS, begins_anew=True)

    async def _have_kept(self, connection: Connection, head: SignedHead) -> None:
        await self._books.work.add(
            KEEP_HEAD,
            derived_id("head", head.number),
            payload={"head": head.number, "kept": []},
            within=connection,
        )

    async def _keep(self, work: DueWork) -> Answer:
        assert self._terms is not None, "registered with a key alone"
        head = await history_heads.head(self._books.database, int(work.payload["head"]))
        assert head is not None, "a head stays"
        kept: list[int] = list(work.payload["kept"])
        because: str | None = None
        for place, copies in enumerate(self._terms.copies):
            if place in kept:
                continue
            try:
                await copies.keep(head)
            except OtherHeadError as error:
                await self._alert(HEAD_REWRITTEN, work.subject, error.sentence)
            except AWAY as error:
                because = error.sentence
                continue
            kept.append(place)
        if because is None:
            return Done()
        return Again(TRY_AGAIN_SECONDS, because, payload={"kept": kept})
