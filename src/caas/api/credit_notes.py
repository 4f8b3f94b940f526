"""Corrections of documents: credit notes, documents issued again, and their approval.

A credit note refunds what was paid; for a written-off amount, and for a document that is issued
again, no money moves. The response says which applies.
"""

from typing import Final, Literal

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import BodyOf, refuse_personal_data
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.invoices import (
    BILLERS,
    PATH,
    TAG,
    InvoiceSummary,
    ProposalAnswer,
    address_of,
    proposal_of,
    summary_of,
)
from caas.api.operation import Operation
from caas.api.ownership import refuse_narrowed
from caas.api.problems import Problem
from caas.api.reconciliation import NO_CONTENT
from caas.api.texts import PositiveAmount, Reason
from caas.billing.credit_notes import Correction
from caas.billing.reissues import REISSUE as REISSUED
from caas.rules.scopes import Scope
from caas.web.response import Response, json_response


class CreditNoteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reason and the amount including tax; without an amount, everything that is left.

    `term` says what happens to a running one-time service once nothing is left paid for it.
    """

    reason: Reason
    amount: PositiveAmount | None = None
    term: Literal["end", "keep"] | None = None


class ReissueBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why the document is issued again; the reason is printed on its credit note."""

    reason: Reason


class CreditNoteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A credit note, issued or proposed; `moves_money` says whether it is refunded.

    `replacement` is the new document where the corrected one was issued again.
    """

    moves_money: bool
    credit_note: InvoiceSummary | None
    proposal: ProposalAnswer | None
    replacement: InvoiceSummary | None = None


CORRECTION: Final = BodyOf(CreditNoteBody)
REISSUE: Final = BodyOf(ReissueBody)


async def issue_credit_note(api: Api, call: Call) -> Response:
    """Issue a credit note and refund what was paid. Above the limit, a second person must approve.

    201 returns the credit note, 202 a proposal that awaits approval.
    """
    body = CORRECTION.read(call.body)
    refuse_narrowed(call.by)

    async def correct() -> Response:
        invoice = await api.platform.invoices.invoice(call.ids["invoice_id"])
        await refuse_personal_data(api.platform, invoice.customer, body.reason)
        done = await api.platform.invoices.credit_notes.correct(
            invoice.id, reason=body.reason, gross=body.amount, term=body.term, by=call.by.actor
        )
        return _corrected(done)

    return await once(api.platform.tables.keys, call, body, correct)


async def reissue_invoice(api: Api, call: Call) -> Response:
    """Issue a document again to its customer's present billing details, with a credit note.

    The amounts, the tax and the day of supply stay, and no money moves. 201 returns both documents,
    202 a proposal that awaits approval (`approveCreditNote`).
    """
    body = REISSUE.read(call.body)
    refuse_narrowed(call.by)

    async def reissue() -> Response:
        invoice = await api.platform.invoices.invoice(call.ids["invoice_id"])
        await refuse_personal_data(api.platform, invoice.customer, body.reason)
        return _corrected(
            await api.platform.invoices.credit_notes.reissue(
                invoice.id, reason=body.reason, by=call.by.actor
            )
        )

    return await once(api.platform.tables.keys, call, body, reissue)


async def approve_credit_note(api: Api, call: Call) -> Response:
    """Approve a proposed credit note as the second person. It is then issued and refunded."""
    body = NO_CONTENT.read(call.body)
    refuse_narrowed(call.by)

    async def agree() -> Response:
        return _corrected(
            await api.platform.invoices.credit_notes.agree(call.ids["invoice_id"], by=call.by.actor)
        )

    return await once(api.platform.tables.keys, call, body, agree)


async def reject_credit_note(api: Api, call: Call) -> Response:
    """Withdraw or reject a proposed credit note."""
    body = NO_CONTENT.read(call.body)
    refuse_narrowed(call.by)

    async def reject() -> Response:
        await api.platform.invoices.credit_notes.withdraw(call.ids["invoice_id"], by=call.by.actor)
        to_response = CreditNoteAnswer(moves_money=False, credit_note=None, proposal=None)
        return json_response(200, to_response)

    return await once(api.platform.tables.keys, call, body, reject)


def _corrected(done: Correction) -> Response:
    note = done.note
    if note is None:
        assert done.proposal is not None, "a correction is issued or proposed"
        proposed = CreditNoteAnswer(
            moves_money=done.proposal.term != REISSUED, credit_note=None,
            proposal=proposal_of(done.proposal),
        )  # fmt: skip
        return json_response(202, proposed)
    issued = CreditNoteAnswer(
        moves_money=note.refund is not None, credit_note=summary_of(note), proposal=None,
        replacement=summary_of(done.replacement) if done.replacement else None,
    )  # fmt: skip
    return json_response(201, issued, (b"location", address_of(note.id).encode()))


CREDIT_NOTE_OPERATIONS: Final = (
    Operation(
        id="issueCreditNote", tag=TAG, method="POST", path=f"{PATH}/credit-notes",
        scopes=BILLERS, body=CORRECTION, handle=issue_credit_note,
        answers={201: CreditNoteAnswer, 202: CreditNoteAnswer, 404: Problem, 409: Problem},
    ),
    Operation(
        id="reissueInvoice", tag=TAG, method="POST", path=f"{PATH}/reissues", scopes=BILLERS,
        body=REISSUE, handle=reissue_invoice,
        answers={201: CreditNoteAnswer, 202: CreditNoteAnswer, 404: Problem, 409: Problem},
    ),
    Operation(
        id="approveCreditNote", tag=TAG, method="POST", path=f"{PATH}/credit-notes/approval",
        scopes=frozenset({Scope.OPERATIONS}), body=NO_CONTENT, handle=approve_credit_note,
        answers={201: CreditNoteAnswer, 404: Problem, 409: Problem},
    ),
    Operation(
        id="rejectCreditNote", tag=TAG, method="POST", path=f"{PATH}/credit-notes/rejection",
        scopes=BILLERS, body=NO_CONTENT, handle=reject_credit_note,
        answers={200: CreditNoteAnswer, 404: Problem, 409: Problem},
    ),
)  # fmt: skip
