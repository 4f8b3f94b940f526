"""Finance commands: bulk resolution of discrepancies, claims on the provider, and agreed fees.

Rule a change must keep: the approval limit applies to the total of a bulk resolution.
"""

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final, Literal
from uuid import UUID

import typer

from caas.billing_database.accounts import Actor
from caas.billing_database.gateway_claims import GatewayClaim
from caas.cli.commands import AsJson, By, parse_day, print_json, print_table
from caas.cli.reconcile import (
    Gateway,
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

AnyClaimStatus = Literal["filed", "sent", "accepted", "paid", "refused", "withdrawn"]

claims = typer.Typer(help="Claims on the provider.", no_args_is_help=True)
fees = typer.Typer(
    help="Agreed provider fees, by payment method and transaction type.", no_args_is_help=True
)

BulkId = Annotated[UUID, typer.Argument(metavar="BULK", help="ID of the bulk resolution.")]


@discrepancies.command(name="resolve-all")
def resolve_all(  # noqa: PLR0913  # each part of a rule
    kind: Annotated[DiscrepancyKind, typer.Argument(help="Only this kind.")],
    resolution: Annotated[Resolution, typer.Argument(help="How.")],
    *,
    note: Note,
    by: By,
    currency: Annotated[str, typer.Option(help="Only this currency.")] = "EUR",
    day: Annotated[
        date | None,
        typer.Option("--date", metavar="YYYY-MM-DD", parser=parse_day, help="Only this day."),
    ] = None,
    up_to: Annotated[
        str | None, typer.Option(help="Only up to this amount, for example 5.00.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Resolve all matching discrepancies, or propose it if the total needs a second approver."""
    code = currency.upper()
    amount_max = None if up_to is None else parse_decimal(up_to, code).amount
    rule = BulkRule(kind=kind, currency=code, day=day, amount_max=amount_max)

    async def operation(reconciliation: Reconciliation) -> None:
        done = await reconciliation.bulk.resolve(
            rule, resolution=resolution, note=note, by=Actor(by)
        )
        if as_json:
            print_json(done)
            return
        typer.echo(f"{done.id}: {done.met} discrepancies, {Money(done.amount, code)}")
        print_table([[f"{number:>8}", status] for status, number in sorted(done.by_status.items())])
        _print_left(done.left)
        if done.needs_second_approver:
            typer.echo(
                "A second person must approve this in the console or with an API "
                "key of their account."
            )

    writing(operation)


@discrepancies.command()
def proposals(*, as_json: AsJson = False) -> None:
    """List bulk resolutions that await a second approver."""

    async def operation(reconciliation: Reconciliation) -> None:
        found = await reconciliation.bulk.proposed()
        rows = [
            [str(it.id), it.kind, it.resolution, str(it.discrepancies),
             str(Money(it.amount, it.currency)), f"proposed by {it.proposed_by}", it.note]
            for it in found
        ]  # fmt: skip
        print_json(found) if as_json else print_table(rows)

    reading(operation)


@discrepancies.command(name="approve-all")
def approve_all(bulk: BulkId, by: By) -> None:
    """Always refused: approve in the console or with an API key of your account."""

    async def operation(reconciliation: Reconciliation) -> None:
        done = await reconciliation.bulk.approve(bulk, by=Actor(by))
        typer.echo(f"{done.decided} approved")
        _print_left(done.left)

    writing(operation)


@discrepancies.command(name="reject-all")
def reject_all(bulk: BulkId, note: Note, by: By) -> None:
    """Reject a proposed bulk resolution; its discrepancies are open again."""

    async def operation(reconciliation: Reconciliation) -> None:
        typer.echo(f"{await reconciliation.bulk.reject(bulk, note=note, by=Actor(by))} rejected")

    writing(operation)


@claims.command(name="list")
def list_claims(
    status: Annotated[AnyClaimStatus | None, typer.Option(help="Only this status.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Include closed claims.")] = False,
    as_json: AsJson = False,
) -> None:
    """List claims, earliest due date first."""

    async def operation(reconciliation: Reconciliation) -> None:
        found = await reconciliation.bulk.claims(status=status, open_only=not everything)
        print_json(found) if as_json else print_table([_claim_row(it) for it in found])

    reading(operation)


@claims.command()
def step(
    id_: Annotated[UUID, typer.Argument(metavar="ID", help="ID of the discrepancy.")],
    status: Annotated[ClaimStatus, typer.Argument(help="The new status.")],
    note: Note,
    by: By,
    receipt: Annotated[str | None, typer.Option(help="The provider's receipt.")] = None,
) -> None:
    """Update the status of a claim."""

    async def operation(reconciliation: Reconciliation) -> None:
        claim = await reconciliation.bulk.claim_step(
            id_, status, receipt=receipt, note=note, by=Actor(by)
        )
        print_table([_claim_row(claim)])

    writing(operation)


@fees.command(name="list")
def list_fees(
    day: Annotated[
        date | None,
        typer.Option(
            "--date", metavar="YYYY-MM-DD", parser=parse_day, help="Fees in effect on this day."
        ),
    ] = None,
    gateway: Gateway = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the fees in effect.

    CAAS_SETTLEMENT_FEES applies to everything else of the gateway of new payments.
    """

    async def operation(reconciliation: Reconciliation) -> None:
        one = reconciliation.of(gateway)
        terms = one.finance_terms
        found = await terms.fees(day or await terms.today())
        rows = [
            [one.gateway, it.provider, it.method, it.kind,
             f"{Decimal(it.rate_ppm) / PER_PERCENT:f} %", f"+ {it.fixed}",
             f"tolerance {it.tolerance}", f"from {it.valid_from}", it.kept_by]
            for it in found
        ]  # fmt: skip
        print_json(found) if as_json else print_table(rows)

    reading(operation)


@fees.command()
def keep(  # noqa: PLR0913  # each part of a fee
    *,
    by: By,
    valid_from: Annotated[
        date,
        typer.Option("--from", metavar="YYYY-MM-DD", parser=parse_day, help="First day in effect."),
    ],
    percent: Annotated[str, typer.Option(help="Percentage of the amount, for example 1.4.")],
    provider: Annotated[
        str, typer.Option(help="Report format, for example adyen; '*' matches any.")
    ] = "*",
    method: Annotated[str, typer.Option(help="Payment method; '*' matches any.")] = "*",
    kind: Annotated[str, typer.Option(help="Transaction type.")] = "settlement",
    fixed: Annotated[int, typer.Option(min=0, help="Fixed part, in minor units.")] = 0,
    tolerance: Annotated[int, typer.Option(min=0, help="Tolerance, in minor units.")] = 0,
    gateway: Gateway = None,
) -> None:
    """Set the agreed fee for a payment method and transaction type from a day on."""

    async def operation(reconciliation: Reconciliation) -> None:
        amounts = (_millionths(percent), fixed, tolerance)
        one = reconciliation.of(gateway)
        await one.finance_terms.keep_fee(
            method, kind, valid_from, amounts, provider=provider, by=by
        )
        typer.echo(
            f"{one.gateway}, {provider}, {method}, {kind}: {percent} % + {fixed} from {valid_from}"
        )

    writing(operation)


def _print_left(left: list[UUID]) -> None:
    for one in left:
        typer.echo(f"left, not possible for it: {one}")


def _claim_row(claim: GatewayClaim) -> list[str]:
    return [
        str(claim.discrepancy_id), claim.status, str(Money(claim.amount, claim.currency)),
        claim.receipt or "no receipt", f"due {claim.due_on}", f"{claim.age_days} days",
        f"refusal proposed by {claim.refusal_by}" if claim.refusal_by else "",
    ]  # fmt: skip


def _millionths(percent: str) -> int:
    try:
        rate = Decimal(percent) * PER_PERCENT
    except InvalidOperation as error:
        raise FeeRefusedError(
            f"'{percent[:40]}' is no percentage: write it with a point, for example 1.4."
        ) from error
    if not rate.is_finite():
        raise FeeRefusedError(f"'{percent[:40]}' is no percentage.")
    if rate != int(rate):
        raise FeeRefusedError(f"'{percent[:40]}' has more than four decimals.")
    return int(rate)
