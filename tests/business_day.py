"""The day it is where CaaS sells, which is what reports, documents and rates go by."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Madrid")


def business_day(moment: datetime | None = None) -> date:
    """Return the date in the market's zone, now or at a moment; in UTC it may be the day before."""
    return (moment or datetime.now(UTC)).astimezone(ZONE).date()
