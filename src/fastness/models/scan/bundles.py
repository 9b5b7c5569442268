"""Files that belong together: the members of an archive, or the files of a folder."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

from fastness.core.errors import TooLarge
from fastness.core.sources import RandomAccess


class Bundle:
    """Sources by path, which is relative and written with `/`.

    Args:
        name: of the archive or folder.
        files: their sources; a name begins with that of the archive or folder.
    """

    def __init__(self, name: str, files: Mapping[str, RandomAccess]) -> None:
        self.name = name
        self._files = files

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def source(self, path: str) -> RandomAccess:
        """The bytes of one file.

        Raises:
            KeyError: there is none.
        """
        return self._files[path]

    def text(self, path: str, limit: int = 1 << 20) -> bytes:
        """The whole of a small file.

        Raises:
            KeyError: there is none.
            TooLarge: it is longer than `limit`; the code is `scan-budget`.
        """
        source = self._files[path]
        if source.size > limit:
            raise TooLarge("scan-budget", f"{path[:80]!a} has {source.size} bytes, and {limit} are read of its kind")
        return source.read_at(0, source.size)

    def named(self, *names: str) -> list[str]:
        """The paths whose last part is one of `names`."""
        return [path for path in self._files if path.rpartition("/")[2] in names]

    def resolve(self, path: str, location: str) -> str:
        """The path that `location`, as it stands in the file at `path`, leads to within the bundle; empty for none."""
        found = posixpath.normpath(posixpath.join(posixpath.dirname(path), location.replace("\\", "/")))
        return found if found in self._files else ""
