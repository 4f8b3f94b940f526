"""The hosted payment page, as a browser without script would use it."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest

from caas_simulators.payment_page_texts import TEXTS, language_of
from tests.simulators.conftest import PAGE_SECONDS
from tests.simulators.gateway_client import Gateway, Receiver, Reply

GOOD_CARD = {"number": "4242 4242 4242 4242", "expiry": "12/39", "cvc": "123"}


async def opened(gateway: Gateway, **reported: Any) -> str:
    """Initiate without a payment method; return the path of the hosted page."""
    reply = await gateway.initiate(None, **reported)
    assert (reply.status, reply.body["status"]) == (201, "requires_action")
    url = str(reply.body["hosted_page_url"])
    assert url.startswith(gateway.url)
    return url.removeprefix(gateway.url)


async def submit(gateway: Gateway, page: str, **form: str) -> Reply:
    """Submit the page's form."""
    async with gateway.session.post(
        gateway.url + page,
        data=urlencode(form).encode(),
        headers={"content-type": "application/x-www-form-urlencoded", "authorization": ""},
        allow_redirects=False,
    ) as answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Reply(answer.status, {}, headers, await answer.text())


async def state_behind(gateway: Gateway, page: str) -> dict[str, Any]:
    """Return the transaction a page is for."""
    return await gateway.find(page.removeprefix("/pay/"))


async def test_the_page_shows_who_is_paid_how_much_and_for_what(gateway: Gateway) -> None:
    page = await opened(gateway, amount=123456, description="Model <1>", reference="pay-9")

    shown = await gateway.get(page)

    assert shown.status == 200
    for text in ("CaaS", "€1,234.56", "Model &lt;1&gt;", "pay-9"):
        assert text in shown.text


@pytest.mark.parametrize(
    ("accept", "language", "amount"),
    [
        ("es-ES,es;q=0.9,en;q=0.8", "es", "1.234,56\N{NO-BREAK SPACE}€"),
        ("en-GB,en;q=0.9,es;q=0.1", "en", "€1,234.56"),
        ("ca;q=1,es;q=0.5", "es", "1.234,56\N{NO-BREAK SPACE}€"),
        ("de", "en", "€1,234.56"),
    ],
)
async def test_the_page_speaks_the_browsers_language(
    gateway: Gateway, accept: str, language: str, amount: str
) -> None:
    page = await opened(gateway, amount=123456)

    shown = await gateway.get(page, accept_language=accept)

    assert f'<html lang="{language}">' in shown.text
    assert amount in shown.text


async def test_yen_have_no_decimals(gateway: Gateway) -> None:
    page = await opened(gateway, amount=5000, currency="JPY")

    shown = await gateway.get(page)

    assert "5,000" in shown.text
    assert "5,000.00" not in shown.text


def test_both_languages_say_the_same_things() -> None:
    assert TEXTS["es"].keys() == TEXTS["en"].keys()
    for name, text in TEXTS["en"].items():
        assert text.count("{}") == TEXTS["es"][name].count("{}"), name


@pytest.mark.parametrize("accept", ["", "*", "es;q=x", ";;;,,,"])
def test_a_strange_wish_for_a_language_gets_one_of_ours(accept: str) -> None:
    assert language_of(accept) in TEXTS


async def test_every_field_has_a_label_and_nothing_runs_or_loads(gateway: Gateway) -> None:
    page = await opened(gateway)

    shown = await gateway.get(page)

    fields = re.findall(r'<(?:input|select) id="(\w+)"', shown.text)
    assert fields == ["number", "expiry", "cvc", "method"]
    assert all(f'<label for="{field}">' in shown.text for field in fields)
    assert "<script" not in shown.text
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in shown.headers["content-security-policy"]
    assert shown.headers["cache-control"] == "no-store"


async def test_the_policy_allows_the_style_and_the_way_back_only(gateway: Gateway) -> None:
    page = await opened(gateway, return_url="http://127.0.0.1:8000/back?order=1")

    policy = (await gateway.get(page)).headers["content-security-policy"]

    assert "form-action 'self' http://127.0.0.1:8000;" in policy
    assert "style-src 'sha256-" in policy


async def test_a_good_card_holds_the_funds_and_leads_back(
    gateway: Gateway, receiver: Receiver
) -> None:
    page = await opened(gateway, return_url="https://shop.example/back?order=1")

    reply = await submit(gateway, page, action="pay", **GOOD_CARD)
    await gateway.webhooks_arrived()

    assert (reply.status, reply.headers["location"]) == (303, "https://shop.example/back?order=1")
    transaction = await state_behind(gateway, page)
    assert (transaction["status"], transaction["payment_method"]) == ("authorized", "pm_ok")
    assert receiver.types == ["transaction.authorized"]


async def test_automatic_capture_follows_the_card(gateway: Gateway) -> None:
    page = await opened(gateway, capture="automatic")

    await submit(gateway, page, action="pay", **GOOD_CARD)

    assert (await state_behind(gateway, page))["status"] == "capturing"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("4000000000000002", "card_declined"),
        ("4000-0000-0000-9995", "insufficient_funds"),
        ("4000000000000069", "invalid_card_data"),
    ],
)
async def test_a_declined_card_fails_the_transaction_and_leads_back(
    gateway: Gateway, number: str, code: str
) -> None:
    page = await opened(gateway)

    reply = await submit(gateway, page, action="pay", **GOOD_CARD | {"number": number})

    assert reply.status == 303
    transaction = await state_behind(gateway, page)
    assert (transaction["status"], transaction["decline_code"]) == ("failed", code)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "4242 4242 4242 4241"),
        ("number", ""),
        ("number", "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢"),
        ("expiry", "12/20"),
        ("expiry", "13/39"),
        ("expiry", ""),
        ("cvc", "12"),
        ("cvc", "abc"),
    ],
)
async def test_what_is_mistyped_is_named_and_nothing_happens(
    gateway: Gateway, field: str, value: str
) -> None:
    page = await opened(gateway)

    reply = await submit(gateway, page, action="pay", **GOOD_CARD | {field: value})

    assert reply.status == 422
    assert 'role="alert"' in reply.text
    assert f'aria-describedby="{field}-error"' in reply.text
    assert "<title>Error" in reply.text
    assert (await state_behind(gateway, page))["status"] == "requires_action"


async def test_a_card_number_is_never_shown_again(gateway: Gateway) -> None:
    page = await opened(gateway)

    wrong = await submit(gateway, page, action="pay", **GOOD_CARD | {"cvc": ""})
    await submit(gateway, page, action="pay", **GOOD_CARD)

    for reported in (
        wrong.text,
        str(await gateway.ledger()),
        str(await state_behind(gateway, page)),
    ):
        assert "4242" not in reported.replace("4242 4242 4242 4242.", "")


async def test_the_bank_may_ask_the_customer_to_confirm(gateway: Gateway) -> None:
    page = await opened(gateway)

    asked = await submit(gateway, page, action="pay", **GOOD_CARD | {"number": "4000002500003155"})
    step = await gateway.get(page)
    confirmed = await submit(gateway, page, action="confirm")

    assert (asked.status, asked.headers["location"]) == (303, page)
    assert "Confirm your payment" in step.text
    assert confirmed.headers["location"] == "https://shop.example/back"
    assert (await state_behind(gateway, page))["status"] == "authorized"


async def test_a_customer_who_does_not_confirm_has_not_paid(gateway: Gateway) -> None:
    reply = await gateway.initiate("pm_3ds")
    assert reply.body["status"] == "requires_action"
    page = reply.body["hosted_page_url"].removeprefix(gateway.url)

    await submit(gateway, page, action="reject")

    transaction = await state_behind(gateway, page)
    assert transaction["status"] == "failed"
    assert transaction["decline_code"] == "authentication_failed"


async def test_the_confirmation_cannot_be_skipped_nor_asked_for_early(gateway: Gateway) -> None:
    card_page = await opened(gateway)
    bank_page = (await gateway.initiate("pm_3ds")).body["hosted_page_url"]
    bank_page = bank_page.removeprefix(gateway.url)

    await submit(gateway, card_page, action="confirm")
    await submit(gateway, bank_page, action="pay", **GOOD_CARD)

    assert (await state_behind(gateway, card_page))["status"] == "requires_action"
    assert (await state_behind(gateway, bank_page))["status"] == "requires_action"


@pytest.mark.parametrize("token", ["pm_ok", "pm_declined", "pm_bank_debit", "pm_3ds"])
async def test_a_test_method_can_be_chosen_instead_of_a_card(gateway: Gateway, token: str) -> None:
    page = await opened(gateway)
    expected = {
        "pm_ok": "authorized",
        "pm_declined": "failed",
        "pm_bank_debit": "pending",
        "pm_3ds": "requires_action",
    }

    await submit(gateway, page, action="pay", method=token)

    assert (await state_behind(gateway, page))["status"] == expected[token]


async def test_an_unknown_test_method_is_not_taken(gateway: Gateway) -> None:
    page = await opened(gateway)

    reply = await submit(gateway, page, action="pay", method="pm_nonsense")

    assert reply.status == 422
    assert (await state_behind(gateway, page))["status"] == "requires_action"


async def test_the_decline_button_declines(gateway: Gateway) -> None:
    page = await opened(gateway)

    await submit(gateway, page, action="decline")

    assert (await state_behind(gateway, page))["decline_code"] == "card_declined"


async def test_a_customer_who_leaves_has_not_been_declined(
    gateway: Gateway, receiver: Receiver
) -> None:
    page = await opened(gateway)

    reply = await submit(gateway, page, action="leave")
    await gateway.webhooks_arrived()

    assert reply.status == 303
    transaction = await state_behind(gateway, page)
    assert (transaction["status"], transaction["decline_code"]) == ("voided", None)
    assert transaction["void_reason"] == "customer_left"
    assert receiver.types == ["transaction.voided"]


async def test_a_page_nobody_uses_closes(gateway: Gateway, receiver: Receiver) -> None:
    page = await opened(gateway)

    await gateway.control("POST", "/advance", {"seconds": PAGE_SECONDS + 1})
    await gateway.webhooks_arrived()

    assert (await state_behind(gateway, page))["void_reason"] == "page_expired"
    assert receiver.types == ["transaction.expired"]


async def test_a_form_sent_twice_pays_once(gateway: Gateway) -> None:
    page = await opened(gateway, capture="automatic")

    await submit(gateway, page, action="pay", **GOOD_CARD)
    again = await submit(gateway, page, action="pay", **GOOD_CARD)

    assert again.status == 303
    assert (await gateway.ledger())["charges_executed"] == 1


async def test_a_finished_page_offers_no_form(gateway: Gateway) -> None:
    page = await opened(gateway)
    await submit(gateway, page, action="pay", **GOOD_CARD)

    shown = await gateway.get(page)

    assert "The payment has been accepted." in shown.text
    assert 'href="https://shop.example/back"' in shown.text
    assert "<form" not in shown.text


async def test_without_a_return_url_the_page_itself_tells_the_end(gateway: Gateway) -> None:
    page = await opened(gateway, return_url=None)

    reply = await submit(gateway, page, action="pay", **GOOD_CARD)

    assert (reply.status, reply.headers["location"]) == (303, page)


async def test_an_unknown_page_is_404(gateway: Gateway) -> None:
    shown = await gateway.get("/pay/txn_none")

    assert shown.status == 404
    assert "There is no payment at this address." in shown.text
