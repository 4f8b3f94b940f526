"""Sending evidence against a dispute: what is checked, recorded and answered."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest
from msgspec.structs import replace

from caas.billing_database.audit_events import AuditEvents, AuditType
from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.payments import Payment
from caas.errors import CaasError
from caas.external_systems.gateway_evidence import DisputeResponse, EvidenceTerms
from caas.external_systems.http_answers import (
    GatewayFailure,
    OutcomeUnknownError,
    RefusedByPartnerError,
    UnknownReason,
)
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing.dispute_evidence import (
    ATTEMPT,
    FILE_BYTES_MAX,
    OPERATION,
    DisputeEvidence,
    DisputeEvidenceRefusedError,
    EvidenceNotTakenError,
    EvidenceOutcomeUnknownError,
    EvidenceSentError,
    NoSuchDisputeError,
)
from caas.rules.payment_states import PaymentState
from tests.installation import Installation, standing
from tests.people import employed

DUE = datetime(2026, 12, 7, tzinfo=UTC)
TAKEN = EvidenceTerms(is_taken=True, due_by=DUE, is_sent=False)
SENT = EvidenceTerms(is_taken=False, due_by=DUE, is_sent=True)
LATE = EvidenceTerms(is_taken=False, due_by=DUE, is_sent=False)
PNG = b"\x89PNG\r\n\x1a\n and so on"
TEXT = "The seats were on, see the signed confirmation."
REFUSED = RefusedByPartnerError(
    partner="stripe", call="POST", status=400, refusal="invalid_request_error", problem=""
)
UNKNOWN = OutcomeUnknownError(partner="stripe", call="POST", reason=UnknownReason.TIMED_OUT)


@dataclass
class Bank:
    """A gateway that takes evidence."""

    name: str = "contract"
    terms: EvidenceTerms = TAKEN
    fails: GatewayFailure | None = None
    then: EvidenceTerms = SENT
    received: list[tuple[str, DisputeResponse, str]] = field(default_factory=list)

    async def evidence_terms(self, dispute_id: str) -> EvidenceTerms:
        del dispute_id
        return self.terms

    async def send_evidence(
        self, dispute_id: str, evidence: DisputeResponse, *, key: str
    ) -> EvidenceTerms:
        self.received.append((dispute_id, evidence, key))
        self.terms = self.then
        if self.then.is_sent and not isinstance(self.fails, RefusedByPartnerError):
            self.terms = replace(self.then, sent_digest=evidence.digest)
        if self.fails is not None:
            raise self.fails
        return self.terms


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a car and a service on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


async def disputed(installation: Installation, dispute: str = "du_1") -> Payment:
    """A payment with an open dispute."""
    payment = await installation.buys()
    payment = await installation.until(payment.id, lambda it: it.state is PaymentState.CAPTURING)
    reported = GatewayDispute(
        id=dispute, transaction_id=payment.gateway_transaction_id or "", amount=payment.amount,
        currency=payment.currency, status=DisputeStatus.OPENED,
    )  # fmt: skip
    await installation.platform.payment_processing._disputes.on_event("contract", reported)
    return payment


def through(installation: Installation, *gateways: object) -> DisputeEvidence:
    """Evidence through these gateways."""
    database = installation.database
    return DisputeEvidence(
        tables=installation.platform.tables, gateways=gateways, calls=GatewayCalls(database)
    )


async def clerk(installation: Installation) -> UUID:
    """The account of a person."""
    account = (await employed(installation.database, "carla")).account
    assert account is not None
    return account


async def test_evidence_is_sent_once_and_only_its_digest_is_kept(
    installation: Installation,
) -> None:
    payment, bank, by = await disputed(installation), Bank(), await clerk(installation)
    evidence = through(installation, bank)

    await evidence.send(payment, "du_1", text=f" {TEXT} ", content=PNG, by=by)
    with pytest.raises(EvidenceSentError):
        await evidence.send(payment, "du_1", text="More.", content=b"", by=by)

    [(dispute, sent, key)] = bank.received
    assert (dispute, sent.text, key) == ("du_1", TEXT, f"evidence:du_1:{sent.digest}")
    assert sent.file is not None
    assert (sent.file.media_type, sent.file.content) == ("image/png", PNG)
    calls = await GatewayCalls(installation.database).of(payment.id, None)
    (call,) = [it for it in calls if it.operation == OPERATION]
    assert sent.digest in call.summary
    assert TEXT not in call.summary
    events = await AuditEvents(installation.database).after(
        type_=AuditType.EVIDENCE_SENT, rows_max=9
    )
    assert [(it.account, it.subject) for it in events] == [(by, payment.id)]


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (" ", b""),
        (TEXT, b"MZ a program"),
        ("", b"%PDF-" + b"x" * FILE_BYTES_MAX),
        ("x" * 4_001, PNG),
    ],
)
async def test_what_is_no_evidence_is_not_sent(
    installation: Installation, text: str, content: bytes
) -> None:
    payment, bank, by = await disputed(installation), Bank(), await clerk(installation)

    with pytest.raises(DisputeEvidenceRefusedError):
        await through(installation, bank).send(payment, "du_1", text=text, content=content, by=by)

    assert bank.received == []


@pytest.mark.parametrize(
    ("bank", "error"),
    [
        (Bank(terms=LATE), EvidenceNotTakenError),
        (Bank(fails=REFUSED, then=SENT), EvidenceSentError),
        (Bank(fails=REFUSED, then=LATE), EvidenceNotTakenError),
        (Bank(fails=UNKNOWN), EvidenceOutcomeUnknownError),
    ],
)
async def test_what_the_bank_does_not_take_is_said_and_never_counts_as_sent(
    installation: Installation, bank: Bank, error: type[CaasError]
) -> None:
    payment, by = await disputed(installation), await clerk(installation)

    with pytest.raises(error):
        await through(installation, bank).send(payment, "du_1", text=TEXT, content=b"", by=by)

    events = await AuditEvents(installation.database).after(
        type_=AuditType.EVIDENCE_SENT, rows_max=9
    )
    assert events == []


async def test_only_an_open_dispute_of_the_payment_takes_evidence(
    installation: Installation,
) -> None:
    payment, by = await disputed(installation), await clerk(installation)

    for gateways, dispute in (((Bank(),), "du_2"), ((object(),), "du_1")):
        evidence = through(installation, *gateways)
        with pytest.raises(NoSuchDisputeError):
            await evidence.send(payment, dispute, text=TEXT, content=b"", by=by)
        with pytest.raises(NoSuchDisputeError):
            await evidence.terms(payment.id, dispute)


async def sent_by(installation: Installation) -> list[UUID | None]:
    """Who sent evidence, as the audit log has it."""
    events = await AuditEvents(installation.database).after(
        type_=AuditType.EVIDENCE_SENT, rows_max=9
    )
    return [it.account for it in events]


async def test_a_repetition_of_what_was_sent_without_an_answer_names_its_sender(
    installation: Installation,
) -> None:
    """The bank had it, and the audit log never said from whom."""
    payment, by = await disputed(installation), await clerk(installation)
    bank = Bank(fails=UNKNOWN)
    evidence = through(installation, bank)

    with pytest.raises(EvidenceOutcomeUnknownError):
        await evidence.send(payment, "du_1", text=TEXT, content=PNG, by=by)
    attempts = [
        it.summary
        for it in await GatewayCalls(installation.database).of(payment.id, None)
        if it.operation == ATTEMPT
    ]
    with pytest.raises(EvidenceSentError):
        await evidence.send(payment, "du_1", text="Another text.", content=PNG, by=by)
    for _ in range(2):
        await evidence.send(payment, "du_1", text=TEXT, content=PNG, by=by)

    assert len(bank.received) == 1
    assert [str(by) in it for it in attempts] == [True]
    assert await sent_by(installation) == [by]


async def test_what_another_person_sent_without_an_answer_is_not_ours(
    installation: Installation,
) -> None:
    payment, by = await disputed(installation), await clerk(installation)
    other = (await employed(installation.database, "dora")).account
    assert other is not None
    evidence = through(installation, Bank(fails=UNKNOWN))
    with pytest.raises(EvidenceOutcomeUnknownError):
        await evidence.send(payment, "du_1", text=TEXT, content=b"", by=by)

    with pytest.raises(EvidenceSentError):
        await evidence.send(payment, "du_1", text=TEXT, content=b"", by=other)

    assert await sent_by(installation) == [by]


async def test_evidence_that_never_arrived_is_not_reported_as_sent(
    installation: Installation,
) -> None:
    """Two people have sent evidence, and the bank has that of the second alone."""
    payment, first = await disputed(installation), await clerk(installation)
    second = (await employed(installation.database, "bea")).account
    assert second is not None
    cut, bank = Bank(fails=UNKNOWN, then=TAKEN), Bank()

    with pytest.raises(EvidenceOutcomeUnknownError):
        await through(installation, cut).send(payment, "du_1", text=TEXT, content=b"", by=first)
    await through(installation, bank).send(payment, "du_1", text="Other.", content=b"", by=second)
    with pytest.raises(EvidenceSentError):
        await through(installation, bank).send(payment, "du_1", text=TEXT, content=b"", by=first)

    assert await sent_by(installation) == [second]


async def test_evidence_that_was_sent_elsewhere_is_nobodys_here(
    installation: Installation,
) -> None:
    payment, by = await disputed(installation), await clerk(installation)
    cut, bank = Bank(fails=UNKNOWN, then=TAKEN), Bank(terms=SENT)

    with pytest.raises(EvidenceOutcomeUnknownError):
        await through(installation, cut).send(payment, "du_1", text=TEXT, content=b"", by=by)
    with pytest.raises(EvidenceSentError):
        await through(installation, bank).send(payment, "du_1", text=TEXT, content=b"", by=by)

    assert await sent_by(installation) == []


async def test_looking_at_a_dispute_records_the_sender_whose_answer_was_lost(
    installation: Installation,
) -> None:
    """The page shows no form any more, so that the sender could not be recorded."""
    payment, by = await disputed(installation), await clerk(installation)
    bank = Bank(fails=UNKNOWN)
    evidence = through(installation, bank)

    with pytest.raises(EvidenceOutcomeUnknownError):
        await evidence.send(payment, "du_1", text=TEXT, content=PNG, by=by)
    for _ in range(2):
        await evidence.terms(payment.id, "du_1")

    assert await sent_by(installation) == [by]
