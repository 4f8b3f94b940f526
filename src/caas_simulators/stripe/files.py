"""Files that are uploaded: evidence of disputes, in the types and sizes that Stripe takes."""

import hashlib
from email import policy
from email.parser import BytesParser
from typing import Final

from caas_simulators.stripe.refusals import Json, StripeRefusal, invalid
from caas_simulators.stripe.world import World

PURPOSE: Final = "dispute_evidence"
BYTES_MAX: Final = 5_000_000
MULTIPART: Final = "multipart/form-data"
KNOWN: Final = {"purpose", "file"}
BEGINS: Final = {b"%PDF-": "pdf", b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg"}


def upload(world: World, content_type: str, body: bytes) -> Json:
    """Store a file of a form.

    Raises:
        StripeRefusal: it is no such form, or not a file that this purpose allows.
    """
    if not content_type.startswith(MULTIPART):
        raise StripeRefusal("Invalid request: send a multipart form.", stored=False)
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=policy.HTTP).parsebytes(head + body)
    parts = {
        str(part.get_param("name", header="content-disposition")): part
        for part in message.iter_parts()
    }
    for name in sorted(parts.keys() ^ KNOWN):
        wrong = "Missing required param" if name in KNOWN else "Received unknown parameter"
        raise invalid(f"{wrong}: {name}", name, "parameter_missing")
    content = parts["file"].get_payload(decode=True)
    assert isinstance(content, bytes), "a part of a form is no message"
    purpose = str(parts["purpose"].get_payload()).strip()
    kind = next((kind for begin, kind in BEGINS.items() if content.startswith(begin)), None)
    if purpose != PURPOSE:
        raise invalid(f"Invalid purpose: {purpose}", "purpose")
    if kind is None:
        raise invalid("Evidence must be a PDF, JPEG or PNG.", "file")
    if len(content) > BYTES_MAX:
        raise invalid("The file is larger than 5 MB.", "file")
    return _stored(world, kind, parts["file"].get_filename() or "", content)


def _stored(world: World, kind: str, name: str, content: bytes) -> Json:
    file = world.new(
        "file", "file", expires_at=None, filename=name, links=None, purpose=PURPOSE,
        size=len(content), title=None, type=kind, url=None,
        _digest=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
    del file["livemode"]
    return world.store.put(file)
