"""Reports of other scanners as findings: what ModelScan, picklescan, Fickling and Trivy said of a file.

`import_report(data)` takes a whole report, tells the scanner by its content, and gives pairs of path and finding, as the
report names the paths; a report of Fickling names none, and its path is empty. A witness only ever adds: that it found
nothing is no evidence, so that an honest report may give an empty list. Findings have the rules of the scan's own catalogue
where it has the same, and `witness-…` otherwise; the evidence names the scanner, its version and its own words.

Strict: a report that does not have the form of its scanner is refused, not read in part. Source: reports written by
ModelScan 0.8.8, picklescan 1.0.5 and Fickling 0.1.12; for Trivy its published JSON schema (SchemaVersion 2), unproven.
"""

from fastness.models.scan.witnesses.imported import RULES, import_report

__all__ = ["RULES", "import_report"]
