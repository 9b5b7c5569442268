"""Artifacts to findings: what stands in a model file, found without loading, running or importing any of it."""

from fastness.models.scan.budget import ScanSettings
from fastness.models.scan.catalogue import rules
from fastness.models.scan.frame import scan
from fastness.models.scan.paths import scan_paths
from fastness.models.scan.report import Outcome, Report, to_json
from fastness.models.scan.reviewed import reviewed_globals
from fastness.models.scan.sarif import to_sarif

__all__ = ["Outcome", "Report", "ScanSettings", "reviewed_globals", "rules", "scan", "scan_paths", "to_json", "to_sarif"]
