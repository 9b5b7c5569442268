"""The order of the floors and who may import which library: the tables, and the reader of imports that holds them.

Every import counts: at the top, inside a function, under TYPE_CHECKING, and `import_module("…")` with a written name.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tools.house import cycles

# One total order: a package imports only those above it.
ORDER = (
    "core",
    "wire",
    "client",
    "foundation.telemetry",
    "foundation.crypto",
    "foundation.storage",
    "foundation.sandbox",
    "foundation.text",
    "foundation.vault",
    "foundation.ledger",
    "access",
    "data",
    "guard",
    "models.scan",
    "models.runtime",
    "models.convert",
    "models.assess",
    "models.train",
    "models.registry",
    "models.release",
    "gateway",
    "agents",
    "operations.detect",
    "operations.respond",
    "operations.govern",
    "app",
    "interfaces",
    "__main__",
)
# Their modules are their public surface; of all others only what `__init__` lists in `__all__`.
MODULES_ARE_PUBLIC = ("core", "wire")
# Parts of a floor that are entered by doors of their own: `from fastness.access.login import …`. See decision 0018.
NESTED = (
    "access.approvals",
    "access.directory",
    "access.duties",
    "access.federation",
    "access.integrity",
    "access.login",
    "access.members",
    "access.oauth",
    "access.policysets",
    "access.possession",
    "access.possession.certificates",
    "access.possession.signatures",
    "access.quotas",
    "access.restrictions",
    "access.reviews",
    "access.scim",
    "access.tokens",
    "foundation.crypto.certificates",
)
# The SDK stands low, so that it brings nothing along, but only the top uses it.
ONLY_BY = {"client": ("operations.*", "interfaces")}
MOST_NAMES = 15

# Library to the modules that may import it; `package*` is the package and all below it.
LIBRARIES = {
    "msgspec": ("*",),
    "numpy": (
        "wire*",
        "client*",
        "foundation.telemetry*",
        "foundation.text*",
        "data*",
        "guard*",
        "models.*",
        "gateway*",
        "agents*",
        "operations.*",
        "interfaces.*",
    ),
    "rfc8785": ("foundation.crypto*", "foundation.ledger*", "models.*", "operations.govern*"),
    "cryptography": ("client.signing*", "foundation.crypto*", "foundation.vault*", "foundation.ledger*"),
    "prometheus_client": ("foundation.telemetry*",),
    "sqlalchemy": ("foundation.storage*", "*.tables", "*.records", "app*"),
    "alembic": ("app*",),
    "cedarpy": ("access*",),
    "joserfc": ("access.tokens*", "access.oauth*", "access.federation*"),
    "authlib": ("access.oauth*",),
    "http_message_signatures": ("access.possession.signatures*",),
    "argon2": ("access.login*",),
    "pyotp": ("access.login*", "interfaces.cli*"),
    "webauthn": ("access.login*",),
    "segno": ("interfaces.*",),
    "redis": ("foundation.storage.redis_*",),
    "hvac": ("foundation.crypto*",),
    "boto3": ("foundation.crypto*",),
    "botocore": ("foundation.crypto*",),
    "onnxruntime": ("models.runtime.worker*", "models.runtime.loaders*", "models.convert.guest*"),
    "httptools": ("gateway*", "app*", "interfaces.api*"),
    "uvicorn": ("gateway*", "app*", "interfaces.api*"),
    "uvloop": ("gateway*", "app*", "interfaces.api*"),
    "litestar": ("interfaces.*",),
    "rich": ("interfaces.cli*",),
    "typer": ("interfaces.cli*",),
    "hyperscan": ("foundation.text*",),
    "jinja2": ("models.scan*", "interfaces.console*"),
    "markupsafe": ("interfaces.console*",),
    "packaging": ("models.scan*",),
    "yaml": ("access.policysets*", "models.scan*"),
    "lz4": ("models.scan.inflate*",),
    "zstandard": ("models.scan.inflate*",),
    "obstore": ("models.scan.buckets*",),
    "ray": ("models.scan.cluster*",),
    "joblib": ("interfaces.cli.demo*", "models.convert.restore*", "models.convert.guest*"),
    "onnx": ("interfaces.cli.demo*",),
    "safetensors": ("models.convert.guest*",),
    "skl2onnx": ("interfaces.cli.demo*", "models.convert.guest*"),
    "skops": ("models.convert.guest*",),
    "sklearn": ("interfaces.cli.demo*", "models.convert.guest*"),
}


@dataclass(frozen=True)
class Import:
    """One import of one name: `from target import name`, or `import target` where name is empty."""

    module: str
    line: int
    target: str
    name: str = ""

    @property
    def where(self) -> str:
        return f"{self.module}:{self.line}"


def modules_of(root: Path) -> dict[str, Path]:
    """Dotted name, with the package's own in front, to file."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, path: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(module, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package=path.name == "__init__.py")
            yield from (Import(module, node.lineno, base, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            match node.args:
                case [ast.Constant(value=str(name)), *_]:
                    yield Import(module, node.lineno, name)


def _absolute(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".") if is_package else module.split(".")[:-1]
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def package_of(dotted: str, root: str) -> str:
    """The package of ORDER that holds `dotted`; the dotted name itself where none does."""
    inner = dotted.removeprefix(f"{root}.")
    return next((name for name in ORDER if inner == name or inner.startswith(f"{name}.")), inner)


def exported(init: Path) -> list[str] | None:
    """The names in `__all__` of a package, or None where it has none."""
    for node in ast.parse(init.read_text("utf-8")).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, (ast.List, ast.Tuple)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if [ast.unparse(target) for target in targets] == ["__all__"]:
                return [ast.literal_eval(element) for element in node.value.elts]
    return None


class House:
    """All modules and imports of one package folder, such as src/fastness."""

    def __init__(self, root: Path) -> None:
        self.name = root.name
        self.files = modules_of(root)
        self.imports = [found for module, path in self.files.items() for found in imports_of(module, path)]
        # An import reaches into the house if it names it or anything below it.
        self.inner = [i for i in self.imports if i.target == self.name or i.target.startswith(f"{self.name}.")]

    def floor_breaches(self) -> list[str]:
        """Imports of what stands below in the table, or of what only the top may use."""
        return [f"{found.where}: {problem}" for found in self.inner if (problem := self._floor_problem(found))]

    def _floor_problem(self, found: Import) -> str:
        source = package_of(found.module, self.name)
        target = package_of(self._reached(found), self.name)
        if source == target:
            return "" if source in ORDER else f"{source} stands in no floor of the table"
        if target == self.name:
            return "" if found.name == "__version__" else f"imports {found.name or target} of the root"
        if source not in ORDER or target not in ORDER:
            return f"{source} imports {target}: one of them stands in no floor of the table"
        if ORDER.index(target) > ORDER.index(source):
            return f"{source} imports {target}, which stands above it"
        if target in ONLY_BY and not any(fnmatchcase(source, pattern) for pattern in ONLY_BY[target]):
            return f"only {' and '.join(ONLY_BY[target])} import {target}"
        return ""

    def unplaced(self) -> list[str]:
        """Modules with code that stand in no package of the table."""
        known = [m for m in self.files if package_of(m, self.name) in ORDER or m == self.name]
        return [
            f"{module}: stands in no floor of the table"
            for module, path in self.files.items()
            if module not in known and any(not _is_docstring(n) for n in ast.parse(path.read_text("utf-8")).body)
        ]

    def door_breaches(self) -> list[str]:
        """Imports from another package of what it does not export."""
        return [f"{found.where}: {problem}" for found in self.inner if (problem := self._door_problem(found))]

    def _door_problem(self, found: Import) -> str:
        target = package_of(self._reached(found), self.name)
        if package_of(found.module, self.name) in {target, "__main__"} or target not in ORDER:
            return ""
        whole = f"{found.target}.{found.name}" if found.name else found.target
        private = [p for p in whole.removeprefix(f"{self.name}.").split(".") if p.startswith("_")]
        if found.name == "*" or private:
            return f"imports {whole}, which is private or everything"
        if target in MODULES_ARE_PUBLIC:
            return ""
        door = f"{self.name}.{target}"
        nested = next((f"{self.name}.{part}" for part in NESTED if found.target == f"{self.name}.{part}"), "")
        if f"{target}.{found.name}" in NESTED and found.target == door:
            return ""
        door = nested or door
        if found.target != door or not found.name:
            return f"imports {whole}: write `from {door} import …`"
        if door not in self.files:
            return ""  # not built yet; the import itself will tell
        names = exported(self.files[door])
        if names is None:
            return f"{door} lists nothing in __all__"
        return "" if found.name in names else f"{door} does not list {found.name} in __all__"

    def wide_doors(self) -> list[str]:
        """Packages that export more names than a reader can hold."""
        doors = [f"{self.name}.{package}" for package in (*ORDER, *NESTED) if package not in MODULES_ARE_PUBLIC]
        counts = {door: len(exported(self.files[door]) or ()) for door in doors if door in self.files}
        return [
            f"{door} exports {count} names, at most {MOST_NAMES}"
            for door, count in counts.items()
            if count > MOST_NAMES
        ]

    def module_cycles(self) -> list[list[str]]:
        """Modules that import each other, by whatever way."""
        graph: dict[str, set[str]] = {module: set() for module in self.files}
        for found in self.inner:
            reached = self._reached(found)
            if reached in graph and reached != found.module:
                graph[found.module].add(reached)
        return cycles(graph)

    def library_breaches(self) -> list[str]:
        """Imports of libraries by modules that the table does not name, or of libraries it does not know."""
        broken = []
        for found in self.imports:
            library = found.target.partition(".")[0]
            if library in {self.name, "__future__"} or library in sys.stdlib_module_names:
                continue
            inner = found.module.removeprefix(f"{self.name}.")
            if library not in LIBRARIES:
                broken.append(f"{found.where}: {library} stands in no table of libraries")
            elif not any(fnmatchcase(inner, pattern) for pattern in LIBRARIES[library]):
                broken.append(f"{found.where}: {library} is for {', '.join(LIBRARIES[library])}")
        return broken

    def _reached(self, found: Import) -> str:
        """The module that an import loads: `from package import module` loads the module."""
        whole = f"{found.target}.{found.name}"
        return whole if whole in self.files else found.target


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
