"""Evidence against a dispute, as it is sent to a Stripe that takes it once and in time."""

import asyncio
import hashlib

import pytest

from caas.external_systems.gateway_evidence import DisputeResponse, EvidenceFile, EvidenceGateway
from caas.external_systems.http import OutcomeUnknownError, RefusedByPartnerError
from caas.external_systems.stripe_gateway import StripeGateway
from tests.external_systems.stripe_answers import REQUEST
from tests.external_systems.stripe_asked import reported
from tests.external_systems.test_stripe_whole import gateway as gateway  # noqa: PLC0414  # A fixture.
from tests.external_systems.test_stripe_whole import stripe as stripe  # noqa: PLC0414  # A fixture.
from tests.simulators.stripe.stripe_client import Stripe

PDF = b"%PDF-1.7\r\n\r--x\r\n\x00\xff\n"
"""A document with what could end a part of a form."""
BOTH = DisputeResponse(
    text="The seats were on: señal 7.",
    file=EvidenceFile(media_type="application/pdf", content=PDF),
)
WEEK_SECONDS = 7 * 86_400


async def disputed(gateway: StripeGateway, stripe: Stripe, status: str = "needs_response") -> str:
    """A dispute of a captured payment."""
    held = await gateway.initiate(REQUEST, key="k")
    await gateway.capture(held.id, REQUEST.amount, key="k:capture")
    opened = await stripe.control("dispute", payment_intent=held.id, status=status)
    return str(opened["id"])


async def test_evidence_is_taken_until_its_due_date_and_sent_with_its_document(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    dispute = await disputed(gateway, stripe)

    before = await gateway.evidence_terms(dispute)
    after = await gateway.send_evidence(dispute, BOTH, key="e")
    shown = (await stripe.get(f"/v1/disputes/{dispute}")).body

    assert isinstance(gateway, EvidenceGateway)
    assert (before.is_taken, before.is_sent) == (True, False)
    assert before.due_by is not None
    assert (after.is_taken, after.is_sent) == (False, True)
    assert shown["status"] == "under_review"
    assert shown["evidence"]["uncategorized_text"] == BOTH.text
    (file,) = stripe.server.world.store.some("file")
    assert file["id"] == shown["evidence"]["uncategorized_file"]
    assert (file["type"], file["size"], file["purpose"]) == ("pdf", len(PDF), "dispute_evidence")
    assert file["_digest"] == hashlib.sha256(PDF).hexdigest()


async def test_the_same_evidence_is_sent_once_and_other_evidence_is_refused(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    dispute = await disputed(gateway, stripe)

    first, again = await asyncio.gather(
        *(gateway.send_evidence(dispute, BOTH, key="e") for _ in range(2))
    )
    with pytest.raises(RefusedByPartnerError, match="already been submitted"):
        await gateway.send_evidence(dispute, DisputeResponse(text="More.", file=None), key="f")

    shown = (await stripe.get(f"/v1/disputes/{dispute}")).body
    assert first == again
    assert (await gateway.evidence_terms(dispute)).sent_digest == BOTH.digest
    assert shown["evidence_details"]["submission_count"] == 1


async def test_evidence_after_the_due_date_is_refused(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    dispute = await disputed(gateway, stripe)
    await stripe.control("advance", seconds=WEEK_SECONDS + 1)

    with pytest.raises(RefusedByPartnerError, match="due date"):
        await gateway.send_evidence(dispute, BOTH, key="e")


@pytest.mark.parametrize("status", ["won", "lost", "under_review"])
async def test_no_evidence_is_taken_about_a_dispute_that_does_not_wait_for_it(
    gateway: StripeGateway, stripe: Stripe, status: str
) -> None:
    dispute = await disputed(gateway, stripe, status)

    assert (await gateway.evidence_terms(dispute)).is_taken is False


async def test_a_dispute_that_nobody_may_answer_has_no_due_date() -> None:
    details = {"due_by": 0, "submission_count": 0}
    answer = {"id": "du_1", "status": "needs_response", "evidence_details": details}

    terms, _ = await reported(lambda gateway: gateway.evidence_terms("du_1"), answer)  # type: ignore[attr-defined]

    assert (terms.is_taken, terms.due_by) == (False, None)


@pytest.mark.parametrize("facts", [{"id": "du_2"}, {"submission_count": 0}])
async def test_an_answer_that_shows_nothing_sent_is_not_believed(facts: dict[str, object]) -> None:
    details = {"due_by": 1_900_000_000, "submission_count": facts.get("submission_count", 1)}
    answer = {
        "id": facts.get("id", "du_1"), "status": "under_review", "evidence_details": details,
    }  # fmt: skip
    text = DisputeResponse(text="It was on.", file=None)

    with pytest.raises(OutcomeUnknownError):
        await reported(
            lambda gateway: gateway.send_evidence("du_1", text, key="e"),  # type: ignore[attr-defined]
            answer,
        )


@pytest.mark.parametrize(
    ("media_type", "content", "sentence"),
    [
        ("image/png", b"not a picture", "PDF, JPEG or PNG"),
        ("application/pdf", b"%PDF-" + b"x" * 5_000_000, "5 MB"),
    ],
)
async def test_a_document_that_stripe_does_not_take_sends_nothing(
    gateway: StripeGateway, stripe: Stripe, media_type: str, content: bytes, sentence: str
) -> None:
    dispute = await disputed(gateway, stripe)
    file = EvidenceFile(media_type=media_type, content=content)

    with pytest.raises(RefusedByPartnerError, match=sentence):
        await gateway.send_evidence(dispute, DisputeResponse(text="", file=file), key="e")

    assert (await gateway.evidence_terms(dispute)).is_taken is True
