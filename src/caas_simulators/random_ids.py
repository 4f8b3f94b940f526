"""Random ids of the simulated world, in letters alone.

Of 16 hexadecimal digits, one id in fifty thousand passes for a card number, and a platform is right
to refuse it.
"""

import random

_LETTERS = str.maketrans("0123456789abcdef", "bcdfghjklmnpqrst")


def random_id(prefix: str, *, chance: random.Random, letters: int) -> str:
    """Return the prefix, an underscore and so many random letters."""
    return f"{prefix}_" + f"{chance.getrandbits(4 * letters):0{letters}x}".translate(_LETTERS)
