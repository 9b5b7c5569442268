"""`fastness access …` at a house that is not running: tenants, groups, roles on models, keys, reviews."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from fastness.interfaces.cli import main
from tests.unit.interfaces.api.town import founded

Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fastness-cli-") as folder:
        with founded(Path(folder) / "home") as town:
            town.keep_credentials()
        yield Path(folder) / "home"


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def one(line: str, who: str = "admin", form: str = "json") -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*line.split(), "--home", str(home), "--as", who, "--format", form])
            raise SystemExit(0)
        out, error = capsys.readouterr()
        return int(ended.value.code or 0), out or error

    return one


def test_groups_give_roles_and_take_them(run: Run) -> None:
    status, out = run("access group create Readers --role viewer")
    assert status == 0
    group = msgspec.json.decode(out)["group"]
    assert run("access group add Readers service:robot")[0] == 0
    (found,) = msgspec.json.decode(run("access group list", "auditor")[1])
    assert (found["group"], found["roles"], found["members"]) == (group, ["viewer"], ["service:robot"])
    assert "Readers" in run("access group list", form="table")[1]
    assert run("models list", "robot")[0] == 0
    assert run("access group change Readers --role developer --rename Callers")[0] == 0
    assert run(f"access group remove {group} service:robot")[0] == 0
    assert run("access group delete Callers")[0] == 0
    status, out = run("access group delete Callers")
    assert (status, msgspec.json.decode(out)["code"]) == (66, "group-unknown")


def test_roles_on_single_models(run: Run) -> None:
    assert run("access grant give user:viewer operator digits")[0] == 0
    (found,) = msgspec.json.decode(run("access grant list", "auditor")[1])
    assert found == {"principal": "user:viewer", "role": "operator", "model": "digits"}
    (reach,) = [r for r in msgspec.json.decode(run("access rights", "auditor")[1]) if r["on_models"]]
    assert "model.deploy" in reach["on_models"]["digits"]
    assert "user:viewer" in run("access rights --action model.deploy", "auditor", "table")[1]
    assert run("access grant withdraw user:viewer operator digits")[0] == 0
    assert run("access grant withdraw user:viewer operator digits")[0] == 66


def test_keys_are_narrowed_as_they_are_made_and_follow_each_other(run: Run) -> None:
    line = "access key create web --action model.read --action key.create --model digits --address 192.0.2.0/24"
    made = msgspec.json.decode(run(line, "viewer")[1])
    status, out = run(f"access key rotate {made['key_id']} --overlap 0", "viewer")
    assert status == 0
    next_one = msgspec.json.decode(out)
    assert next_one["replaces"] == made["key_id"]
    shown = {k["key_id"]: k for k in msgspec.json.decode(run("access key list", "auditor")[1])}
    assert shown[made["key_id"]]["successor"] == next_one["key_id"]
    new = shown[next_one["key_id"]]
    assert (new["actions"], new["models"], new["networks"]) == (
        ["key.create", "model.read"],
        ["digits"],
        ["192.0.2.0/24"],
    )
    assert "192.0.2.0/24" in run("access key list", "auditor", "table")[1].replace("\n", "")


def test_tenants_are_made_and_ended(run: Run) -> None:
    status, out = run("access tenant create north --admin nora")
    assert status == 0
    code = msgspec.json.decode(out)["code"]
    assert run(f"access enroll {code}", "nora")[0] == 0
    (view,) = msgspec.json.decode(run("access tenant list", "auditor")[1])
    assert (view["tenant"], view["active"]) == ("north", True)
    assert [p["principal"] for p in msgspec.json.decode(run("access user list", "nora")[1])] == ["user:nora"]
    assert msgspec.json.decode(run("access tenant deactivate north")[1])["ended"] == 1
    assert run("access user list", "nora")[0] == 77


def test_a_review_is_started_decided_and_reported(run: Run) -> None:
    line = "access review start quarter --reviewer user:admin --reviewer user:security-officer --days 7"
    review = msgspec.json.decode(run(line, "security-officer")[1])["review"]
    items = msgspec.json.decode(run(f"access review report {review}", "auditor")[1])
    number = next(i["number"] for i in items if (i["kind"], i["principal"]) == ("role", "user:third"))
    line = f"access review decide {review} {number} expire --reason project --days 30"
    decided = msgspec.json.decode(run(line, "security-officer")[1])
    assert (decided["decision"], decided["reason"]) == ("expire", "project")
    (view,) = msgspec.json.decode(run("access review list", "auditor")[1])
    assert (view["decided"], view["total"]) == (1, len(items))
    sheet = run(f"access review report {review} --csv", "auditor", "table")[1].splitlines()
    assert len(sheet) == len(items) + 1
    assert sheet[0].startswith("number,kind,principal")
    assert "quarter" in run("access review list", "auditor", "table")[1]


@pytest.mark.parametrize("kind", ["certificate", "signing-key"])
@pytest.mark.parametrize(
    "identifier", ["-IareFKrnpxcfyyxHZ4YnO2NVRfh7rT7o-UZgEdd6wY", "--areFKrnpxcfyyxHZ4YnO2NVRfh7rT7o-UZgEdd6wY"]
)
def test_an_id_may_begin_with_a_hyphen(run: Run, kind: str, identifier: str) -> None:
    status, out = run(f"access {kind} revoke {identifier}")
    assert (status, msgspec.json.decode(out)["code"]) == (66, f"{kind}-unknown")


def test_certificates_and_signing_keys(run: Run, tmp_path: Path) -> None:
    out, key = tmp_path / "web.pem", tmp_path / "web.key"
    status, said = run(f"access certificate issue {out} --for service:robot --days 2 --model digits --name web")
    assert status == 0, said
    made = msgspec.json.decode(said)
    assert key.stat().st_mode & 0o077 == 0
    assert msgspec.json.decode(run(f"access certificate issue {out} --for service:robot")[1])["code"] == "file-exists"
    (found,) = msgspec.json.decode(run("access certificate list", "auditor")[1])
    assert (found["id"], found["models"], found["name"]) == (made["certificate_id"], ["digits"], "web")
    assert "digits" in run("access certificate list", form="table")[1]
    status, said = run(f"access certificate add {out} --key {key} --for service:robot")
    assert (status, msgspec.json.decode(said)["code"]) == (75, "certificate-taken")
    assert msgspec.json.decode(run(f"access certificate add {out}")[1])["code"] == "certificate-unproven"
    assert msgspec.json.decode(run(f"access signing-key add {out}")[1])["code"] == "key-malformed"
    assert msgspec.json.decode(run(f"access signing-key add {tmp_path}/none")[1])["code"] == "file-unreadable"
    assert run(f"access certificate revoke {made['certificate_id']}")[0] == 0
    assert "revoked" in run("access certificate list", form="table")[1]
