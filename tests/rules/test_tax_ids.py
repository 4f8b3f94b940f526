"""Tax ids of the markets, right and mistyped."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules.market import InvalidTaxIdError, checked_tax_id, written_tax_id


@pytest.mark.parametrize(
    ("country", "kept", "written"),
    [
        ("ES", "12345678Z", "NIF 12345678Z"),
        ("CL", "760864285", "RUT 76.086.428-5"),
        ("DE", "136695976", "VAT id 136695976"),
        ("KW", "312345", "VAT id 312345"),
    ],
)
def test_a_document_shows_a_tax_id_under_its_own_name(
    country: str, kept: str, written: str
) -> None:
    assert written_tax_id(country, kept, otherwise="VAT id") == written


@pytest.mark.parametrize(
    ("country", "typed", "kept"),
    [
        ("ES", "12345678Z", "12345678Z"),
        ("ES", "es 12.345.678-z", "12345678Z"),
        ("ES", "X1234567L", "X1234567L"),
        ("ES", "ESB58378431", "B58378431"),
        ("PT", "PT 501 964 843", "501964843"),
        ("CL", "76.086.428-5", "760864285"),
        ("GR", "EL 094259216", "094259216"),
        ("DE", "DE136695976", "136695976"),
        ("KW", "312345", "312345"),
        ("US", "12-3456789", "12-3456789"),
    ],
)
def test_a_tax_id_is_kept_as_its_office_writes_it(country: str, typed: str, kept: str) -> None:
    assert checked_tax_id(country, typed) == kept


@pytest.mark.parametrize(
    ("country", "typed", "sentence"),
    [
        ("ES", "12345678A", "'12345678A' is no NIF of ES: its check digit or letter"),
        ("ES", "B58378432", "check digit"),
        ("ES", "1234", "too short or too long"),
        ("ES", "", "form"),
        ("PT", "501964842", "no NIF of PT"),
        ("CL", "76086428-4", "no RUT of CL"),
        ("KW", "", "letters and digits"),
        ("KW", "<b>", "letters and digits"),
        ("Spain", "12345678Z", "not a country code"),
        ("iban", "x", "not a country code"),
    ],
)
def test_what_is_wrong_with_a_tax_id_is_said(country: str, typed: str, sentence: str) -> None:
    with pytest.raises(InvalidTaxIdError, match=sentence):
        checked_tax_id(country, typed)


@given(st.sampled_from(["ES", "PT", "CL", "KW", "FR", "DE", "IT"]), st.text(max_size=40))
def test_no_text_is_more_than_refused(country: str, typed: str) -> None:
    with suppress(InvalidTaxIdError):
        kept = checked_tax_id(country, typed)
        assert checked_tax_id(country, kept) == kept
