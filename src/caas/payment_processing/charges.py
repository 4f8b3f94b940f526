"""The only callers of the payment gateway: process, commit, void (Diagrams 8 and 11).

Every call is bracketed: the intent is committed before it, the outcome after it, and no
transaction is open while the network is. `authorizing`, `committing` and `void` say what an
answer means; `transitions` is what they share.

Rules a change must keep: the key of a call follows from (payment, operation), never from the
attempt; only evidence turns a payment into Failed; an outcome nobody knows stays unknown and is
looked up; a capture is claimed with its evidence before the gateway hears of it.
"""

from caas.payment_processing.authorization import ABANDONED, NEVER_REACHED, Authorization
from caas.payment_processing.capture import Capture
from caas.payment_processing.void import CaptureWonError, Void

__all__ = ["ABANDONED", "NEVER_REACHED", "CaptureWonError", "Charges"]


class Charges(Authorization, Capture, Void):
    """Authorizes, commits and voids charges through one gateway."""
