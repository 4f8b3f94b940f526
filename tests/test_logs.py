"""The log: one sink, and no card number gets through it."""

import json
import re
from pathlib import Path

import structlog

from caas import logs


def test_a_line_is_json_and_a_card_number_in_it_is_removed(tmp_path: Path) -> None:
    with logs.to_file(tmp_path / "caas.log"):
        structlog.get_logger().info("payment.settled", note="4242 4242 4242 4242", payment="p1")

    line = json.loads((tmp_path / "caas.log").read_text("utf-8"))
    assert (line["event"], line["payment"]) == ("payment.settled", "p1")
    assert "4242" not in line["note"]


def test_a_card_number_in_a_list_or_among_numbers_is_removed(tmp_path: Path) -> None:
    """Only texts at the top of a line were looked at."""
    with logs.to_file(tmp_path / "caas.log"):
        structlog.get_logger().info(
            "odd", found=[{"note": "4242 4242 4242 4242"}], number=4000000000000002
        )

    assert not re.search("4242|0000000002", (tmp_path / "caas.log").read_text("utf-8"))


def test_an_exception_in_the_log_carries_no_card_number(tmp_path: Path) -> None:
    with logs.to_file(tmp_path / "caas.log"):
        try:
            raise ValueError("card 4000000000000002")
        except ValueError:
            structlog.get_logger().exception("handler.failed")

    assert "4000000000000002" not in (tmp_path / "caas.log").read_text("utf-8")


def test_when_a_file_is_closed_whoever_logged_there_logs_as_before(tmp_path: Path) -> None:
    """A logger once kept to the file it had first written to, and failed when that was closed."""
    log = structlog.get_logger()
    with logs.to_file(tmp_path / "caas.log"):
        log.info("within")

    with structlog.testing.capture_logs() as lines:
        log.info("afterwards")

    assert [line["event"] for line in lines] == ["afterwards"]
    assert "afterwards" not in (tmp_path / "caas.log").read_text("utf-8")
