"""Two-step verification for operations: TOTP (RFC 6238) and recovery codes.

It is set up with a QR code and confirmed with a code. An account with a second factor must enter a
code at every sign-in; if the settings require it, operations cannot continue without one. If the
phone and the recovery codes are lost, only another person can reset it (`operations_system`).

Rules a change must keep: the secret and the recovery codes are shown once, during setup; a code is
accepted once; the codes of the previous and the next half minute are accepted, because clocks
differ.
"""

import base64
import os
import re
from typing import Final

import msgspec
import pyotp

from caas.billing_database.accounts import Account, Role
from caas.billing_database.audit_events import AuditType, audit
from caas.billing_database.connection import Connection
from caas.billing_database.sessions import SecondFactor, Session
from caas.console import sign_in
from caas.console.context import Console
from caas.console.page_routes import EVERYBODY, HOMES, NotYourPageError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.console.session_start import SECOND_FACTOR_PATH, Admitted, let_in
from caas.web.forms import filled
from caas.web.response import Response, is_own_path, see_other

SECRET_BYTES: Final = 20
STEP_SECONDS: Final = 30
STEPS_OF_DRIFT: Final = (0, -1, 1)
ISSUER: Final = "CaaS"
RECOVERY_CODES: Final = 10
RECOVERY_CODE_BYTES: Final = 10
REFUSED: Final = 422
_CODE: Final = re.compile("[0-9]{6}")
_RECOVERY_CODE: Final = re.compile("[a-z2-7]{16}")


class _Challenge(msgspec.Struct, frozen=True):
    """The account that must enter or set up a second factor, and its session."""

    session: Session
    account: Account
    factor: SecondFactor | None

    @property
    def has_factor(self) -> bool:
        return self.factor is not None and self.factor.confirmed_at is not None


async def second_factor(console: Console, request: PageRequest) -> Response:
    """Show the form for the code, or start the setup."""
    challenge = await _challenge(console, request)
    if challenge is None:
        return see_other("/sign-in")
    if request.session is not None:
        return see_other(HOMES[request.session.role])
    return _page(console, request, challenge)


async def give_code(console: Console, request: PageRequest) -> Response:
    """Complete the sign-in with a TOTP or recovery code."""
    challenge = await _challenge(console, request)
    if challenge is None or not challenge.has_factor:
        return see_other(SECOND_FACTOR_PATH)
    used = await _used_code(console, request, challenge)
    if used is None:
        return _page(console, request, challenge, wrong=True)
    await _let_in(console, request, challenge)
    return see_other(_next(request) or HOMES[challenge.account.role])


async def enrol(console: Console, request: PageRequest) -> Response:
    """Create a secret and show it once."""
    challenge = await _challenge(console, request)
    if challenge is None or challenge.has_factor:
        return see_other(SECOND_FACTOR_PATH)
    secret = os.urandom(SECRET_BYTES)
    sealed = console.settings.sign_in_keys.seal(secret, account=challenge.account.id)
    if not await console.second_factors.begin(challenge.account.id, sealed):
        return see_other(SECOND_FACTOR_PATH)
    text = base64.b32encode(secret).decode()
    uri = pyotp.TOTP(text).provisioning_uri(name=challenge.session.name, issuer_name=ISSUER)
    groups = " ".join(text[place : place + 4] for place in range(0, len(text), 4))
    return console.page(
        request,
        "second_factor_enrol.html",
        uri=uri,
        secret=groups,
        wrong=False,
        next=_next(request),
    )


async def confirm(console: Console, request: PageRequest) -> Response:
    """Activate the second factor if its first code is correct, and show the recovery codes."""
    challenge = await _challenge(console, request)
    if challenge is None or challenge.has_factor or challenge.factor is None:
        return see_other(SECOND_FACTOR_PATH)
    this_try = await _try(console, request, challenge)
    step = _step(console, challenge.factor, request.form.get("code", ""))
    codes = [_new_recovery_code() for _ in range(RECOVERY_CODES)]
    if step is None:
        await this_try.was_wrong(challenge.account.id)
        return console.page(
            request, "second_factor_enrol.html", uri="", secret="", wrong=True, next=_next(request),
            status=REFUSED,
        )  # fmt: skip
    if not await _confirmed(console, request, challenge.factor, step, codes):
        return see_other(SECOND_FACTOR_PATH)
    await this_try.was_right()
    await _let_in(console, request, challenge)
    return console.page(
        request, "second_factor_codes.html", codes=[_grouped(code) for code in codes],
        next=_next(request) or HOMES[challenge.account.role],
    )  # fmt: skip


async def leave(console: Console, request: PageRequest) -> Response:
    """Return to the sign-in page."""
    await console.sessions.end(request)
    return see_other("/sign-in")


async def _challenge(console: Console, request: PageRequest) -> _Challenge | None:
    """Return the account of the session, signed in or awaiting its second factor, or None.

    Raises:
        NotYourPageError: the account is not of operations, which alone have second factors.
    """
    session = request.awaiting or request.session
    if session is None:
        return None
    if session.role is not Role.OPERATIONS:
        raise NotYourPageError
    account = await console.accounts.get(session.account)
    assert account is not None, "a session's account is there"
    return _Challenge(session, account, await console.second_factors.of(account.id))


async def _try(console: Console, request: PageRequest, challenge: _Challenge) -> sign_in.Try:
    return await sign_in.begin(console, request, challenge.session.name, what="second factor")


async def _used_code(
    console: Console, request: PageRequest, challenge: _Challenge
) -> AuditType | None:
    """Consume the typed code and return its kind, or None if it is wrong."""
    assert challenge.factor is not None, "only an account with a second factor enters a code"
    this_try = await _try(console, request, challenge)
    factor, typed = challenge.factor, request.form.get("code", "")
    step, recovery = _step(console, factor, typed), _recovery_code(typed)

    async def use(connection: Connection) -> AuditType | None:
        used = None
        if step is not None:
            if await console.second_factors.take_step(factor.id, step, within=connection):
                used = AuditType.SECOND_FACTOR_USED
        elif recovery is not None and await console.second_factors.use_code(
            factor.id, recovery, within=connection
        ):
            used = AuditType.RECOVERY_CODE_USED
        await audit(
            used or AuditType.SECOND_FACTOR_REFUSED, by=factor.account, subject=factor.account,
            address=request.address, within=connection,
        )  # fmt: skip
        return used

    used = await console.platform.tables.database.in_transaction(use)
    if used is None:
        await this_try.was_wrong(factor.account)
    else:
        await this_try.was_right()
    return used


async def _confirmed(
    console: Console, request: PageRequest, factor: SecondFactor, step: int, codes: list[str]
) -> bool:
    async def together(connection: Connection) -> bool:
        done = await console.second_factors.confirm(
            factor.id, step=step, codes=codes, within=connection
        )
        if done:
            await audit(
                AuditType.SECOND_FACTOR_ENROLLED, by=factor.account, subject=factor.account,
                address=request.address, within=connection,
            )  # fmt: skip
        return done

    return await console.platform.tables.database.in_transaction(together)


async def _let_in(console: Console, request: PageRequest, challenge: _Challenge) -> None:
    admitted = Admitted(challenge.account, challenge.session.name)
    await let_in(console, request, admitted, second_factor=True)
    request.session, request.awaiting = None, None


def _step(console: Console, factor: SecondFactor, typed: str) -> int | None:
    """Return the time step of the typed code, close to the current one, or None if it is wrong."""
    code = "".join(typed.split())
    if _CODE.fullmatch(code) is None:
        return None
    keys = console.settings.sign_in_keys
    secret = keys.unseal(factor.sealed_secret, account=factor.account)
    passwords = pyotp.HOTP(base64.b32encode(secret).decode())
    present = int(factor.now) // STEP_SECONDS
    for drift in STEPS_OF_DRIFT:
        if passwords.verify(code, present + drift):
            return present + drift
    return None


def _new_recovery_code() -> str:
    return base64.b32encode(os.urandom(RECOVERY_CODE_BYTES)).decode().lower()


def _grouped(code: str) -> str:
    return "-".join(code[place : place + 4] for place in range(0, len(code), 4))


def _recovery_code(typed: str) -> str | None:
    plain = "".join(sign for sign in typed.lower() if sign.isalnum())
    return plain if _RECOVERY_CODE.fullmatch(plain) else None


def _next(request: PageRequest) -> str | None:
    path = filled(request.form or request.query, "next", chars_max=500) or ""
    return path if is_own_path(path) and path != "/" else None


def _page(
    console: Console, request: PageRequest, challenge: _Challenge, *, wrong: bool = False
) -> Response:
    return console.page(
        request,
        "second_factor.html",
        has_factor=challenge.has_factor,
        wrong=wrong,
        next=_next(request),
        status=REFUSED if wrong else 200,
    )


SECOND_FACTOR_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(SECOND_FACTOR_PATH, second_factor, EVERYBODY),
    post(SECOND_FACTOR_PATH, give_code, EVERYBODY),
    post(SECOND_FACTOR_PATH + "/enrol", enrol, EVERYBODY),
    post(SECOND_FACTOR_PATH + "/confirm", confirm, EVERYBODY),
    post(SECOND_FACTOR_PATH + "/leave", leave, EVERYBODY),
)
