"""Which machines an address that a caller named may lead to: those of the public internet.

Whoever names an address that we call would otherwise reach, through us, what stands beside us: the
machine itself, the private network, the metadata service of a cloud.

Rules a change must keep: a name is looked up for every connection, and the connection is made to an
address that was looked at; one address of a name that is not public refuses the name.
"""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

LOCAL_SUFFIXES: Final = (".internal", ".local", ".localhost", ".home.arpa", ".onion")
"""Names that belong to no public machine, whether they can be looked up or not."""


class AddressNotPublicError(OSError):
    """This address does not lead to a machine of the public internet."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address, and one that it carries inside, is of the public internet."""
    if isinstance(address, IPv6Address):
        carried = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
        if not all(it is None or is_public(it) for it in carried):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def is_local_name(host: str) -> bool:
    """Return whether a name is of this network by its form: one word, or a suffix kept for that."""
    name = host.lower().rstrip(".")
    literal = ":" in name or name.replace(".", "").isdigit()
    return not literal and ("." not in name or name.endswith(LOCAL_SUFFIXES))


async def checked_addresses(host: str, port: int, *, loopback_allowed: bool) -> list[str]:
    """Look a name up, and return its addresses: public ones, or loopback where it is allowed.

    Raises:
        AddressNotPublicError: one of them is neither.
        OSError: the name is not known.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        address = ip_address(text.partition("%")[0])
        if not (is_public(address) or (loopback_allowed and address.is_loopback)):
            raise AddressNotPublicError(f"{host} does not lead to the public internet")
    return addresses
