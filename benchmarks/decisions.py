"""What a decision and an authentication cost, beside the bare engine and the bare hash, in one run.

Method: one question is asked again and again in one thread; medians and 90th percentiles of its CPU time in single calls (cold) or
in batches of 200 (cached, so that the clock's own 50 ns do not count). "Cold" empties the cache before each call, and
includes building and checking the request. The shipped policies are filled up to 500 with rules of one shape after the other.
pycasbin runs in an environment of its own, made where it is missing (in `--peers`, by default `.env-peers`), on 500 policies of
the same shape: role, action, resource. The plain call is a dictionary from role and action to yes, with no rule that forbids,
no schema, no reasons and no record.

Caveats: other load on the machine slows memory, and so what reads much of it, by half or more: compare with bare Cedar, whose
500 rules take 0.4 ms where nothing else runs. Sets in use spread over the actions; the shapes put all
rules on the action that is asked for. "no look-up" are conditions that the index cannot tell anything of, so that each is
evaluated; longer conditions of that kind cost more, in proportion, as "long" shows. "all match" is 500 rules that each permit the
same request and are each named in its record. No figure is promised for these two. The engines beside it do less: bare Cedar gets a
ready request and no schema, pycasbin decides by roles alone and caches nothing. Exit status 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import hmac
import itertools
import os
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

import cedarpy
import msgspec

from fastness.access import Credentials, Policies, authenticate, decide
from fastness.access.addresses import spans
from fastness.access.apikeys import mint
from fastness.access.credentials import KeyRecord
from fastness.access.restrictions import Asking, Fence, Kind, Measure, Restrictions
from fastness.access.restrictions.fence import Standing
from fastness.core.clock import Instant, later
from fastness.core.errors import Unauthenticated
from fastness.core.identity import Action, Principal, PrincipalId, PrincipalKind, Resource, Role, Strength, TenantId
from fastness.core.limits import Limit
from fastness.foundation.storage import MemoryCounters

NOW = Instant(1_700_000_000_000_000_000)
ALICE = Principal(
    PrincipalKind.USER,
    PrincipalId("user:alice"),
    TenantId("default"),
    frozenset({Role.DEVELOPER, Role.VIEWER}),
    Strength.KEY,
    NOW,
)
MODEL = Resource("model", "digits")
CONTEXT = {"tenant": "default"}
BATCH = 200
PEER = "casbin==1.43.0"  # the project is called pycasbin
CASBIN = """
import statistics, sys, time
import casbin
from casbin.model import Model

model = Model()
model.load_model_from_text('''
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
''')
enforcer = casbin.Enforcer(model)
for number in range(498):
    enforcer.add_policy(f"team-{number}", "model", "model.infer")
enforcer.add_policy("developer", "model", "model.infer")
enforcer.add_policy("viewer", "model", "model.read")
enforcer.add_grouping_policy("user:alice", "developer")
enforcer.add_grouping_policy("user:alice", "viewer")
assert enforcer.enforce("user:alice", "model", "model.infer")
assert not enforcer.enforce("user:alice", "model", "model.push")
taken = []
for _ in range(int(sys.argv[1])):
    start = time.thread_time_ns()
    enforcer.enforce("user:alice", "model", "model.infer")
    taken.append((time.thread_time_ns() - start) / 1e3)
print(statistics.median(taken), statistics.quantiles(taken, n=10)[-1])
"""
KEYS = 10_000


def times(
    act: Callable[[], object], rounds: int, batch: int = 1, before: Callable[[], object] | None = None
) -> tuple[float, float]:
    """Median and 90th percentile of one call, in microseconds."""
    taken = []
    for _ in range(rounds):
        if before is not None:
            before()
        start = time.thread_time_ns()
        for _ in range(batch):
            act()
        taken.append((time.thread_time_ns() - start) / batch / 1e3)
    return statistics.median(taken), statistics.quantiles(taken, n=10)[-1]


ASKED = 'action == Action::"model.infer", resource'
SHAPES = {
    "by role": 'permit(principal in Role::"team-%d", ASKED) when { principal.strength >= 3 && resource.kind == "model" }',
    "by model": 'permit(principal in Role::"developer", ASKED) when { resource.kind == "model" && resource.name == "m%d" }',
    "by person": 'permit(principal, ASKED) when { resource.kind == "model" && principal.id == "user:u%d" }',
    "by beginning": 'forbid(principal, ASKED) when { resource.name like "team-%d-*" } unless { principal.signed }',
    "by strength": 'permit(principal, ASKED) when { principal.strength >= 3 && principal.id != "user:u%d" }',
    "by one of three": 'permit(principal, ASKED) when { resource.name == "m%d" || principal.id == "user:x" || principal.signed }',
    "no look-up": 'permit(principal, ASKED) when { resource.name like "*-%d" && principal.strength >= 1 }',
    "no look-up, forbid": 'forbid(principal, ASKED) when { principal.id != "user:alice" && resource.name != "m%d" }',
    "ten match": "permit(principal, ASKED) when { TEN && principal.strength >= 1 }",
    "long, no look-up": 'permit(principal, ASKED) when { principal.id like "*e" && resource.name like "*s" && resource.name like "*-%d" }',
    "all match": 'permit(principal, ASKED) when { principal.id != "user:u%d" }',
}

UNPROMISED = ("all match", "long, no look-up")


def on_one_action(shape: str, count: int) -> Policies:
    """The shipped policies and more of one shape, `count` in all, all on the action that is asked for."""
    shipped = Policies.shipped()
    rules = []
    for number in range(count - len(shipped.says)):
        ten = 'resource.name like "*s"' if number % 47 == 5 else f'resource.name like "*-{number}"'
        text = SHAPES[shape].replace("ASKED", ASKED).replace("TEN", ten)
        rules.append(f'@id("own-{number}") ' + (text % number if "%d" in text else text) + ";")
    return Policies.from_texts({**shipped.texts, "own.cedar": "\n".join(rules)})


def filled(count: int, actions: list[Action]) -> Policies:
    """The shipped policies and more, by role, `count` in all, spread over `actions`."""
    shipped = Policies.shipped()
    more = "\n".join(
        f'@id("own-{number}") permit(principal in Role::"team-{number}",'
        f' action == Action::"{actions[number % len(actions)]}", resource)'
        f' when {{ principal.strength >= {3 + number % 2} && resource.kind == "model" }};'
        for number in range(count - len(shipped.says))
    )
    return Policies.from_texts({**shipped.texts, "own.cedar": more})


def forget(policies: Policies) -> None:
    policies._young.clear()
    policies._old.clear()


def ask(policies: Policies) -> None:
    if not decide(ALICE, Action.MODEL_INFER, MODEL, CONTEXT, policies).allow:
        raise SystemExit("the question was denied: nothing was measured")


def bare_cedar(policies: Policies) -> Callable[[], object]:
    parsed = cedarpy.PolicySet.from_str("\n".join(policies.texts.values()))
    entities = cedarpy.Entities.from_json_str(
        '[{"uid":{"type":"Principal","id":"user:alice"},"attrs":{"id":"user:alice","kind":"user","tenant":"default",'
        '"strength":1},"parents":[{"type":"Role","id":"developer"},{"type":"Role","id":"viewer"}]},'
        '{"uid":{"type":"Resource","id":"digits"},"attrs":{"kind":"model","name":"digits"},"parents":[]}]'
    )
    request = {
        "principal": 'Principal::"user:alice"',
        "action": 'Action::"model.infer"',
        "resource": 'Resource::"digits"',
        "context": '{"tenant": "default"}',
    }
    return lambda: cedarpy.is_authorized(request, parsed, entities)


def decisions(rounds: int) -> list[tuple[str, tuple[float, float], float | None]]:
    shipped, spread = Policies.shipped(), filled(500, list(Action))
    rows: list[tuple[str, tuple[float, float], float | None]] = []
    for name, policies in (("shipped", shipped), ("500 policies", spread)):
        ask(policies)
        rows.append((f"decide, cached, {name}", times(lambda p=policies: ask(p), rounds, BATCH), 5.0))
    cold = {"shipped": shipped, "500 over all actions": spread}
    cold |= {f"500 on one action, {shape}": on_one_action(shape, 500) for shape in SHAPES}
    for name, policies in cold.items():
        taken = times(lambda p=policies: ask(p), rounds, before=lambda p=policies: forget(p))
        rows.append((f"decide, cold, {name}", taken, None if name.endswith(UNPROMISED) else 400.0))
    bare = bare_cedar(cold["500 on one action, by role"])
    rows.append(("  beside it: bare Cedar, 500 by role", times(bare, rounds), None))
    table = {(role, action) for role in Role for action in (Action.MODEL_INFER, Action.MODEL_READ)}

    def plain() -> bool:
        return any((role, Action.MODEL_INFER) in table for role in ALICE.roles)

    rows.append(("  beside it: a plain look-up", times(plain, rounds, BATCH), None))
    return rows


def casbin(folder: Path, rounds: int) -> list[tuple[str, tuple[float, float], float | None]]:
    """The peer in its own environment; no row, and why, where that cannot be made."""
    python = folder / "pycasbin" / "bin" / "python"
    try:
        if not python.exists():
            venv.create(folder / "pycasbin", with_pip=True)
        if subprocess.run([python, "-c", "import casbin"], check=False, capture_output=True).returncode:
            line = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PEER]
            subprocess.run(line, check=True, capture_output=True, timeout=600)
        done = subprocess.run([python, "-c", CASBIN, str(rounds)], check=True, capture_output=True, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"pycasbin was not measured: {error}")
        return []
    middle, high = map(float, done.stdout.split())
    return [("  beside it: pycasbin, 500 policies", (middle, high), None)]


def restrictions(rounds: int) -> list[tuple[str, tuple[float, float], float | None]]:
    """A request that no restriction holds, beside none and beside a thousand."""
    until = later(NOW, 3600)
    many = [
        Standing(str(n), ALICE.tenant, Measure.BLOCK, Kind.ADDRESS, f"10.{n >> 8}.{n & 255}.0/{24 + n % 8}", until)
        for n in range(500)
    ] + [Standing(str(n), ALICE.tenant, Measure.BLOCK, Kind.PRINCIPAL, f"user:{n}", until) for n in range(500)]
    asking = Asking(ALICE, Action.MODEL_INFER, "ab12cd34", "203.0.113.7", "digits")
    counters = MemoryCounters()
    fences = {"none": Fence(Restrictions(())), "1000": Fence(Restrictions(tuple(many)))}
    return [
        (f"restrictions, {name}", times(lambda f=fence: f.enforce(asking, counters, NOW), rounds, BATCH), None)
        for name, fence in fences.items()
    ]


def authentication(rounds: int) -> list[tuple[str, tuple[float, float], float | None]]:
    pepper = os.urandom(32)
    made = [mint(os.urandom) for _ in range(KEYS)]
    credentials = Credentials(
        pepper,
        {
            hmac.digest(pepper, text.encode(), "sha256"): KeyRecord(
                key_id, ALICE.id, ALICE.kind, ALICE.tenant, ALICE.roles, Limit(1, 1), NOW + 1
            )
            for key_id, text in made
        },
    )
    nets = spans((*(f"10.{n}.0.0/16" for n in range(7)), "203.0.113.0/24"))
    confined = Credentials(
        pepper, {digest: msgspec.structs.replace(key, networks=nets) for digest, key in credentials.keys.items()}
    )
    turns = itertools.cycle([b"Bearer " + text.encode() for _, text in made])
    good = made[0][1].encode()
    flood = b"Bearer " + b"A" * (1 << 20)
    header, unknown = b"Bearer " + good, b"Bearer " + mint(os.urandom)[1].encode()

    def refuse(value: bytes) -> None:
        try:
            authenticate(value, credentials, NOW)
        except Unauthenticated:
            return
        raise SystemExit("a wrong key was taken: nothing was measured")

    return [
        (
            f"authenticate, one of {KEYS} keys",
            times(lambda: authenticate(header, credentials, NOW), rounds, BATCH),
            3.0,
        ),
        (
            "authenticate, any of them in turn",
            times(lambda: authenticate(next(turns), credentials, NOW), rounds, BATCH),
            3.0,
        ),
        (
            "authenticate, key of eight networks",
            times(lambda: authenticate(header, confined, NOW, "203.0.113.7"), rounds, BATCH),
            None,
        ),
        ("authenticate, unknown key", times(lambda: refuse(unknown), rounds, BATCH), None),
        ("authenticate, SQL for a key", times(lambda: refuse(b"Bearer ' OR 1=1 --"), rounds, BATCH), None),
        ("authenticate, 1 MiB for a key", times(lambda: refuse(flood), rounds), None),
        ("  beside it: bare HMAC-SHA-256", times(lambda: hmac.digest(pepper, good, "sha256"), rounds, BATCH), None),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a second instead of ten")
    parser.add_argument("--peers", type=Path, default=Path(".env-peers"), help="folder of the peers' environments")
    options = parser.parse_args()
    rounds = 60 if options.quick else 600
    missed = 0
    print(f"{'microseconds':50s} {'p50':>9s} {'p90':>9s} {'target':>8s}")
    rows = decisions(rounds) + casbin(options.peers, rounds) + restrictions(rounds) + authentication(rounds)
    for name, (middle, high), target in rows:
        verdict = "" if target is None else "PASS" if middle <= target else "MISS"
        missed += verdict == "MISS"
        print(f"{name:50s} {middle:9.2f} {high:9.2f} {'' if target is None else f'{target:.0f}':>8s} {verdict}")
    found = {name.strip(): middle for name, (middle, _), _ in rows}
    cedar = found["decide, cold, 500 on one action, by role"] / found["beside it: bare Cedar, 500 by role"]
    hashed = found[f"authenticate, one of {KEYS} keys"] / found["beside it: bare HMAC-SHA-256"]
    print(f"cold decision / bare Cedar: {cedar:.2f}   authenticate / bare HMAC: {hashed:.1f}")
    print(__doc__[__doc__.index("Caveats") :].rstrip())
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
