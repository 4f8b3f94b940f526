"""What follows when a month's charge is declined: by default, what Diagram 6 draws.

The seed knows one failure: the subscription is cancelled. A market may be more patient, so the
policy is data: how many days until each further charge, and how many days the service stays on
after the last one (decision 25). The default is neither. A bank may also want the customer's word,
and customers do not wait for month end: who did not give it in time is asked again for some days
(decision 70).

Rules a change must keep: the default is the seed's; only a declined charge counts, one whose
outcome is unknown never does; asking has an end.
"""

from dataclasses import dataclass
from typing import Final

DAYS_MAX: Final = 60
RETRIES_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class ChargeAgain:
    """Charge the same month once more in so many days."""

    in_days: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the subscription in so many days; none is at once."""

    in_days: int = 0


@dataclass(frozen=True, slots=True)
class DunningPolicy:
    """The days before each further charge, then the days of grace; the days before asking again.

    Raises:
        ValueError: a number of days is no such number, or there are too many.
    """

    retry_after_days: tuple[int, ...] = ()
    grace_days: int = 0
    ask_again_after_days: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        """Refuse a policy without an end."""
        days = (*self.retry_after_days, self.grace_days, *self.ask_again_after_days)
        times = max(len(self.retry_after_days), len(self.ask_again_after_days))
        if times > RETRIES_MAX or not all(0 <= d <= DAYS_MAX for d in days):
            message = f"at most {RETRIES_MAX} retries, each after at most {DAYS_MAX} days"
            raise ValueError(message)


def after_decline(policy: DunningPolicy, declines: int) -> ChargeAgain | Cancel:
    """Say what follows the n-th declined charge of a month, counted from 1."""
    assert declines >= 1, "nothing follows from a charge that was not declined"
    if declines <= len(policy.retry_after_days):
        return ChargeAgain(policy.retry_after_days[declines - 1])
    return Cancel(policy.grace_days)


def after_silence(policy: DunningPolicy, times: int) -> ChargeAgain | Cancel:
    """Say what follows when the customer has let the n-th request to confirm pass, from 1."""
    assert times >= 1, "nothing follows from a request that was not let pass"
    if times <= len(policy.ask_again_after_days):
        return ChargeAgain(policy.ask_again_after_days[times - 1])
    return Cancel(policy.grace_days)
