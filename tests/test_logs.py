"""The log: one sink, and no card number gets through it."""

import io
import json
import logging
import re
from pathlib import Path

import asyncpg
import pytest
import structlog

from caas import logs
from caas.billing_database.connection import DatabaseUnavailableError


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


class Unshowable:
    """Something whose words fail."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def endless() -> list[object]:
    """A list that holds itself."""
    found: list[object] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    "odd", ["\ud800", Unshowable(), endless(), 2**70, {1: {Unshowable()}}, b"\xff"], ids=type
)
def test_whatever_is_logged_becomes_a_line_of_json(tmp_path: Path, odd: object) -> None:
    with logs.to_file(tmp_path / "caas.log"):
        structlog.get_logger().info("odd", found=odd)

    assert json.loads((tmp_path / "caas.log").read_text("utf-8"))["event"] == "odd"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_fails_nobody_and_the_lost_lines_are_counted() -> None:
    """Four hundred of four hundred calls failed, because the line that told of each did."""
    with logs.to_file(Path("/dev/full")) as sink:
        for _ in range(1_000):
            structlog.get_logger().info("api.answered", text="x" * 100)

        assert sink.lost == 1_000


def test_lines_that_were_lost_are_told_of_once_there_is_room() -> None:
    stream = io.StringIO()
    sink = logs.Sink(stream)
    sink.lost = 3

    sink.write('{"event":"next"}\n')

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["log.lines_lost", "next"]
    assert (lines[0]["lines"], sink.lost) == (3, 0)


def test_a_closed_stream_fails_nobody() -> None:
    stream = io.StringIO()
    stream.close()
    sink = logs.Sink(stream)

    sink.write("line\n")

    assert sink.lost == 1


def test_a_part_that_is_away_is_one_line_a_second_without_a_traceback(tmp_path: Path) -> None:
    with logs.to_file(tmp_path / "caas.log"):
        for number in range(500):
            try:
                raise DatabaseUnavailableError(reason="Connection refused")
            except DatabaseUnavailableError as error:
                structlog.get_logger().error("api.failed", request_id=number, exc_info=error)

    lines = (tmp_path / "caas.log").read_text("utf-8").splitlines()
    assert json.loads(lines[0])["because"] == "Connection refused"
    assert not [line for line in lines if "Traceback" in line]
    assert len(lines) < 100


def test_what_a_library_says_is_a_line_like_any_other(tmp_path: Path) -> None:
    with logs.to_file(tmp_path / "caas.log"):
        logging.getLogger("uvicorn.error").warning("Card %s", "4242 4242 4242 4242")

    line = json.loads((tmp_path / "caas.log").read_text("utf-8"))
    assert (line["event"], line["library"]) == ("library.logged", "uvicorn.error")
    assert "4242" not in line["text"]


def test_an_outage_that_a_library_tells_of_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    """The pool logged a traceback for each connection it could not restore."""
    pool = logging.getLogger("asyncpg.pool")
    outages = (
        ConnectionRefusedError(111, "Connection refused"), TimeoutError(),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.ConnectionDoesNotExistError("closed in the middle"),
    )  # fmt: skip
    with logs.to_file(tmp_path / "caas.log"):
        for error in outages * 50:
            try:
                raise error
            except (OSError, asyncpg.PostgresError):
                pool.warning("Failed to restore the pool connection layer", exc_info=True)
        try:
            raise ValueError("a bug")
        except ValueError:
            pool.exception("odd")

    lines = [json.loads(it) for it in (tmp_path / "caas.log").read_text("utf-8").splitlines()]
    assert "Connection refused" in lines[0]["because"]
    assert [line["text"] for line in lines if "exception" in line] == ["odd"]
    assert len(lines) < 100


def test_what_a_library_repeats_is_one_line_a_second_with_the_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "REPEATED_AFTER_SECONDS", 3600.0)
    with logs.to_file(tmp_path / "caas.log"):
        for _ in range(500):
            logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        monkeypatch.setattr(logs, "REPEATED_AFTER_SECONDS", 0.0)
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")

    first, last = map(json.loads, (tmp_path / "caas.log").read_text("utf-8").splitlines())
    assert (first["text"], last["left_out"]) == ("Invalid HTTP request received.", 499)
