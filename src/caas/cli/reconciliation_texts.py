"""What the reconciliation commands print of runs, days and discrepancies."""

from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.reconciliation_days import ReconciliationDay
from caas.reconciliation import Reconciled
from caas.reconciliation.investigation import Investigated
from caas.rules.money import Money


def row_of(found: Discrepancy) -> list[str]:
    """Return the cells of a discrepancy in a list."""
    return [
        str(found.id),
        found.kind.value,
        found.status if found.resolution is None else f"{found.status}: {found.resolution}",
        str(Money(found.amount, found.currency)),
        f"due {found.due_on}",
        f"{found.age_days} days",
        found.owner or "unassigned",
    ]


def described(looked: Investigated) -> list[str]:
    """Return the lines that show a discrepancy with all that is known of it."""
    found, line = looked.discrepancy, looked.line
    lines = ["  ".join(row_of(found))]
    if found.payment_id is not None:
        lines.append(f"payment     {found.payment_id}")
    if line is not None:
        amounts = ", ".join(
            f"{name} {Money(amount, line.currency)}"
            for name, amount in (("gross", line.gross), ("fee", line.fee), ("net", line.net))
        )
        lines.append(f"line {line.line_no:<6} {line.type} {line.transaction_id or '-'} {amounts}")
    for event in looked.events:
        stated = ", ".join(f"{name} {value}" for name, value in event.facts.items())
        lines.append(f"{event.at:%Y-%m-%d %H:%M}  {event.event} by {event.by}  {stated}")
    lines += [f"document    {it.id}  {it.name}" for it in looked.evidence]
    lines += [
        f"entry       {Money(entry.amount, found.currency)} from {entry.credit} to {entry.debit}"
        for entry in looked.entries
    ]
    lines.append(f"allowed     {', '.join(looked.allowed)}")
    if looked.refund_is_unchecked:
        lines.append("not checked whether the gateway can still refund: `resolve` asks it")
    return lines


def summary(done: Reconciled) -> list[str]:
    """Return the lines that show the result of a run."""
    counts = sorted(done.run.counts.items())
    cleared = sorted(done.run.cleared.items())
    return [
        f"{done.day.gateway}: {done.run.lines} new lines, compared by {done.run.engine}",
        *(f"{count:>8}  {name}" for name, count in counts),
        *(["open discrepancies that ended because of it:"] if cleared else []),
        *(f"{count:>8}  {name}" for name, count in cleared),
        *_notes(done),
        sentence_of(done.day),
    ]


def _notes(done: Reconciled) -> list[str]:
    late = done.run.late_of
    what = "no new lines" if late == done.day.day else f"new lines go to {done.day.day}"
    sealed = f"{late} is sealed: {what}." if late is not None else None
    return [note for note in (done.run.because, sealed) if note]


def sentence_of(day: ReconciliationDay) -> str:
    """Return a day with its verdict and the reason."""
    because = f" ({day.because})" if day.because else ""
    return f"{day.day}: {verdict_of(day)}{because}"


def verdict_of(day: ReconciliationDay) -> str:
    """Return the verdict of a day, and who sealed it."""
    return f"{day.verdict}, sealed by {day.sealed_by}" if day.sealed_by else day.verdict
