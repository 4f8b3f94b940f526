"""Telling, alerting, sending and reading, against a real PostgreSQL and a recording channel."""

import asyncio
import dataclasses
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from caas.billing_database import erasure_rows
from caas.billing_database.connection import Connection, Database
from caas.billing_database.customers import Customers
from caas.billing_database.identifiers import new_id
from caas.billing_database.tables import BillingDatabase, opened
from caas.errors import RefusedError
from caas.external_systems.notification_channel import MessageNotDeliveredError, OutgoingMessage
from caas.jobs import JobQueue
from caas.notifications import NOTIFY, OPERATIONS, Notifications
from caas.notifications.texts import MissingFactError
from caas.rules.time_scale import TimeScale
from tests.databases import jobs_left

PACE = TimeScale(100_000)
FACTS = {"service": "heated-seats", "vin": "VIN1", "amount": 1299, "currency": "EUR"}


class Channel:
    """A channel that keeps what it was given, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.sent: list[OutgoingMessage] = []
        self.failures: list[Exception] = []

    async def send(self, message: OutgoingMessage) -> None:
        if self.failures:
            raise self.failures.pop()
        self.sent.append(message)

    async def forget(self, message_ids: frozenset[str]) -> None:
        """Keep it no longer."""
        self.sent = [one for one in self.sent if one.id not in message_ids]

    async def close(self) -> None:
        """Nothing is held open."""


@dataclasses.dataclass
class Post:
    """Everything around the notifications of one test."""

    tables: BillingDatabase
    channel: Channel
    notifications: Notifications
    jobs: JobQueue

    async def work(self) -> None:
        """Work until nothing is left to send, however often the channel failed."""
        while await jobs_left(self.tables.database, NOTIFY):
            await self.jobs.run_due()

    async def notify(self, customer: UUID, subject: UUID, **changes: object) -> bool:
        reported = {"audience": "customer", "recipient": customer, "template": "service_active",
                "facts": FACTS, "subject": subject, **changes}  # fmt: skip
        return await self.notifications.notify(**reported)  # type: ignore[arg-type]


@pytest.fixture
async def post(database: Database) -> Post:
    """A post office with no customer yet."""
    tables, channel = opened(database), Channel()
    notifications = Notifications(
        tables=tables, channel=channel,
        zone=ZoneInfo("Europe/Madrid"),
    )  # fmt: skip
    jobs = JobQueue(tables.jobs, tables.cases, PACE)
    notifications.register(jobs)
    return Post(tables, channel, notifications, jobs)


async def customer_of(post: Post, language: str = "es") -> UUID:
    customer = new_id()
    await Customers(post.tables.database).add(
        customer, name="Ana", email="ana@example.com", language=language
    )
    return customer


async def test_a_customer_is_told_in_the_customers_language(post: Post) -> None:
    customer = await customer_of(post, language="en")

    await post.notify(customer, new_id())
    await post.work()

    (message,) = post.channel.sent
    assert (message.recipient, message.subject) == ("ana@example.com", "Service active")
    assert message.text.startswith("Hello Ana,\n\nService heated-seats is active")
    assert "€12.99" in message.text


async def test_the_same_is_sent_once_however_many_tell_it(post: Post) -> None:
    customer, subject = await customer_of(post), new_id()

    answers = await asyncio.gather(*(post.notify(customer, subject) for _ in range(20)))
    await post.work()
    again = await post.notify(customer, subject)

    assert (sum(answers), again) == (1, False)
    assert len(post.channel.sent) == 1


async def test_nothing_is_told_of_what_was_rolled_back(post: Post) -> None:
    customer = await customer_of(post)

    async def told_then_undone(connection: Connection) -> None:
        await post.notify(customer, new_id(), within=connection)
        raise RefusedError

    with pytest.raises(RefusedError):
        await post.tables.database.in_transaction(told_then_undone)

    await post.work()
    assert post.channel.sent == []
    assert await post.notifications.inbox(customer) == []


async def test_a_channel_that_is_down_is_tried_until_it_answers(post: Post) -> None:
    customer = await customer_of(post)
    post.channel.failures = [MessageNotDeliveredError() for _ in range(11)]

    await post.notify(customer, new_id())
    await post.work()

    assert len(post.channel.sent) == 1
    assert await post.tables.cases.listed() == []


async def test_what_is_not_delivered_for_long_is_a_case_and_goes_on(post: Post) -> None:
    customer = await customer_of(post)
    post.channel.failures = [MessageNotDeliveredError("No such mailbox.") for _ in range(14)]

    await post.notify(customer, new_id())
    await post.work()

    (case,) = await post.tables.cases.listed()
    assert "12 attempts: No such mailbox." in case.sentence
    assert len(post.channel.sent) == 1


async def test_an_erased_customer_is_sent_nothing(post: Post) -> None:
    customer = await customer_of(post)
    await post.notify(customer, new_id())
    async with post.tables.database.transaction() as connection:
        await erasure_rows.clear(customer, within=connection)

    await post.work()

    assert post.channel.sent == []
    (entry,) = await post.notifications.inbox(customer)
    assert entry.sent_at is None


async def test_no_name_and_no_address_is_stored(post: Post) -> None:
    customer = await customer_of(post)
    await post.notify(customer, new_id())
    await post.work()

    rows = await post.tables.database.fetch("select n::text as row from notifications n")

    assert not any("Ana" in row["row"] or "example.com" in row["row"] for row in rows)


async def test_an_access_link_is_forgotten_once_it_was_sent(post: Post) -> None:
    customer, link = await customer_of(post), {"access_url": "https://caas.example/enter/s3cret"}
    await post.notify(customer, new_id(), template="access_credentials", facts=link)

    await post.work()

    assert "https://caas.example/enter/s3cret" in post.channel.sent[0].text
    rows = await post.tables.database.fetch("select n::text as row from notifications n")
    (entry,) = await post.notifications.inbox(customer)
    assert "s3cret" not in rows[0]["row"]
    assert "con el enlace que le hemos enviado." in entry.text


async def test_the_inbox_shows_the_newest_first_and_forgets_no_page(post: Post) -> None:
    customer, other = await customer_of(post), await customer_of(post)
    subjects = [new_id() for _ in range(3)]
    for subject in subjects:
        await post.notify(customer, subject)
    await post.notify(other, subjects[0])

    entries = await post.notifications.inbox(customer)
    older = await post.notifications.inbox(customer, before=entries[0].id)

    assert [entry.subject for entry in entries] == subjects[::-1]
    assert older == entries[1:]
    assert entries[0].title == "Servicio activo"


async def test_only_the_recipient_marks_a_notification_read(post: Post) -> None:
    customer, other = await customer_of(post), await customer_of(post)
    await post.notify(customer, new_id())
    await post.notify(customer, new_id())
    newest = (await post.notifications.inbox(customer))[0]

    theirs = await post.notifications.mark_read(other, notification_id=newest.id)
    mine = await post.notifications.mark_read(customer, notification_id=newest.id)

    assert (theirs, mine) == (0, 1)
    assert await post.notifications.unread(customer) == 1
    assert len(await post.notifications.inbox(customer, unread_only=True)) == 1
    assert await post.notifications.mark_read(customer) == 1
    assert await post.notifications.unread(customer) == 0


async def test_a_dealership_is_told_by_its_name(post: Post) -> None:
    facts = {"order": "o-1", "amount": 50000, "currency": "EUR"}

    await post.notify(new_id(), new_id(), audience="dealership", recipient="Madrid Norte",
                    template="reservation_complete", facts=facts)  # fmt: skip
    await post.work()

    (message,) = post.channel.sent
    assert message.recipient == "Madrid Norte"
    assert await post.notifications.inbox("Madrid Norte", audience="dealership")


async def test_a_missing_fact_is_an_error_where_it_is_told(post: Post) -> None:
    with pytest.raises(MissingFactError, match="service_active is missing currency, vin"):
        await post.notify(await customer_of(post), new_id(), facts={"service": "x", "amount": 1})


async def test_an_alert_opens_a_case_and_reaches_operations_once(post: Post) -> None:
    subject = new_id()

    first = await post.notifications.alert("gateway_unreachable", subject, "No answer.")
    second = await post.notifications.alert("gateway_unreachable", subject, "Still none.")
    await post.work()

    assert (first, second) == (True, False)
    (message,) = post.channel.sent
    assert (message.recipient, message.subject) == (OPERATIONS, "Alerta: gateway_unreachable")
    (case,) = await post.tables.cases.listed()
    assert (case.subject, case.sentence) == (subject, "No answer.")


async def test_an_alert_is_told_again_after_its_case_was_resolved(post: Post) -> None:
    subject = new_id()
    await post.notifications.alert("gateway_unreachable", subject, "No answer.")
    (case,) = await post.tables.cases.listed()
    await post.tables.cases.resolve(case.id, resolution="restarted", owner="ops")

    again = await post.notifications.alert("gateway_unreachable", subject, "No answer again.")

    assert again
    assert len(await post.notifications.inbox(OPERATIONS, audience=OPERATIONS)) == 2


async def test_an_alert_without_case_is_sent_once(post: Post) -> None:
    subject = new_id()

    answers = [
        await post.notifications.alert("month_billed", subject, "Done.", case=False)
        for _ in range(2)
    ]

    assert answers == [True, False]
    assert await post.tables.cases.listed() == []


async def test_no_card_number_reaches_an_alert(post: Post) -> None:
    await post.notifications.alert("odd_answer", new_id(), "It said 4111 1111 1111 1111.")

    (case,) = await post.tables.cases.listed()
    assert "4111" not in case.sentence


async def test_messages_call_services_by_their_names(post: Post) -> None:
    """Customers were told that "heated-seats" was active, and of orders by their ids."""
    await post.tables.database.fetch(
        "insert into services (code, name, kind, currency, updated_at)"
        " values ('heated-seats', 'Heated seats', 'one_time', 'EUR', db_now())"
    )
    customer = await customer_of(post)

    await post.notify(customer, new_id())
    await post.work()

    (message,) = post.channel.sent
    (reported,) = await post.notifications.inbox(customer)
    assert "El servicio Heated seats está activo" in message.text
    assert "heated-seats" not in reported.text
