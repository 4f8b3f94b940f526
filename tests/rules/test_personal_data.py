"""What tells of a person and what does not (decision 92)."""

import pytest

from caas.rules.personal_data import (
    MASK,
    gives_free_reasons,
    identifies_a_person,
    masked,
    may_spell_a_name,
    reason_code,
    without_personal_data,
    without_personal_fields,
)


@pytest.mark.parametrize(
    "text",
    [
        "for Ana Ruiz, please", "ANA RUIZ", "ask ana@example.com", "call +34 612 345 678",
        "0034612345678", "612 345 678", "612 34 56 78", "+44 (20) 7946-0958",
        "trip:ana.ruiz", "Zebul7a Quix8b",
        "Quix8b, Zebul7a", "as Quintanilla said", "ANA-RUIZ_7", "anaruiz77",
        "Ruiz, Ana", "Aná Rúiz", "ana%40example.com",
    ],
)  # fmt: skip
def test_names_addresses_and_telephone_numbers_tell_of_a_person(text: str) -> None:
    names = ("Ana Ruiz", "Zebul7a Quix8b", "Zoe Quintanilla")
    assert any(identifies_a_person(text, name=it, email="ana@example.com") for it in names)


@pytest.mark.parametrize(
    "text",
    [
        "desistimiento", "ana ruizado", "banana.ruiz", "ana", "invoice 2026-000123",
        "30 days at 12.99 EUR",
        "2026-11-28T17:00:00+01:00", "01a20737-8baa-7443-b3c7-3e6890dce6ea", "WVWZZZ1JZXW000001",
        "goodwill", "settlement 20261128-0001", "123456789012", "", "at the dealership",
    ],
)  # fmt: skip
def test_ids_amounts_and_moments_tell_of_nobody(text: str) -> None:
    assert not identifies_a_person(text, name="Ana Ruiz", email="ana@example.com")


def test_a_customer_who_was_erased_has_nothing_to_be_told() -> None:
    assert not identifies_a_person("for Ana Ruiz", name=None, email=None)


def test_a_very_short_name_is_part_of_other_words() -> None:
    assert not identifies_a_person("Li is here", name="Li", email="li@example.com")


def test_what_partners_tell_is_kept_without_who_somebody_is() -> None:
    reported = {
        "id": "evt_1",
        "data": {
            "amount": 1299, "billing_details": {"name": "Ana"}, "email": "ana@example.com",
            "lines": [{"description": "for ana@example.com", "phone": "1"}],
        },
    }  # fmt: skip

    assert without_personal_data(reported) == {
        "id": "evt_1", "data": {"amount": 1299, "lines": [{"description": "for [removed]"}]},
    }  # fmt: skip
    assert masked("from <ana@example.com>") == "from <[removed]>"
    cut = (
        '{"id": "txn_1", "shipping": {"address": {"city": "Lugo"}, "line": "Rua 1"}, "n": "+34 612'
    )
    assert without_personal_fields(cut + ' 345 678", "name": "An') == (
        '{"id": "txn_1", [removed], "n": "[removed]", [removed]'
    )


@pytest.mark.parametrize(
    "reason", ["", "fraudulent", "product_not_received", "10.4", "4853", "AC04", "UA02"]
)
def test_a_gateways_code_of_a_reason_is_kept(reason: str) -> None:
    assert reason_code(reason) == reason
    assert not gives_free_reasons(f'{{"reason":"{reason}"}}')


@pytest.mark.parametrize("reason", ["cardholder Ana Quix", "quix", "ana_quix", "10.4 Ana"])
def test_whatever_else_a_gateway_writes_as_a_reason_is_not_kept(reason: str) -> None:
    assert reason_code(reason) == MASK
    assert gives_free_reasons(f'{{"reason": "{reason}"}}')


@pytest.mark.parametrize(
    ("token", "may"),
    [
        ("pm_ana_ruiz", True), ("pm_Ana_Ruiz_7", True), ("pm_quintanilla", True),
        ("pm_ok", False), ("pm_3ds", False), ("pm_1OabcDEfghIJkl2xYZ", False),
        ("8815901536741427", False),
    ],
)  # fmt: skip
def test_only_a_token_that_reads_like_words_may_spell_a_name(token: str, *, may: bool) -> None:
    assert may_spell_a_name(token) is may
