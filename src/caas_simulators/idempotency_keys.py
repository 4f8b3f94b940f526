"""Idempotency keys of a simulated gateway or partner.

Rules a change must keep: a key with the same request gets the stored response unchanged; with
another request it is rejected; a key is deleted when its lifetime is over, and the request is then
performed again - which is why a caller must not repeat an old key blindly.
"""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import msgspec

from caas_simulators.faults import Action
from caas_simulators.http_server import PROBLEM_JSON, Answer, Request, problem
from caas_simulators.journal import StoredAnswer
from caas_simulators.simulated_time import Clock

HTTP_ERROR = 400
UNPROCESSABLE = 422
KEY_LENGTH_MAX = 255
_Asked = TypeVar("_Asked")
_ENCODER = msgspec.json.Encoder()
REPLAYED = ((b"idempotent-replayed", b"true"),)


class KeyReusedError(Exception):
    """The key was used for another request before."""


def fingerprint(path: str, body: bytes) -> str:
    """Return the digest that identifies a request."""
    return hashlib.blake2b(path.encode() + b" " + body, digest_size=16).hexdigest()


class StoredAnswers:
    """The stored responses by key."""

    def __init__(
        self, clock: Clock, write: Callable[[StoredAnswer], None], lifetime_seconds: float
    ) -> None:
        """Journal responses with `write`; delete keys after their lifetime (simulated seconds)."""
        self._clock = clock
        self._write = write
        self.lifetime_seconds = lifetime_seconds
        self._stored: dict[str, StoredAnswer] = {}

    def find(self, key: str, request_fingerprint: str) -> Answer | None:
        """Return the response stored for a key, or None.

        Raises:
            KeyReusedError: the key stands for another request.
        """
        stored = self._stored.get(key)
        if stored is None:
            return None
        if stored.forgotten_at <= self._clock.now():
            del self._stored[key]
            return None
        if stored.fingerprint != request_fingerprint:
            raise KeyReusedError
        return _as_answer(stored)

    def keep(
        self,
        key: str,
        request_fingerprint: str,
        answer: Answer,
        lifetime_seconds: float | None = None,
    ) -> None:
        """Store a response for a key."""
        lifetime = self.lifetime_seconds if lifetime_seconds is None else lifetime_seconds
        stored = StoredAnswer(
            key=key,
            fingerprint=request_fingerprint,
            status=answer.status,
            body=answer.body.decode(),
            forgotten_at=self._clock.now() + self._clock.span(lifetime),
        )
        self._write(stored)
        self.remember(stored)

    def remember(self, stored: StoredAnswer) -> None:
        """Restore a stored response, and delete expired ones."""
        now = self._clock.now()
        for _ in range(2):
            oldest = next(iter(self._stored.values()), None)
            if oldest is None or oldest.forgotten_at > now:
                break
            del self._stored[oldest.key]
        self._stored[stored.key] = stored

    def snapshot(self) -> list[StoredAnswer]:
        """Return the responses whose keys have not expired."""
        now = self._clock.now()
        return [stored for stored in self._stored.values() if stored.forgotten_at > now]

    def answer_once(
        self,
        request: Request,
        body: msgspec.json.Decoder[_Asked],
        action: Action,
        do: Callable[[_Asked], Answer],
    ) -> Answer:
        """Answer a write with the response stored for its key, or perform it now.

        Raises:
            KeyReusedError: the key stands for another request.
        """
        key = request.header(b"idempotency-key")
        if not 0 < len(key) <= KEY_LENGTH_MAX:
            return problem(400, "idempotency_key_missing", "Idempotency-Key is needed.")
        asked = body.decode(request.body or b"{}")
        print_of_request = fingerprint(request.path, _ENCODER.encode(asked))
        stored = self.find(key, print_of_request)
        if stored is not None:
            return stored
        if action.store_500_for_key:
            answer = problem(500, "internal_error", "Something broke, and stays broken.")
        else:
            answer = do(asked)
        if answer.status != UNPROCESSABLE:
            self.keep(key, print_of_request, answer, action.forget_keys_after_seconds)
        return answer

    def forget(self) -> int:
        """Delete all keys and return their number."""
        count = len(self._stored)
        self._stored.clear()
        return count


def explained(answer: Callable[[], Answer]) -> Answer:
    """Answer, or return a problem that describes the fault of the request."""
    try:
        return answer()
    except msgspec.ValidationError as error:
        return problem(422, "invalid_request", str(error))
    except msgspec.DecodeError:
        return problem(400, "malformed_json", "The body is not JSON.")
    except KeyReusedError:
        return problem(422, "idempotency_key_reused", "The key stands for another request.")


def _as_answer(stored: StoredAnswer) -> Answer:
    is_problem = stored.status >= HTTP_ERROR and '"code"' in stored.body
    content_type = PROBLEM_JSON if is_problem else b"application/json"
    return Answer(stored.status, stored.body.encode(), content_type, REPLAYED)
