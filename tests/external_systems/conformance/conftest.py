"""A broker of each test's own, for the cases of fleets."""

from tests.mqtt_broker import broker as broker  # noqa: PLC0414  # A fixture.
