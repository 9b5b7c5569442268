"""What verifying an access token costs, cold and from memory, beside a plain library call, in one run.

Method: one token is verified again and again in one thread; medians and 90th percentiles of single calls (cold) or of
batches of 200 (cached, so that the clock's own 50 ns do not count). "Cold" empties the memory before each call and
verifies everything; "cached" is what a gateway does for every request but the first of a token; "judged again" is the
first request after the snapshot moved: the signature is known, all else is looked at anew. The library beside it, joserfc,
decodes the same token under the same key and then checks issuer, audience and expiry with its own registry; with PyJWT
in the environment, that stands beside it too.

Caveats: the libraries do less: no scope, no roles, no revocation, no duplicate members, no binding. Other load on the
machine shows in the 90th percentile first. Exit status 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning

from fastness.access.tokens import TokenKeys, Verifier
from fastness.access.tokens.jose import SigningKey, make_key, public_jwk, sign
from fastness.access.tokens.snapshot import Holder, PublicKey
from fastness.core.clock import SECOND, Instant, SystemClock
from fastness.core.identity import PrincipalKind, Role

ISSUER, AUDIENCE = "https://fastness.example", "https://fastness.example/api"
HOLDERS = 10_000
DENIED = 1_000
BATCH = 200

Row = tuple[str, tuple[float, float], float | None]


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


def claims_at(now: Instant) -> dict[str, Any]:
    now_s = now // SECOND
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now_s,
        "exp": now_s + 600,
        "jti": "0191e0a0-0000-7000-8000-000000000000",
        "sub": "user:alice",
        "tenant": "default",
        "client_id": "fastness-cli",
        "scope": "model.infer model.read model:digits",
        "acr": "mfa",
        "auth_time": now_s,
        "family": "0191e0a0-0000-7000-8000-000000000001",
    }


def snapshot(key: SigningKey) -> TokenKeys:
    holders = {f"default/user:u{n}": Holder(PrincipalKind.USER, frozenset(), active=True) for n in range(HOLDERS)}
    holders["default/user:alice"] = Holder(PrincipalKind.USER, frozenset({Role.DEVELOPER}), active=True)
    denied = frozenset(f"default/{n}" for n in range(DENIED))
    return TokenKeys(ISSUER, AUDIENCE, {key.kid: PublicKey(key.alg, public_jwk(key.key))}, holders, denied)


def forget(verifier: Verifier) -> None:
    verifier._young.clear()
    verifier._old.clear()


def ours(alg: str, rounds: int) -> list[Row]:
    now, key = SystemClock().now(), make_key(alg)
    token, one, other = sign(key, "at+jwt", claims_at(now)).encode(), snapshot(key), snapshot(key)
    verifier = Verifier(one, os.urandom(32))
    if verifier.verify(token, now).principal.id != "user:alice":
        raise SystemExit("the token was refused: nothing was measured")

    def moved() -> None:
        verifier.use(other if verifier._keys is one else one)

    return [
        (
            f"verify, cached, {alg} ({len(token)} bytes)",
            times(lambda: verifier.verify(token, now), rounds, BATCH),
            1.5,
        ),
        (f"verify, judged again, {alg}", times(lambda: verifier.verify(token, now), rounds, before=moved), None),
        (
            f"verify, cold, {alg}",
            times(lambda: verifier.verify(token, now), rounds, before=lambda: forget(verifier)),
            200.0,
        ),
        *beside(alg, key, token.decode(), rounds),
    ]


def beside(alg: str, key: SigningKey, token: str, rounds: int) -> list[Row]:
    registry = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE}, exp={"essential": True}
    )
    rows: list[Row] = []

    def joserfc() -> None:
        registry.validate(jwt.decode(token, key.key, algorithms=[alg]).claims)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # EdDSA has a new name in RFC 9864
        rows.append((f"  beside it: joserfc, {alg}", times(joserfc, rounds), None))
    if importlib.util.find_spec("jwt") is not None:
        plain = importlib.import_module("jwt")
        public = key.key.public_key
        rows.append(
            (
                f"  beside it: PyJWT, {alg}",
                times(lambda: plain.decode(token, public, algorithms=[alg], audience=AUDIENCE, issuer=ISSUER), rounds),
                None,
            )
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a second instead of ten")
    rounds = 60 if parser.parse_args().quick else 600
    missed = 0
    print(f"{'microseconds':44s} {'p50':>9s} {'p90':>9s} {'target':>8s}")
    rows = [row for alg in ("ES256", "EdDSA") for row in ours(alg, rounds)]
    for name, (middle, high), target in rows:
        verdict = "" if target is None else "PASS" if middle <= target else "MISS"
        missed += verdict == "MISS"
        print(f"{name:44s} {middle:9.2f} {high:9.2f} {'' if target is None else f'{target:.1f}':>8s} {verdict}")
    found = {name.strip(): middle for name, (middle, _), _ in rows}
    for alg in ("ES256", "EdDSA"):
        print(f"cold / joserfc, {alg}: {found[f'verify, cold, {alg}'] / found[f'beside it: joserfc, {alg}']:.2f}")
    print(__doc__[__doc__.index("Caveats") :].rstrip())
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
