"""How a stranger writes what the interface leaves open: two of them, as unlike as may be.

Rule: nothing here is of the platform; only what docs/integrating.md says is kept to.
"""

import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

MADRID_IN_WINTER = timezone(timedelta(hours=1))
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """One stranger's ways."""

    name: str
    new_id: Callable[[str], str]
    instant: Callable[[datetime], str]
    done_status: int
    says_null: bool
    says_more: bool
    webhook_first: bool
    one_id_for_both: bool
    plain_not_found: bool
    funds_expire: bool
    in_progress_first: bool
    lines_per_page: int
    answer_seconds: float = 0.0
    more: dict[str, Any] = field(default_factory=dict)

    def written(self, **fields: Any) -> dict[str, Any]:
        """Return an object as this stranger writes it."""
        reported = {
            key: value for key, value in fields.items() if self.says_null or value is not None
        }
        return {**self.more, **reported} if self.says_more else reported


def _whole_seconds(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _to_the_nanosecond(moment: datetime) -> str:
    local = moment.astimezone(MADRID_IN_WINTER)
    return local.strftime("%Y-%m-%dT%H:%M:%S.%f789+01:00")


TERSE = Manners(
    name="terse",
    new_id=lambda _: uuid.uuid4().hex,
    instant=_whole_seconds,
    done_status=200,
    says_null=False,
    says_more=False,
    webhook_first=False,
    one_id_for_both=False,
    plain_not_found=True,
    funds_expire=False,
    in_progress_first=False,
    lines_per_page=1_000,
)
CHATTY = Manners(
    name="chatty",
    new_id=lambda kind: f"{kind.upper()}/2026~{next(_numbers):06}+A==",
    instant=_to_the_nanosecond,
    done_status=201,
    says_null=True,
    says_more=True,
    webhook_first=True,
    one_id_for_both=True,
    plain_not_found=False,
    funds_expire=True,
    in_progress_first=True,
    lines_per_page=1,
    answer_seconds=0.2,
    more={"object": "thing", "livemode": False, "metadata": {"tags": ["a", 1, None]}},
)
