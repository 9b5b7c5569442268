"""Scans as `Scanner` makes them, in the process that calls: for tests and measures, of files that are known."""

from __future__ import annotations

from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import ScanSettings
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.frame import Job, Tree, scan_job, scan_tree
from fastness.models.scan.isolated import Place, Seen
from fastness.models.scan.settings import RunSettings


class InProcess:
    """Stands where a `Scanner` does, and starts nothing."""

    def __init__(self) -> None:
        self.settings = RunSettings(jobs=1)

    def scan_placed(
        self, source: RandomAccess, settings: ScanSettings | None = None, place: Place | None = None, file: int = -1
    ) -> Seen:
        """What came of scanning one file, alone or in its folder.

        Raises:
            OSError, FastnessError: the source cannot be read, or cannot be trusted.
        """
        del file
        if place is None:
            return Seen(scan_job(Job(source), settings))
        tree = Tree(place.bundle, ())
        report = scan_job(Job(source, 0, tree, place.path, place.readers), settings)
        return Seen(report, frozenset(tree.referenced))

    def scan_whole(self, bundle: Bundle, settings: ScanSettings | None = None) -> Seen:
        """What stands between the files of a folder, and what its files are.

        Raises:
            OSError, FastnessError: a file cannot be read, or cannot be trusted.
        """
        tree = Tree(bundle)
        readers = {path: tree.readers(path) for path in bundle} if tree.layouts else {}
        return Seen(scan_tree(tree, settings), frozenset(tree.referenced), (), tuple(readers.items()))

    def close(self) -> None:
        """Nothing was started."""
