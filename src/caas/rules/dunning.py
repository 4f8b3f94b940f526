"""Dunning policy: what follows when a month's charge is declined (Diagram 6).

In the seed, one failure cancels the subscription; that is the default. A market can configure
further charge attempts, each after some days, and days of grace after the last one (decision 25).
When the bank requires the customer's confirmation and the customer does not give it, the request is
repeated for some days (decision 70).

Rules a change must keep: the default is the seed's; only declined charges count, never charges with
an unknown outcome; requests for confirmation end.
"""

from dataclasses import dataclass
from typing import Final

DAYS_MAX: Final = 60
RETRIES_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class ChargeAgain:
    """Charge the same month again in so many days."""

    in_days: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the subscription in so many days; zero cancels at once."""

    in_days: int = 0


@dataclass(frozen=True, slots=True)
class DunningPolicy:
    """Days before each further charge, days of grace, and days before each repeated request.

    Raises:
        ValueError: a number of days is out of range, or there are too many of them.
    """

    retry_after_days: tuple[int, ...] = ()
    grace_days: int = 0
    ask_again_after_days: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        """Reject a policy that never ends."""
        days = (*self.retry_after_days, self.grace_days, *self.ask_again_after_days)
        times = max(len(self.retry_after_days), len(self.ask_again_after_days))
        if times > RETRIES_MAX or not all(0 <= d <= DAYS_MAX for d in days):
            message = f"at most {RETRIES_MAX} retries, each after at most {DAYS_MAX} days"
            raise ValueError(message)


def after_decline(policy: DunningPolicy, declines: int) -> ChargeAgain | Cancel:
    """Return what follows the n-th declined charge of a month, counted from 1."""
    assert declines >= 1, "nothing follows from a charge that was not declined"
    if declines <= len(policy.retry_after_days):
        return ChargeAgain(policy.retry_after_days[declines - 1])
    return Cancel(policy.grace_days)


def after_silence(policy: DunningPolicy, times: int) -> ChargeAgain | Cancel:
    """Return what follows when the n-th confirmation request expires unanswered, from 1."""
    assert times >= 1, "nothing follows from a request that was not let pass"
    if times <= len(policy.ask_again_after_days):
        return ChargeAgain(policy.ask_again_after_days[times - 1])
    return Cancel(policy.grace_days)
