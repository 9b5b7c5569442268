"""NeMo models: an archive of a configuration, weights and tokenizers.

NeMo imports the class that the configuration's `target` names, and Hydra makes what `_target_` names (CVE-2025-23304); the
reader of YAML tells both, and the weights are a torch file with its own reader. Here: files that the configuration says
are in the archive. Source: NVIDIA NeMo 2.0, `save_restore_connector.py`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.rules import MAPS

MISSING = Rule(
    "nemo-missing-part", "A file that a NeMo configuration names is missing", Severity.MEDIUM,
    "The model is incomplete; what takes the file's place was not scanned.",
    "Fetch the model again, and scan that.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MISSING,)

_CONFIG = "model_config.yaml"
_INNER = re.compile(rb"""(?:^|[\s"'])nemo:([^\s"'#,\]}]{1,255})""")


@dataclass(frozen=True)
class NemoLayout:
    """Reads .nemo archives, and folders they were unpacked into."""

    name: ClassVar[str] = "nemo"
    suffixes: ClassVar[tuple[str, ...]] = (".nemo",)

    def claims(self, bundle: Bundle) -> bool:
        """By the configuration's name."""
        return bool(bundle.named(_CONFIG))

    def reader(self, path: str, bundle: Bundle) -> str:
        """The configuration is YAML; the rest tells what it is."""
        del bundle
        return "yaml" if path.rpartition("/")[2] == _CONFIG else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """Files that are missing or lie elsewhere.

        Raises:
            TooLarge: the configuration is longer than such files are.
        """
        del budget
        for path in bundle.named(_CONFIG):
            names = {match.decode("utf-8", "replace") for match in _INNER.findall(bundle.text(path))}
            for name in sorted(names):
                if ".." in name.split("/") or name.startswith("/"):
                    yield Fact(FactKind.REFERENCE, bundle.source(path).name, 0, name)
                elif not _held(bundle, path, name):
                    yield found(MISSING, bundle.name, 0, f"{path[-60:]!a} names {name[:80]!a}")


def _held(bundle: Bundle, path: str, name: str) -> bool:
    folder = posixpath.dirname(path)
    wanted = {posixpath.normpath(posixpath.join(folder, name)), posixpath.basename(name)}
    return any(
        posixpath.normpath(file) in wanted or posixpath.basename(file) == posixpath.basename(name) for file in bundle
    )


LAYOUT = NemoLayout
