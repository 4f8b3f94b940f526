"""The page before something that cannot be undone: it says what will happen, and asks.

A page that offers such an act leads here by a link; the form that does it stands here alone, at the
address the page itself has.

Rules a change must keep: nothing is done by opening it; it says what follows and what does not come
back; the way back is as near as the act.
"""

from typing import Final

from caas.channels.replies import Reply
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit

SECTIONS: Final = {
    "revoke": "/operations/system",
    "seal": "/operations/reconciliation",
    "take_back": "/intranet/orders",
}
"""What is asked about, and under which part of the navigation."""


def asks(channels: Channels, visit: Visit, what: str, *, back: str, name: str) -> Reply:
    """Ask whether `what` shall be done to what has this name; `back` is where we come from."""
    return channels.page(
        visit, "confirmation.html", what=what, section=SECTIONS[what], name=name, back_to=back,
        key=new_key(),
    )  # fmt: skip
