"""The platform's calendar: the machine's time, and the days it was made to leap.

A month has to be over before it is billed (mes vencido), and nobody waits for that at a
demonstration: the database's clock leaps, and everything that is told of is told on that calendar.

Rules a change must keep: what is noted by the machine's clock becomes a moment of the calendar here
and nowhere else; a leap goes forward only.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from caas import app


@dataclass(slots=True)
class PlatformCalendar:
    """When it leapt, by the machine's clock, and how far."""

    leaps: list[tuple[datetime, timedelta]] = field(default_factory=list)

    def now(self) -> datetime:
        """Return the moment it is on the platform's calendar."""
        return self.of(app.now())

    def of(self, machine_time: datetime) -> datetime:
        """Return which moment of the calendar it was at a moment of the machine's clock."""
        leapt = (by for since, by in self.leaps if machine_time >= since)
        return machine_time + sum(leapt, start=timedelta())

    def leap(self, by: timedelta) -> None:
        """Note that it leaps now."""
        assert by > timedelta(), "time does not go back"
        self.leaps.append((app.now(), by))
