"""Artifacts to findings: what stands in a model file, found without loading, running or importing any of it.

`Scanner` and `pool` read hostile bytes in processes of their own; `scan` and `scan_paths` are what runs in there, and read
them in the process that calls.
"""

from fastness.models.scan import pool, waivers
from fastness.models.scan.budget import ScanSettings
from fastness.models.scan.catalogue import rules
from fastness.models.scan.cyclonedx import to_cyclonedx
from fastness.models.scan.frame import scan
from fastness.models.scan.isolated import Scanner
from fastness.models.scan.pool import scan_paths
from fastness.models.scan.report import Outcome, Report, to_json
from fastness.models.scan.reviewed import reviewed_globals
from fastness.models.scan.sarif import to_sarif
from fastness.models.scan.settings import RunSettings
from fastness.models.scan.testimony import add_witness

__all__ = [
    "Outcome",
    "Report",
    "RunSettings",
    "ScanSettings",
    "Scanner",
    "add_witness",
    "pool",
    "reviewed_globals",
    "rules",
    "scan",
    "scan_paths",
    "to_cyclonedx",
    "to_json",
    "to_sarif",
    "waivers",
]
