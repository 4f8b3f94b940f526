"""Messages become files one can read, or reach the service that apprise knows."""

import asyncio
import email
import email.policy
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from caas.errors import StartupError
from caas.external_systems.apprise_channel import AppriseChannel
from caas.external_systems.http import Secret
from caas.external_systems.local_outbox import OUTBOX, LocalOutbox, OutboxLetters
from caas.external_systems.notification_channel import (
    Attachment,
    MessageNotDeliveredError,
    NotificationChannel,
    OutgoingMessage,
)
from tests.external_systems.scripted_server import answering, http_answer, scripted_server

# apprise's own, on Python before 3.13, when it first reads its plugins.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

MESSAGE = OutgoingMessage(
    id="notify-1",
    recipient="customer@example.com",
    subject="Su servicio está activo",
    text="Asientos calefactados: 30 días.\n\nGracias.",
    written_at=datetime(2026, 11, 24, 10, tzinfo=UTC),
)
INVOICE = Attachment(name="invoice.pdf", media_type="application/pdf", content=b"%PDF-1.7 \x00")


def read(path: Path) -> email.message.EmailMessage:
    """The message in a file, as a mail program sees it."""
    parsed = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert isinstance(parsed, email.message.EmailMessage)
    return parsed


def files_in(folder: Path) -> list[Path]:
    """Everything in the outbox, hidden files included."""
    return sorted(folder.iterdir())


async def test_a_message_becomes_a_file_that_a_mail_program_reads(tmp_path: Path) -> None:
    await LocalOutbox(tmp_path / "outbox").send(replace(MESSAGE, attachments=(INVOICE,)))

    (path,) = files_in(tmp_path / "outbox")
    written = read(path)
    body = written.get_body()
    assert path.suffix == ".eml"
    assert (written["X-Recipient"], written["Subject"]) == (MESSAGE.recipient, MESSAGE.subject)
    assert body is not None
    assert body.get_content().rstrip("\n") == MESSAGE.text
    (attachment,) = written.iter_attachments()
    assert attachment.get_filename() == "invoice.pdf"
    assert attachment.get_content() == INVOICE.content


async def test_the_same_message_again_is_still_one_file(tmp_path: Path) -> None:
    outbox = LocalOutbox(tmp_path)

    await asyncio.gather(*(outbox.send(MESSAGE) for _ in range(20)))

    assert len(files_in(tmp_path)) == 1


async def test_the_oldest_messages_make_room(tmp_path: Path) -> None:
    outbox = LocalOutbox(tmp_path, messages_max=3)

    for number in range(5):
        written_at = MESSAGE.written_at + timedelta(seconds=number)
        await outbox.send(replace(MESSAGE, id=f"notify-{number}", written_at=written_at))

    assert [read(path)["X-Message-Id"] for path in files_in(tmp_path)] == [
        "notify-2",
        "notify-3",
        "notify-4",
    ]


async def test_a_full_outbox_is_not_looked_through_for_each_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder was listed and sorted with every message: a thousand made each take a second."""
    outbox = LocalOutbox(tmp_path, messages_max=50)
    looks = Mock(side_effect=os.scandir)
    monkeypatch.setattr(os, "scandir", looks)

    for number in range(120):
        await outbox.send(replace(MESSAGE, id=f"notify-{number:03}"))

    names = [read(path)["X-Message-Id"] for path in files_in(tmp_path)]
    assert 40 < len(names) <= 50
    assert names[-1] == "notify-119", "it is the oldest that make room"
    assert looks.call_count < 25


@pytest.mark.parametrize(
    "text", ["../../etc/passwd", "a/b\\c", "x" * 1_000, "\r\nBcc: all", "", "ñ\x00"]
)
async def test_nothing_in_a_message_reaches_a_path_or_a_header(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "outbox"

    await LocalOutbox(folder).send(replace(MESSAGE, id=text, subject=text, recipient=text))

    (path,) = files_in(folder)
    assert files_in(tmp_path) == [folder]
    assert "Bcc" not in read(path)


async def test_an_outbox_that_cannot_be_written_to_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    with pytest.raises(MessageNotDeliveredError) as caught:
        await LocalOutbox(blocked / "outbox").send(MESSAGE)

    assert "disk" in caught.value.sentence


async def test_apprise_reaches_its_service_with_the_recipient_in_the_address() -> None:
    async with scripted_server(answering(http_answer(b"{}"))) as server:
        channel = AppriseChannel(Secret(f"json://127.0.0.1:{server.port}/to/{{recipient}}"))
        await channel.send(MESSAGE)
        await channel.close()

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    reported = json.loads(body)
    assert b"customer" in head.split(b"\r\n")[0]
    assert (reported["title"], reported["message"]) == (MESSAGE.subject, MESSAGE.text)


async def test_a_service_with_one_address_is_told_the_recipient() -> None:
    async with scripted_server(answering(http_answer(b"{}"))) as server:
        channel = AppriseChannel(Secret(f"json://127.0.0.1:{server.port}/all"))
        await channel.send(replace(MESSAGE, attachments=(INVOICE,)))
        await channel.close()

    reported = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
    assert reported["message"].startswith("customer@example.com")
    assert len(reported["attachments"]) == 1


async def test_a_service_that_refuses_has_not_delivered() -> None:
    answer = http_answer(b"{}", status="500 Internal Server Error")
    async with scripted_server(answering(answer)) as server:
        channel = AppriseChannel(Secret(f"json://127.0.0.1:{server.port}"))
        with pytest.raises(MessageNotDeliveredError):
            await channel.send(MESSAGE)
        await channel.close()


async def test_a_service_that_hangs_has_not_delivered() -> None:
    async with scripted_server(answering(b"", hang=True)) as server:
        channel = AppriseChannel(
            Secret(f"json://127.0.0.1:{server.port}?rto=1&cto=1"), send_seconds_max=0.1
        )
        with pytest.raises(MessageNotDeliveredError):
            await channel.send(MESSAGE)
        await channel.close()


def test_an_address_apprise_does_not_know_is_refused_at_start_and_not_repeated() -> None:
    with pytest.raises(StartupError) as caught:
        AppriseChannel(Secret("carrierpigeon://user:hunter2@loft"))

    assert "hunter2" not in str(caught.value)


def test_both_are_notification_channels(tmp_path: Path) -> None:
    console: list[NotificationChannel] = [
        LocalOutbox(tmp_path),
        AppriseChannel(Secret("json://127.0.0.1")),
    ]

    assert len(console) == 2


async def test_letters_are_read_newest_first_with_their_links_whole(tmp_path: Path) -> None:
    """Quoted-printable broke the address for whoever opened the file in a browser."""
    folder = tmp_path / OUTBOX
    link = f"http://127.0.0.1:8080/access/{'a=b' * 40}"
    for second in range(3):
        at = MESSAGE.written_at + timedelta(seconds=second)
        await LocalOutbox(folder).send(
            replace(MESSAGE, id=f"m-{second}", written_at=at, text=f"Tu cuenta {second}: {link}",
                    attachments=(INVOICE,))
        )  # fmt: skip
    (folder / "somebody-elses.eml").write_text("Subject: no letter of ours\n\n")

    letters = OutboxLetters(folder)
    newest = await letters.newest(2)
    older = await letters.newest(2, before=newest[-1].name)

    assert [it.text.strip() for it in (*newest, *older)] == [
        f"Tu cuenta {second}: {link}" for second in (2, 1, 0)
    ]
    assert newest[0].attachments == (INVOICE.name,)
    assert newest[0].recipient == MESSAGE.recipient
    assert await OutboxLetters(tmp_path / "nowhere").newest(2) == []
    assert all(link.encode() in file.read_bytes() for file in folder.glob("2*.eml"))
