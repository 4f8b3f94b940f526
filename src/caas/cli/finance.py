"""The finance clerk's commands for many discrepancies, claims on the provider, and agreed fees.

Rules a change must keep: those of `reconciling`; the limits of one decision hold for many, so that
what needs a second person is proposed here and approved in the console or with an account's key.
"""

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final, Literal
from uuid import UUID

import typer

from caas.billing_database.actors import Actor
from caas.billing_database.gateway_claims import GatewayClaim
from caas.cli.commands import AsJson, parse_day, print_json, print_table
from caas.cli.reconcile import (
    By,
    Note,
    discrepancies,
    reading,
    writing,
)
from caas.reconciliation import Reconciliation
from caas.reconciliation.bulk import BulkRule, ClaimStatus
from caas.reconciliation.finance_terms import FeeRefusedError
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.rules.money import Money, parse_decimal

PER_PERCENT: Final = 10_000

AnyClaimStatus = Literal["filed", "sent", "accepted", "paid", "refused"]

claims = typer.Typer(help="Claims on the provider: status, receipt, age.", no_args_is_help=True)
fees = typer.Typer(help="What the provider may keep, by method and type.", no_args_is_help=True)

BulkId = Annotated[UUID, typer.Argument(metavar="BULK", help="The rule's id.")]


@discrepancies.command(name="resolve-all")
def resolve_all(  # noqa: PLR0913  # each part of a rule
    kind: Annotated[DiscrepancyKind, typer.Argument(help="Of this kind.")],
    resolution: Annotated[Resolution, typer.Argument(help="How.")],
    *,
    note: Note,
    by: By,
    currency: Annotated[str, typer.Option(help="In this currency.")] = "EUR",
    day: Annotated[
        date | None,
        typer.Option("--date", metavar="YYYY-MM-DD", parser=parse_day, help="Of this day."),
    ] = None,
    up_to: Annotated[str | None, typer.Option(help="Up to this amount, such as 5.00.")] = None,
    as_json: AsJson = False,
) -> None:
    """Resolve all that a rule meets, or propose to when a second person must agree to the sum."""
    code = currency.upper()
    amount_max = None if up_to is None else parse_decimal(up_to, code).amount
    rule = BulkRule(kind=kind, currency=code, day=day, amount_max=amount_max)

    async def work(reconciliation: Reconciliation) -> None:
        done = await reconciliation.bulk.resolve(
            rule, resolution=resolution, note=note, by=Actor(by)
        )
        if as_json:
            print_json(done)
            return
        typer.echo(f"{done.id}: {done.met} discrepancies, {Money(done.amount, code)}")
        print_table([[f"{number:>8}", status] for status, number in sorted(done.by_status.items())])
        if done.needs_second_approver:
            typer.echo("A second person must agree: in the console, or with an account's API key.")

    writing(work)


@discrepancies.command()
def proposals(*, as_json: AsJson = False) -> None:
    """List what rules proposed and waits for a second person."""

    async def work(reconciliation: Reconciliation) -> None:
        found = await reconciliation.bulk.proposed()
        rows = [
            [str(it.id), it.kind, it.resolution, str(it.discrepancies),
             str(Money(it.amount, it.currency)), f"proposed by {it.proposed_by}", it.note]
            for it in found
        ]  # fmt: skip
        print_json(found) if as_json else print_table(rows)

    reading(work)


@discrepancies.command(name="approve-all")
def approve_all(bulk: BulkId, by: By) -> None:
    """Refused here: a person approves in the console, or with an API key of their account."""

    async def work(reconciliation: Reconciliation) -> None:
        typer.echo(f"{await reconciliation.bulk.approve(bulk, by=Actor(by))} approved")

    writing(work)


@discrepancies.command(name="reject-all")
def reject_all(bulk: BulkId, note: Note, by: By) -> None:
    """Turn down all that a rule proposed; they are open again."""

    async def work(reconciliation: Reconciliation) -> None:
        typer.echo(f"{await reconciliation.bulk.reject(bulk, note=note, by=Actor(by))} rejected")

    writing(work)


@claims.command(name="list")
def list_claims(
    status: Annotated[AnyClaimStatus | None, typer.Option(help="With this status.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Those that ended as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """List claims, the soonest due first."""

    async def work(reconciliation: Reconciliation) -> None:
        found = await reconciliation.bulk.claims(status=status, open_only=not everything)
        print_json(found) if as_json else print_table([_claim_row(it) for it in found])

    reading(work)


@claims.command()
def step(
    id_: Annotated[UUID, typer.Argument(metavar="ID", help="The discrepancy it is about.")],
    status: Annotated[ClaimStatus, typer.Argument(help="What became of it.")],
    note: Note,
    by: By,
    receipt: Annotated[str | None, typer.Option(help="The provider's receipt.")] = None,
) -> None:
    """Write down what became of a claim."""

    async def work(reconciliation: Reconciliation) -> None:
        claim = await reconciliation.bulk.claim_step(
            id_, status, receipt=receipt, note=note, by=Actor(by)
        )
        print_table([_claim_row(claim)])

    writing(work)


@fees.command(name="list")
def list_fees(
    day: Annotated[
        date | None,
        typer.Option("--date", metavar="YYYY-MM-DD", parser=parse_day, help="That hold that day."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the fees that hold; what is not listed is held against CAAS_SETTLEMENT_FEES."""

    async def work(reconciliation: Reconciliation) -> None:
        terms = reconciliation.finance_terms
        found = await terms.fees(day or await terms.today())
        rows = [
            [reconciliation.gateway_name, it.provider, it.method, it.kind,
             f"{Decimal(it.rate_ppm) / PER_PERCENT:f} %", f"+ {it.fixed}",
             f"tolerance {it.tolerance}", f"from {it.valid_from}", it.kept_by]
            for it in found
        ]  # fmt: skip
        print_json(found) if as_json else print_table(rows)

    reading(work)


@fees.command()
def keep(  # noqa: PLR0913  # each part of a fee
    *,
    by: By,
    valid_from: Annotated[
        date, typer.Option("--from", metavar="YYYY-MM-DD", parser=parse_day, help="From this day.")
    ],
    percent: Annotated[str, typer.Option(help="Of the amount, such as 1.4.")],
    provider: Annotated[
        str, typer.Option(help="Format of its reports, such as adyen; '*' is any other.")
    ] = "*",
    method: Annotated[str, typer.Option(help="Payment method; '*' is any other.")] = "*",
    kind: Annotated[str, typer.Option(help="Type of line.")] = "settlement",
    fixed: Annotated[int, typer.Option(min=0, help="A fixed part, in minor units.")] = 0,
    tolerance: Annotated[int, typer.Option(min=0, help="In minor units.")] = 0,
) -> None:
    """Keep what the provider may keep of one payment method and type of line, from a day on."""

    async def work(reconciliation: Reconciliation) -> None:
        amounts = (_millionths(percent), fixed, tolerance)
        await reconciliation.finance_terms.keep_fee(
            method, kind, valid_from, amounts, provider=provider, by=by
        )
        typer.echo(
            f"{reconciliation.gateway_name}, {provider}, {method}, {kind}: {percent} % + {fixed} "
            f"from {valid_from}"
        )

    writing(work)


def _claim_row(claim: GatewayClaim) -> list[str]:
    return [
        str(claim.discrepancy_id), claim.status, str(Money(claim.amount, claim.currency)),
        claim.receipt or "no receipt", f"due {claim.due_on}", f"{claim.age_days} days old",
        f"refusal proposed by {claim.refusal_by}" if claim.refusal_by else "",
    ]  # fmt: skip


def _millionths(percent: str) -> int:
    try:
        rate = Decimal(percent) * PER_PERCENT
    except InvalidOperation as error:
        raise FeeRefusedError from error
    if not rate.is_finite() or rate != int(rate):
        raise FeeRefusedError
    return int(rate)
