"""Write the reference pages that follow from the code: settings.md, rules.md and roles.md in docs.

    reference.py            writes them
    reference.py --check    exit status 1 where one is not current

The settings are the dataclasses of `fastness.app.Settings`, their docstrings the descriptions. The rules are what
`fastness rules --format json` prints. The roles are the shipped policies, with what they say of themselves.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

from fastness.app import Settings
from fastness.core.identity import Action

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs"
POLICIES = ROOT / "src" / "fastness" / "access" / "policies"
SEVERITIES = ("info", "low", "medium", "high", "critical")
TYPES: dict[object, str] = {bool: "true or false", int: "whole number", float: "number", str: "text"}
_NAMES = re.compile(r"(?P<names>[a-z_]+(?:, [a-z_]+)*): (?P<text>.*)")
_SECTIONS = ("Args:", "Raises:", "Source:", "Returns:")

SETTINGS = """\
# Settings

What can be set in `fastness.toml`, with the defaults. `[gateway]` and `max_connections` make the key `gateway.max_connections`, in the
environment `FASTNESS_GATEWAY__MAX_CONNECTIONS`. An unknown key, a wrong type or a value out of range stops the start and is named.
See also [operating a house](operating.md#settings).

This page is made by `python tools/reference.py`.
"""
RULES = """\
# Rules

What `fastness rules` lists: all that a scan, the assessment, the policy, the approvals and the guard can find. `critical` and `high` block, `medium`
asks for a review, `low` and `info` inform. *Undecided* marks the rules that say that something could not be judged; it is refused then.

This page is made by `python tools/reference.py`.
"""

ROLES = """\
# Roles

What each role may do. No role includes another, and a person may hold several. What no rule permits is refused; what a rule forbids is refused whatever the
roles; a rule that cannot be evaluated refuses. The refusal names the rule.

This page is made by `python tools/reference.py` from `src/fastness/access/policies/`.
"""
ASKED_BY = {
    Action.MODEL_INFER: "`call`, `POST …/infer`",
    Action.MODEL_READ: "`models list`, `show`, `history`, `verify`; `access allowance list`; `GET /v2/models/…`",
    Action.MODEL_PUSH: "`push`",
    Action.MODEL_APPROVE: "`models approve`",
    Action.MODEL_DEPLOY: "`models deploy`",
    Action.MODEL_ROLLBACK: "`models rollback`",
    Action.MODEL_QUARANTINE: "`models quarantine`",
    Action.ALLOWANCE_GRANT: "`access allowance grant`",
    Action.APPROVAL_GIVE: "`access approvals answer`",
    Action.ACCESS_READ: "`access user list`, `key list`, `group list`, `grant list`, `tenant list`, `review list`, `client list`, `review report`, `explain`, `conflicts`, `rights`, `findings`, `restrictions`, `quota list`, `quota use`, `routes`",
    Action.PRINCIPAL_CREATE: "`access user create`, `access user code`",
    Action.ROLE_GRANT: "`access user roles`, `access user deactivate`, `access grant`",
    Action.GROUP_CHANGE: "`access group`",
    Action.TENANT_CREATE: "`access tenant create`, `access tenant deactivate`",
    Action.KEY_CREATE: "`access key create`, `access key rotate`",
    Action.KEY_REVOKE: "`access key revoke`, `access key narrow`",
    Action.POLICY_READ: "`access policy list`, `show`, `test`; `access approvals list`, `show`",
    Action.POLICY_CHANGE: "`access policy propose`, `access policy activate`",
    Action.RESTRICTION_CHANGE: "`access restrict`, `access lift`",
    Action.QUOTA_CHANGE: "`access quota set`, `access quota remove`",
    Action.REVIEW_MANAGE: "`access review start`",
    Action.REVIEW_DECIDE: "`access review decide`",
    Action.CLIENT_CHANGE: "`access client create`, `renew`, `disable`",
    Action.PROVIDER_CHANGE: "`access provider add`, `disable`, `enable`, `remove`, `test`, `unlink`",
    Action.TOKEN_DELEGATE: "`POST /oauth/token`, by exchange",
    Action.DIRECTORY_PROVISION: "`/scim/v2/…`",
    Action.AUDIT_READ: "`audit tail`, `audit prove`, `audit verify --record`",
    Action.METRICS_READ: "`GET /metrics`",
    Action.SYSTEM_READ: "`status`",
}
_POLICY = re.compile(
    r'@id\("(?P<id>[^"]+)"\)\s*@says\("(?P<says>[^"]+)"\)\s*(?:@obliges\("(?P<obliges>[^"]+)"\)\s*)?'
    r"(?P<effect>permit|forbid) \((?P<scope>.*?)\)\s*(?:;|when|unless)",
    re.DOTALL,
)


def settings_page() -> str:
    return SETTINGS + "".join(_sections(Settings(), ""))


def _sections(value: object, at: str) -> Iterator[str]:
    kind = type(value)
    described = _described(kind)
    hints = typing.get_type_hints(kind)
    rows, below = [], []
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # settings are dataclasses
        held = getattr(value, field.name)
        if dataclasses.is_dataclass(held):
            below.append((held, f"{at}{field.name}"))
        else:
            word = TYPES.get(hints[field.name], "list of texts")
            rows.append(f"| `{field.name}` | {word} | `{_shown(held)}` | {_cell(described.get(field.name, ''))} |\n")
    if at:
        yield f"\n## [{at.rstrip('.')}]\n\n{_summary(kind)}\n"
    if rows:
        yield "\n| key | type | default | what |\n|---|---|---|---|\n" + "".join(rows)
    for held, name in below:
        yield from _sections(held, f"{name}.")


def _summary(kind: type) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")


def _described(kind: type) -> dict[str, str]:
    """Field to description, from the part `Attributes:` of the docstring; one line may describe several fields."""
    found: dict[str, str] = {}
    names: list[str] = []
    lines = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2].splitlines()
    for line in lines:
        if line.strip() in _SECTIONS:
            break
        match = _NAMES.fullmatch(line.strip()) if line.startswith("    ") and not line.startswith("     ") else None
        if match is not None:
            names = match["names"].split(", ")
            found |= dict.fromkeys(names, match["text"])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def _shown(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def rules_page() -> str:
    command = [sys.executable, "-m", "fastness", "rules", "--format", "json"]
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT / "src")}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    rules = json.loads(run.stdout)
    lines = [_rule(rule) for rule in sorted(rules, key=lambda r: str(r["id"]))]
    return RULES + "\n| rule | severity | what, and why it matters | what to do |\n|---|---|---|---|\n" + "".join(lines)


def _rule(rule: dict[str, typing.Any]) -> str:
    severity = rule["severity"] if isinstance(rule["severity"], str) else SEVERITIES[rule["severity"]]
    severity += ", undecided" if rule.get("incomplete") else ""
    maps = ", ".join(sorted(str(value) for value in rule.get("maps", {}).values()))
    what = f"**{rule['title']}.** {rule['why']}" + (f" ({maps})" if maps else "")
    return f"| `{rule['id']}` | {severity} | {_cell(what)} | {_cell(rule['fix'])} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def roles_page() -> str:
    found = [match for path in sorted(POLICIES.glob("*.cedar")) for match in _POLICY.finditer(path.read_text("utf-8"))]
    permits = [match for match in found if match["effect"] == "permit"]
    forbids = [match for match in found if match["effect"] == "forbid" and not match["obliges"]]
    obliging = [match for match in found if match["effect"] == "forbid" and match["obliges"]]
    lines = [ROLES, "\n## Who may\n\n| rule | what | actions |\n|---|---|---|\n"]
    lines += [f"| `{m['id']}` | {_cell(m['says'])} | {_actions(m['scope'])} |\n" for m in permits]
    lines.append("\n## What nobody may\n\n| rule | what | actions |\n|---|---|---|\n")
    lines += [f"| `{m['id']}` | {_cell(m['says'])} | {_actions(m['scope']) or 'all'} |\n" for m in forbids]
    lines.append("\n## What asks for more\n\n| rule | what | actions |\n|---|---|---|\n")
    lines += [f"| `{m['id']}` | {_cell(m['says'])} | {_actions(m['scope']) or 'all'} |\n" for m in obliging]
    lines.append("\n## Which command asks for which action\n\n| action | asked for by |\n|---|---|\n")
    lines += [f"| `{action}` | {ASKED_BY.get(action, 'later')} |\n" for action in Action]
    return "".join(lines)


def _actions(scope: str) -> str:
    return ", ".join(f"`{name}`" for name in re.findall(r'Action::"([^"]+)"', scope))


def pages() -> dict[str, str]:
    """File name below docs to content."""
    return {"settings.md": settings_page(), "rules.md": rules_page(), "roles.md": roles_page()}


def main() -> int:
    stale = [name for name, text in pages().items() if not _current(PAGES / name, text)]
    for name in stale:
        if "--check" in sys.argv[1:]:
            print(f"docs/{name} is not current: run python tools/reference.py")
        else:
            (PAGES / name).write_text(pages()[name], "utf-8")
    return 1 if stale and "--check" in sys.argv[1:] else 0


def _current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
