from __future__ import annotations

from pathlib import Path

import pytest

from fastness.core.errors import Corrupt, Unavailable
from fastness.foundation.ledger.merkle import Tree, leaf_hash
from fastness.foundation.ledger.tiles import (
    ENTRIES,
    TrustedTiles,
    Writer,
    pack_bundle,
    partial_widths,
    read_bundle,
    read_file,
    read_tile,
    tile_path,
    tile_width,
    unpack_bundle,
)

PATHS = [
    (0, 0, 256, "tile/0/000"),
    (1, 999, 256, "tile/1/999"),
    (0, 1000, 256, "tile/0/x001/000"),
    (2, 1_234_067, 256, "tile/2/x001/x234/067"),
    (ENTRIES, 3, 17, "tile/entries/003.p/17"),
]


@pytest.mark.parametrize(("level", "number", "width", "path"), PATHS)
def test_names_are_those_of_tlog_tiles(level: int | str, number: int, width: int, path: str) -> None:
    assert tile_path(level, number, width) == path


def test_widths() -> None:
    assert [tile_width(600, 0, n) for n in range(4)] == [256, 256, 88, 0]
    assert [tile_width(600, 1, 0), tile_width(600, 2, 0)] == [2, 0]


BUNDLES = [[], [b""], [b"a", b"", b"\0" * 65_535], [b"x" * 300] * 256]


@pytest.mark.parametrize("entries", BUNDLES)
def test_bundles_come_back(entries: list[bytes]) -> None:
    assert unpack_bundle(pack_bundle(entries), len(entries), "bundle") == entries


def test_bundles_that_are_none_name_their_file() -> None:
    data = pack_bundle([b"abc", b"de"])
    for wrong, count in [(data, 1), (data, 3), (data[:-1], 2), (data[:6], 2), (data + b"\0", 2), (b"", 1)]:
        with pytest.raises(Corrupt, match="tile/entries/000"):
            unpack_bundle(wrong, count, "tile/entries/000")


def write_tree(folder: Path, size: int) -> Tree:
    writer = Writer(folder)
    tree = Tree(full=lambda level, number, hashes: writer.write(tile_path(level, number), b"".join(hashes)))
    tree.extend([leaf_hash(b"%d" % i) for i in range(size)])
    for level, hashes in enumerate(tree.edge):
        if hashes:
            writer.write(tile_path(level, size >> 8 * (level + 1), len(hashes)), b"".join(hashes))
    writer.settle()
    return tree


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600, 65_536, 65_537])
def test_tiles_vouched_for_give_every_leaf_and_old_root(tmp_path: Path, size: int) -> None:
    tree = write_tree(tmp_path, size)
    tiles = TrustedTiles(tmp_path, size, tree.root())
    for index in {0, 1, 255, 256, size // 2, size - 1}:
        if 0 <= index < size:
            assert tiles.leaf(index) == leaf_hash(b"%d" % index)
    for old in {0, min(1, size), size // 3, size}:
        older = Tree()
        older.extend([leaf_hash(b"%d" % i) for i in range(old)])
        assert tiles.root_at(old) == older.root()
    assert tiles.edge == tree.edge or size == 0


def test_a_changed_tile_is_named_wherever_it_is(tmp_path: Path) -> None:
    root = write_tree(tmp_path, 70_000).root()
    for name, index in [
        ("tile/0/003", 800),
        ("tile/1/000", 800),
        ("tile/1/001.p/17", 0),
        ("tile/2/000.p/1", 0),
        ("tile/0/273.p/112", 0),
    ]:
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:5] + bytes([whole[5] ^ 1]) + whole[6:])
        with pytest.raises(Corrupt, match=name.replace(".", r"\.")):
            TrustedTiles(tmp_path, 70_000, root).leaf(index)
        (tmp_path / name).unlink()
        with pytest.raises(Corrupt, match=name.replace(".", r"\.")):
            TrustedTiles(tmp_path, 70_000, root).leaf(index)
        (tmp_path / name).write_bytes(whole)
    TrustedTiles(tmp_path, 70_000, root).leaf(800)


def test_a_tile_that_grew_serves_those_who_saw_it_small(tmp_path: Path) -> None:
    small = Tree()
    small.extend([leaf_hash(b"%d" % i) for i in range(200)])
    write_tree(tmp_path, 256)
    (tmp_path / "tile/entries").mkdir()
    (tmp_path / "tile/entries/000").write_bytes(pack_bundle([b"%d" % i for i in range(256)]))
    TrustedTiles(tmp_path, 200, small.root())
    assert read_bundle(tmp_path, 0, 200) == [b"%d" % i for i in range(200)]
    assert len(read_tile(tmp_path, 0, 0, 200)) == 200 * 32


def test_partial_widths(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    assert partial_widths(tmp_path, 0, 7) == []
    for width in (3, 20, 100):
        writer.write(tile_path(0, 7, width), b"x")
    (tmp_path / "tile/0/007.p/notes").write_bytes(b"")
    assert partial_widths(tmp_path, 0, 7) == [3, 20, 100]


def test_links_and_giants_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(Unavailable):
        read_file(tmp_path, "link")
    with (tmp_path / "giant").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(Corrupt, match="giant"):
        read_file(tmp_path, "giant")
    assert read_file(tmp_path, "none") is None


def test_files_are_private_and_whole(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write("a/b/c", b"first")
    writer.write("a/b/c", b"second")
    writer.settle()
    path = tmp_path / "a/b/c"
    assert (path.read_bytes(), path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (
        b"second",
        0o600,
        0o700,
    )
    assert [p.name for p in path.parent.iterdir()] == ["c"]
    with pytest.raises(Unavailable):
        writer.write("a/b/c/d", b"under a file")
