"""What Adyen charges: never an amount that it would count in other units (decision 247)."""

import pytest
from msgspec.structs import replace

from caas.external_systems.adyen_gateway import CAPABILITIES, AdyenGateway
from caas.external_systems.gateway_requirements import can_take
from caas.external_systems.http import HttpClient
from caas.external_systems.http_answers import RefusedByPartnerError
from caas.rules.money import Money
from caas.rules.payment_failures import AMOUNT_REFUSALS
from caas.rules.payment_types import PaymentType
from tests.external_systems.stripe_answers import REQUEST
from tests.external_systems.stripe_asked import NothingReported

PUBLISHED: dict[str, int] = {
    "AED": 2, "BHD": 3, "CLP": 2, "CVE": 0, "DJF": 0, "EUR": 2, "GNF": 0, "IDR": 0, "ISK": 2,
    "JOD": 3, "JPY": 0, "KMF": 0, "KRW": 0, "KWD": 3, "LYD": 3, "OMR": 3, "PYG": 0, "RWF": 0,
    "TND": 3, "UGX": 0, "USD": 2, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
}  # fmt: skip
"""The decimals of Adyen's list of currencies, where they are not two and of some that are."""


@pytest.mark.parametrize(("currency", "decimals"), PUBLISHED.items())
def test_a_currency_is_taken_exactly_if_adyen_counts_it_as_we_do(
    currency: str, decimals: int
) -> None:
    money = Money(1_000, currency)

    same = len(str(money).partition(".")[2].partition(" ")[0]) == decimals

    assert can_take(CAPABILITIES, PaymentType.SERVICE, money) is same


@pytest.mark.parametrize("method", ["8415718415718415", None])
@pytest.mark.parametrize("currency", ["CLP", "CVE", "IDR", "ISK"])
async def test_an_amount_in_other_units_is_refused_and_never_sent(
    currency: str, method: str | None
) -> None:
    http = HttpClient("http://127.0.0.1:9", partner="adyen")
    gateway = AdyenGateway(
        http, NothingReported(), merchant_account="CaaS", return_url="http://caas.example"
    )
    request = replace(REQUEST, currency=currency, payment_method=method)

    with pytest.raises(RefusedByPartnerError) as refused:
        await gateway.initiate(request, key="k")

    assert refused.value.refusal in AMOUNT_REFUSALS
    await gateway.close()
