"""Merkle trees are those of RFC 6962, however they were grown."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules.signed_heads import GrowingTree, leaf_digest, root_of

# Eight leaves and the roots over the first n of them, from the tests of Certificate Transparency.
LEAVES = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
          "606162636465666768696a6b6c6d6e6f")  # fmt: skip
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    leaves = [leaf_digest(bytes.fromhex(leaf)) for leaf in LEAVES[:size]]

    assert root_of(leaves).hex() == ROOTS[size]


def naive(leaves: list[bytes]) -> bytes:
    """The definition of the RFC, word by word."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + naive(leaves[:half]) + naive(leaves[half:])).digest()


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_tree_that_goes_on_from_its_peaks_is_the_whole_tree(first: int, more: int) -> None:
    leaves = [leaf_digest(str(number).encode()) for number in range(first + more)]
    begun = GrowingTree()
    for leaf in leaves[:first]:
        begun.append(leaf)

    gone_on = GrowingTree(begun.size, begun.peaks)
    for leaf in leaves[first:]:
        gone_on.append(leaf)

    assert gone_on.root == naive(leaves)
