"""What a decision and an authentication cost, beside the bare engine and the bare hash, in one run.

Method: one question is asked again and again in one thread; medians and 90th percentiles of single calls (cold) or of
batches of 200 (cached, so that the clock's own 50 ns do not count). "Cold" empties the cache before each call, and
includes building and checking the request. The shipped policies are filled up to 500 with role and attribute rules.

Caveats: other load on the machine shows in the 90th percentile first. The worst case puts all 500 policies on the one
action that is asked for; sets in use spread over the actions, and only those of the action asked are evaluated. The
engines beside it do less: bare Cedar gets a ready request and no schema. Exit status 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import hmac
import os
import statistics
import sys
import time
from collections.abc import Callable

import cedarpy

from fastness.access import Credentials, Policies, authenticate, decide
from fastness.access.apikeys import mint
from fastness.access.credentials import KeyRecord
from fastness.core.clock import Instant
from fastness.core.errors import Unauthenticated
from fastness.core.identity import Action, Principal, PrincipalId, PrincipalKind, Resource, Role, Strength, TenantId
from fastness.core.limits import Limit

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
KEYS = 10_000


def times(
    act: Callable[[], object], rounds: int, batch: int = 1, before: Callable[[], object] | None = None
) -> tuple[float, float]:
    """Median and 90th percentile of one call, in microseconds."""
    taken = []
    for _ in range(rounds):
        if before is not None:
            before()
        start = time.perf_counter_ns()
        for _ in range(batch):
            act()
        taken.append((time.perf_counter_ns() - start) / batch / 1e3)
    return statistics.median(taken), statistics.quantiles(taken, n=10)[-1]


def filled(count: int, actions: list[Action]) -> Policies:
    """The shipped policies and more, `count` in all, spread over `actions`."""
    shipped = Policies.shipped()
    more = "\n".join(
        f'@id("own-{number}") permit(principal in Role::"team-{number}", action == Action::"{actions[number % len(actions)]}",'
        f' resource) when {{ resource.kind == "model" && principal.strength >= {number % 4} }};'
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
    worst = filled(500, [Action.MODEL_INFER])
    rows: list[tuple[str, tuple[float, float], float | None]] = []
    for name, policies in (("shipped", shipped), ("500 policies", spread)):
        ask(policies)
        rows.append((f"decide, cached, {name}", times(lambda p=policies: ask(p), rounds, BATCH), 5.0))
    cold = {"18 shipped": shipped, "500 over all actions": spread, "500 on one action": worst}
    for name, policies in cold.items():
        taken = times(lambda p=policies: ask(p), rounds, before=lambda p=policies: forget(p))
        rows.append((f"decide, cold, {name}", taken, 400.0))
    rows.append(("  beside it: bare Cedar, 500 policies", times(bare_cedar(worst), rounds), None))
    return rows


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
            5.0,
        ),
        ("authenticate, unknown key", times(lambda: refuse(unknown), rounds, BATCH), None),
        ("authenticate, SQL for a key", times(lambda: refuse(b"Bearer ' OR 1=1 --"), rounds, BATCH), None),
        ("authenticate, 1 MiB for a key", times(lambda: refuse(flood), rounds), None),
        ("  beside it: bare HMAC-SHA-256", times(lambda: hmac.digest(pepper, good, "sha256"), rounds, BATCH), None),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a second instead of ten")
    rounds = 60 if parser.parse_args().quick else 600
    missed = 0
    print(f"{'microseconds':44s} {'p50':>9s} {'p90':>9s} {'target':>8s}")
    rows = decisions(rounds) + authentication(rounds)
    for name, (middle, high), target in rows:
        verdict = "" if target is None else "PASS" if middle <= target else "MISS"
        missed += verdict == "MISS"
        print(f"{name:44s} {middle:9.2f} {high:9.2f} {'' if target is None else f'{target:.0f}':>8s} {verdict}")
    found = {name.strip(): middle for name, (middle, _), _ in rows}
    cedar = found["decide, cold, 500 on one action"] / found["beside it: bare Cedar, 500 policies"]
    hashed = found[f"authenticate, one of {KEYS} keys"] / found["beside it: bare HMAC-SHA-256"]
    print(f"cold decision / bare Cedar: {cedar:.2f}   authenticate / bare HMAC: {hashed:.1f}")
    print(__doc__[__doc__.index("Caveats") :].rstrip())
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
