"""Signs a head of the history once a day and stores copies outside the database (decision 118).

Rules a change must keep: every head is sent to every place until each has it; an unavailable place
does not delay the others; a differing copy raises an alert.
"""

from typing import Final

import msgspec

from caas.billing_database import history_heads
from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.tables import BillingDatabase
from caas.errors import UnavailableError
from caas.external_systems.head_copies import HeadCopies, OtherHeadError
from caas.external_systems.http_answers import NotSentError, OutcomeUnknownError
from caas.external_systems.notification_channel import MessageNotDeliveredError
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.flow import Alert
from caas.rules.signed_heads import SignedHead
from caas.rules.time_scale import TimeScale

MAKE_HEAD: Final = "make_head"
KEEP_HEAD: Final = "keep_head"
HEAD_REWRITTEN: Final = "head_rewritten"
DAY_SECONDS: Final = 86_400.0
EARLY_SECONDS: Final = 60.0
TRY_AGAIN_SECONDS: Final = 300.0
AWAY: Final = (UnavailableError, NotSentError, OutcomeUnknownError, MessageNotDeliveredError)


class HeadTerms(msgspec.Struct, frozen=True):
    """The keys that sign heads (Ed25519, the first one signs), and where copies are stored."""

    keys: VehicleCommandKeys
    copies: tuple[HeadCopies, ...]

    def sign(self, body: str) -> SignedHead:
        """Sign a head."""
        signed = self.keys.sign(body)
        return SignedHead(body, self.keys.public[0].public_key, signed.signature)


class HistorySigning:
    """Makes signed heads and stores their copies."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        alert: Alert,
        time_scale: TimeScale,
        terms: HeadTerms | None,
    ) -> None:
        """Make heads of this database; none without a signing key."""
        self._tables = tables
        self._alert = alert
        self._time_scale = time_scale
        self._terms = terms

    def register(self, jobs: JobQueue) -> None:
        """Register the job handlers."""
        if self._terms is not None:
            jobs.register(MAKE_HEAD, self._make)
            jobs.register(KEEP_HEAD, self._keep)

    async def begin(self) -> None:
        """Schedule the daily job; idempotent."""
        if self._terms is not None:
            await self._tables.jobs.add_all([(MAKE_HEAD, derived_id("history"), 0.0, {})])

    async def _make(self, _work: Job) -> Answer:
        assert self._terms is not None, "registered only with a key"
        last = await history_heads.last_heads(self._tables.database, rows_max=1)
        if last:
            wait = DAY_SECONDS - last[0].age.total_seconds() * self._time_scale.scale
            if wait > EARLY_SECONDS:
                return RetryIn(wait, begins_anew=True)
        await history_heads.made(self._tables.database, sign=self._terms.sign, also=self._have_kept)
        return RetryIn(DAY_SECONDS, begins_anew=True)

    async def _have_kept(self, connection: Connection, head: SignedHead) -> None:
        await self._tables.jobs.add(
            KEEP_HEAD,
            derived_id("head", head.number),
            payload={"head": head.number, "kept": []},
            within=connection,
        )

    async def _keep(self, job: Job) -> Answer:
        assert self._terms is not None, "registered only with a key"
        head = await history_heads.head(self._tables.database, int(job.payload["head"]))
        assert head is not None, "a head is never deleted"
        kept: list[int] = list(job.payload["kept"])
        because: str | None = None
        for place, copies in enumerate(self._terms.copies):
            if place in kept:
                continue
            try:
                await copies.keep(head)
            except OtherHeadError as error:
                await self._alert(HEAD_REWRITTEN, job.subject, error.sentence)
            except AWAY as error:
                because = error.sentence
                continue
            kept.append(place)
        if because is None:
            return Done()
        return RetryIn(TRY_AGAIN_SECONDS, because, payload={"kept": kept})
