"""Generated blocks of the documents: states, failures, retries, invariants, calls.

Rules a change must keep: a block says what the code says, in its order; it reads the same values
that are enforced, never a copy of them.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from caas.api.application import OPERATIONS
from caas.billing_database import migrations
from caas.billing_database.invariants import EVERY_INVARIANT
from caas.billing_database.schema_catalog import TRIGGER
from caas.cli.commands import ExitStatus
from caas.external_systems import adyen_refusals as adyen
from caas.external_systems import stripe_refusals as stripe
from caas.notifications import texts
from caas.rules import order_states as of_orders
from caas.rules import payment_states as of_payments
from caas.rules import refusal_codes as refusals
from caas.rules import retry_strategy as codes
from caas.rules import retry_strategy as strategy
from caas.rules import subscription_states as of_subscriptions
from caas.rules import vehicle_states as of_vehicles
from caas.rules.discrepancies import KINDS, Resolution
from caas.rules.payment_failures import consequence_of_failure, not_sent_consequence
from caas.rules.payment_types import PaymentType, row_of
from caas_lab.bench.runner import GOALS

TEXTS: Final = Path(texts.__file__).with_name("en.toml")
DECISIONS: Final = Path(__file__).resolve().parent / "decisions"
CREATED: Final = re.compile(
    r"(?P<said>(?:^-- [^\n]*\n)*)^create (?P<kind>table|view) (?P<name>\w+)", re.MULTILINE
)


def exit_statuses() -> str:
    """Show how a command can end."""
    return table(("exit status", "meaning"), [(f"{it:d}", it.meaning) for it in ExitStatus])


def payment_type_matrix() -> str:
    """Show the Payment Type Matrix with the evidence that opens each type's capture."""
    head = ("payment type", "timing", "settlement model", "risk", "impact", "captured only with")
    rows = [
        (
            kind.title, kind.timing, kind.settlement_model, kind.risk_level, kind.business_impact,
            f"`{kind.evidence_kind}`",
        )
        for kind in map(row_of, PaymentType)
    ]  # fmt: skip
    return table(head, rows)


def discrepancy_kinds() -> str:
    """Show every kind of discrepancy, what follows, and what may be decided about it."""
    rows = [
        (
            row.when, f"`{kind}`", row.follows, f"{row.due_days}",
            ", ".join(f"`{it}`" for it in Resolution if it in row.allowed),
        )
        for kind, row in KINDS.items()
    ]  # fmt: skip
    return table(("when", "kind", "effect", "days", "resolutions"), rows)


def diagram_9() -> str:
    """Draw the seed's Diagram 9, nothing added."""
    return drawn(of_payments.mermaid(beyond=False))


def payment_states() -> str:
    """Draw every arrow of a payment."""
    return drawn(of_payments.mermaid())


def payment_arrows() -> str:
    """List the states of a payment with the arrows that leave them."""
    rows = []
    for state in of_payments.PaymentState:
        leaving = [
            f"{event} → {target}"
            for source, event, target in of_payments.payment_transitions()
            if source is state
        ]
        marks = [
            name
            for name, states in (("at rest", of_payments.AT_REST), ("live", of_payments.LIVE))
            if state in states
        ]
        rows.append((state, ", ".join(marks), "<br>".join(leaving) or "none"))
    return table(("state", "kind", "transitions"), rows)


def vehicle_states() -> str:
    """Draw the states of a vehicle."""
    return drawn(of_vehicles.mermaid())


def order_states() -> str:
    """Draw the states of an order."""
    return drawn(of_orders.mermaid())


def subscription_states() -> str:
    """Draw the states of a subscription."""
    ids = {
        state: state.value.title().replace(" ", "") for state in of_subscriptions.SubscriptionState
    }
    first = ids[of_subscriptions.SubscriptionState.VERIFYING]
    lines = ["stateDiagram-v2", f"    [*] --> {first}"]
    lines += [f'    state "{state}" as {name}' for state, name in ids.items()]
    lines += [
        f'    {ids[source]} --> {ids[target]}: "{event}"'
        for source, event, target in of_subscriptions.transitions()
    ]
    return drawn("\n".join(lines))


def failure_matrix() -> str:
    """Show the leaf of Diagram 7 for every case, and what follows when nothing was sent."""
    rows = []
    for payment_type in PaymentType:
        for activated in (False, True) if payment_type is PaymentType.SERVICE else (False,):
            leaf = consequence_of_failure(payment_type, ota_already_activated=activated)
            asked = {True: "yes", False: "no"}[activated]
            rows.append(
                (
                    row_of(payment_type).title,
                    asked if payment_type is PaymentType.SERVICE else "not asked",
                    leaf,
                    not_sent_consequence(payment_type),
                )
            )
    return table(("payment type", "OTA already activated?", "failed", "never sent"), rows)


def retry_strategy() -> str:
    """Show which errors are tried again, after which waits, and what each lets us conclude."""
    rows = [
        (
            kind,
            str(len(waits)),
            ", ".join(f"{wait:g} s" for wait in waits) or "none",
            strategy.KNOWLEDGE[kind],
            strategy.CUSTOMER_IMPACT[kind],
        )
        for kind, waits in strategy.WAITS.items()
    ]
    return table(("error", "retries", "waits", "what is known", "customer impact"), rows)


def decline_codes() -> str:
    """List every code that is taken for a decline, by the row of the table it belongs to."""
    kinds = (
        ("Card declined", codes.CARD_DECLINED),
        ("Insufficient funds", codes.INSUFFICIENT_FUNDS),
        ("Invalid card data", codes.INVALID_CARD_DATA),
    )
    rows = [(kind, " ".join(f"`{code}`" for code in sorted(known))) for kind, known in kinds]
    return table(("error", "codes"), rows)


def refusal_codes() -> str:
    """List the codes that fail a payment without a decline, by class."""
    kinds = ((refusals.RefusalClass.TECHNICAL, refusals.TECHNICAL),
             (refusals.RefusalClass.OURS, refusals.OURS))  # fmt: skip
    rows = [
        (kind, refusals.MEANING[kind], " ".join(f"`{code}`" for code in sorted(known)))
        for kind, known in kinds
    ]
    return table(("class", "meaning", "codes"), rows)


def stripe_refusals() -> str:
    """List Stripe's codes with what a payment records and its class."""
    return _refusals_of(sorted(stripe.REFUSALS.items()))


def adyen_refusals() -> str:
    """List Adyen's codes with what a payment records and its class."""
    return _refusals_of([(f"{code} {text}", recorded) for code, text, recorded in adyen.REFUSALS])


def _refusals_of(given: Sequence[tuple[str, str]]) -> str:
    rows = [
        (f"`{theirs}`", f"`{recorded}`", str(refusals.refusal_class(recorded)))
        for theirs, recorded in given
    ]
    return table(("code", "recorded", "class"), rows)


def tables() -> str:
    """List the tables and views of the Billing Database with what guards each of them."""
    rows = []
    for name, sql in migrations.files().items():
        guards: dict[str, list[str]] = {}
        for found in TRIGGER.finditer(sql):
            guards.setdefault(found["table"], []).append(f"`{found['trigger']}`")
        for made in CREATED.finditer(sql):
            stated = " ".join(line[3:] for line in made["said"].splitlines())
            kept = ", ".join(guards.get(made["name"], ()))
            rows.append((f"`{made['name']}`", name.removesuffix(".sql"), stated, kept))
    return table(("table or view", "migration", "content", "triggers"), rows)


def invariants() -> str:
    """List the invariants of the whole database."""
    return table(
        ("invariant", "always true"),
        [(f"`{invariant.name}`", invariant.sentence) for invariant in EVERY_INVARIANT],
    )


def calls() -> str:
    """List every call of the API with the scopes that may make it."""
    rows = []
    for operation in OPERATIONS:
        scopes = ", ".join(sorted(operation.scopes)) or "any key"
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", operation.path)
        rows.append(
            (
                f"`{operation.id}`",
                f"`{operation.method} {path}`",
                scopes if operation.needs_key else "no key",
            )
        )
    return table(("call", "route", "scopes"), rows)


def notifications() -> str:
    """List the notifications: every template with its title and the facts it needs."""
    english = tomllib.loads(TEXTS.read_text("utf-8"))
    rows = [
        (f"`{template}`", f"`{english[template]['title']}`", ", ".join(sorted(facts)))
        for template, facts in texts.TEMPLATES.items()
    ]
    return table(("template", "title", "facts"), rows)


def goals() -> str:
    """List what `./caas bench` measures."""
    return table(
        ("goal", "what is measured", "against", "aim"),
        [
            (
                f"`{name}`", goal.what, goal.theirs,
                f"{'at most' if goal.at_most else 'at least'} {goal.aim}",
            )
            for name, goal in GOALS.items()
        ],
    )  # fmt: skip


def decisions() -> str:
    """List the decision records by number and title."""
    records = sorted(DECISIONS.glob("[0-9]*.md"))
    titles = [(record.name, record.read_text("utf-8").partition("\n")[0]) for record in records]
    return "\n".join(f"- [{title.lstrip('# ')}]({name})" for name, title in titles)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    return "\n".join([row(head), f"|{'---|' * len(head)}", *map(row, rows)])


def row(cells: Sequence[str]) -> str:
    """Write a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def drawn(mermaid: str) -> str:
    """Fence a Mermaid diagram."""
    return f"```mermaid\n{mermaid.strip()}\n```"
