"""Proofs hold for every size, and for nothing else."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.errors import Corrupt, Invalid
from fastness.foundation.ledger import verify_consistency, verify_inclusion
from fastness.foundation.ledger.merkle import EMPTY_ROOT, Tree, leaf_hash, node_hash, prove_consistency, prove_inclusion

ENTRIES = [f"entry {i}".encode() for i in range(1200)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def node(level: int, index: int) -> bytes:
    row = LEAVES[index << level : (index + 1) << level]
    assert len(row) == 1 << level
    while len(row) > 1:
        row = [node_hash(a, b) for a, b in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def root(size: int) -> bytes:
    """The definition of RFC 6962, section 2.1, word for word."""
    return _mth(LEAVES[:size])


def _mth(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\x01" + _mth(leaves[:half]) + _mth(leaves[half:])).digest()


SIZES = st.integers(1, len(LEAVES))


@given(SIZES, st.data())
def test_growing_in_any_steps_gives_the_root_of_the_definition(size: int, data: st.DataObject) -> None:
    tree = Tree()
    while tree.size < size:
        step = data.draw(st.integers(1, size - tree.size))
        tree.extend(LEAVES[tree.size : tree.size + step])
        tree = Tree(tree.size, tree.edge)  # as after a restart
    assert tree.root() == root(size)


def test_every_size_up_to_three_tiles() -> None:
    tree = Tree()
    assert tree.root() == EMPTY_ROOT
    for size in range(1, 770):
        tree.extend([LEAVES[size - 1]])
        if size < 40 or size % 61 == 0 or size % 256 in {0, 1, 255}:
            assert tree.root() == root(size), size


def test_full_tiles_are_handed_out_once_in_order() -> None:
    full: list[tuple[int, int, int]] = []
    Tree(full=lambda level, number, hashes: full.append((level, number, len(hashes)))).extend(LEAVES * 60)
    assert [f for f in full if f[0] == 0] == [(0, n, 256) for n in range(1200 * 60 // 256)]
    assert [f for f in full if f[0] == 1] == [(1, 0, 256)]


@given(SIZES, st.data())
def test_inclusion_holds(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = prove_inclusion(node, index, size)
    assert verify_inclusion(ENTRIES[index], index, size, root(size), proof) == ENTRIES[index]


@given(SIZES, st.data())
def test_consistency_holds(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, new))
    assert verify_consistency(old, root(old), new, root(new), prove_consistency(node, old, new)) == new


def test_small_trees_exhaustively() -> None:
    for new in range(1, 34):
        for old in range(new + 1):
            verify_consistency(old, root(old), new, root(new), prove_consistency(node, old, new))
        for index in range(new):
            verify_inclusion(ENTRIES[index], index, new, root(new), prove_inclusion(node, index, new))


@st.composite
def changed(draw: st.DrawFn, proof: list[bytes]) -> list[bytes]:
    kind = draw(st.sampled_from(["flip", "drop", "add", "swap", "length"] if len(proof) > 1 else ["add"]))
    place = draw(st.integers(0, max(0, len(proof) - 1)))
    made = list(proof)
    if kind == "flip":
        byte = draw(st.integers(0, 31))
        made[place] = (
            made[place][:byte] + bytes([made[place][byte] ^ draw(st.integers(1, 255))]) + made[place][byte + 1 :]
        )
    elif kind == "drop":
        del made[place]
    elif kind == "add":
        made.insert(place, draw(st.binary(min_size=32, max_size=32)))
    elif kind == "swap":
        made[0], made[-1] = made[-1], made[0]
    else:
        made[place] = made[place][:31]
    return made


@given(SIZES, st.data())
def test_a_changed_inclusion_proof_fails(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = prove_inclusion(node, index, size)
    wrong = data.draw(changed(proof))
    if wrong != proof:
        with pytest.raises(Corrupt):
            verify_inclusion(ENTRIES[index], index, size, root(size), wrong)


@given(st.integers(2, len(LEAVES)), st.data())
def test_a_proof_holds_for_its_own_entry_place_size_and_root_only(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = prove_inclusion(node, index, size)
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index))
    flipped = bytes([root(size)[0] ^ 1]) + root(size)[1:]
    for entry, place, of, at in (
        (ENTRIES[other], index, size, root(size)),
        (ENTRIES[index], other, size, root(size)),
        (ENTRIES[index], index, size, flipped),
        (ENTRIES[index], size, size, root(size)),
        (ENTRIES[index], -1, size, root(size)),
        (ENTRIES[index] + b"x", index, size, root(size)),
    ):
        with pytest.raises(Corrupt) as caught:
            verify_inclusion(entry, place, of, at, proof)
        assert caught.value.code == "proof-wrong"


@given(st.integers(2, len(LEAVES)), st.data())
def test_a_changed_consistency_proof_fails(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    proof = prove_consistency(node, old, new)
    wrong = data.draw(changed(proof))
    if wrong != proof:
        with pytest.raises(Corrupt):
            verify_consistency(old, root(old), new, root(new), wrong)
    fake = sha256(root(old)).digest()
    for old_size, old_root, new_size, new_root in (
        (old, fake, new, root(new)),
        (old, root(old), new, fake),
        (new, root(new), old, root(old)),
        (-1, root(old), new, root(new)),
    ):
        with pytest.raises(Corrupt):
            verify_consistency(old_size, old_root, new_size, new_root, proof)


def test_the_edges_of_consistency() -> None:
    assert verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, []) == 0
    assert verify_consistency(0, EMPTY_ROOT, 7, root(7), []) == 7
    assert verify_consistency(7, root(7), 7, root(7), []) == 7
    for old, old_root, new, proof in (
        (0, root(1), 7, []),
        (7, root(6), 7, []),
        (0, EMPTY_ROOT, 7, [root(1)]),
        (3, root(3), 7, []),
    ):
        with pytest.raises(Corrupt):
            verify_consistency(old, old_root, new, root(new), proof)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 5), (5, 5), (6, 5)])
def test_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(Invalid):
        prove_inclusion(node, index, size)
    with pytest.raises(Invalid):
        prove_consistency(node, size + 1, size)
