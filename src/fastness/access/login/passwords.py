"""Passwords: what is taken, how it is kept, and how it is checked at the same cost whether the account exists or not.

A password is brought to Unicode normal form NFKC, so that it does not depend on keyboard and system, and has 12 to 256
characters then; nothing is cut off or stripped. It is refused if it is known to others: on a list of breached passwords
(in the k-anonymity format of Have I Been Pwned, or one sorted file; nothing leaves the machine), a common word with
digits and signs around it, a row of keys, or the name of its owner or of this house. No other composition is asked for.

What is kept is Argon2id over HMAC-SHA-256 of tenant, owner and password under a key of the key ring: a stolen table
gives nothing to guess at, and a hash copied to another owner's row opens nothing.

Hashing takes some 50 ms and `memory_kib` of memory, so it is no work to be ordered at will: few are hashed at once, few
wait, all others are told to come back; known devices have a place of their own. It is never done inside a transaction.

What it misses: while the parameters are being raised, an account that has not logged in since is checked at the old
cost, which can be timed.

Source: RFC 9106 (Argon2); NIST SP 800-63B-4, sections 3.1.1.2 (lists, length, NFKC) and A.2.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import hmac
import re
import string
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, NoReturn, Protocol

import msgspec
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError

from fastness.core.clock import Entropy
from fastness.core.errors import Corrupt, Invalid, Limited, Unavailable
from fastness.core.identity import PrincipalId, Scope, TenantId

SHORTEST, LONGEST = 12, 256
DOCUMENTED = frozenset({"correct-horse-battery-staple", "tr0ub4dor&3-tr0ub4dor&3"})
"""Passwords that stand in documentation, ours or everybody's: never accepted, whatever the records say."""

_FEWEST_DIFFERENT = 5
_ROWS = (
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn",
)
_PLAIN = str.maketrans("013457@$!", "oleastasi")
_SHA1_LINE = re.compile(rb"[0-9A-Fa-f]{40}(?::[0-9]+)?\s*")


class Keyed(Protocol):
    """The keyed hash under the passwords."""

    def digest(self, data: bytes) -> bytes:
        """HMAC-SHA-256 of `data`."""
        ...


class Cost(NamedTuple):
    """The parameters of Argon2id."""

    memory_kib: int
    passes: int
    lanes: int


@dataclass(frozen=True, slots=True)
class Account:
    """Whose password is asked for, and what is kept of it.

    Attributes:
        principal: also where there is no such principal.
        stored: its hash; None where there is none to be right about.
        known: whether there is such a principal.
        device: id of the known device that asks; empty for others.
        generation: grows with each new password.
    """

    tenant: TenantId
    principal: PrincipalId
    stored: str | None = field(repr=False)
    known: bool = False
    device: str = ""
    generation: int = 0

    @property
    def scope(self) -> Scope:
        """In whose name the next step is taken: nobody is authenticated yet."""
        return Scope(self.tenant, PrincipalId(""))


@dataclass(frozen=True, slots=True)
class Proof:
    """What a check found.

    Attributes:
        stored: the hash that it was held against.
        renewed: the same password at today's parameters, where they have changed; else empty.
    """

    right: bool
    stored: str | None = field(repr=False)
    renewed: str = field(default="", repr=False)
    public: bool = False


class Passwords:
    """Hashes and checks passwords. Threads share one.

    Args:
        cost: of new hashes.
        pepper: for nothing else.
        gate: how many are hashed at once, and how many may wait.
        breached: path of the list; empty for none.

    Attributes:
        hashed: computations of Argon2id so far.

    Raises:
        Unavailable: the list cannot be read.
        Invalid: it is none.
    """

    def __init__(
        self, cost: Cost, pepper: Keyed, entropy: Entropy, gate: tuple[int, int] = (2, 16), breached: str = ""
    ) -> None:
        self.hashed = 0
        self._cost = cost
        self._hasher = PasswordHasher(cost.passes, cost.memory_kib, cost.lanes, type=Type.ID)
        self._pepper = pepper
        self._entropy = entropy
        self._gates = {False: _Gate(*gate), True: _Gate(1, gate[1])}
        self._breached = open_breached(Path(breached)) if breached else None
        self._decoy = _decoy(cost, entropy)

    def new(self, text: str, tenant: TenantId, principal: PrincipalId) -> str:
        """The hash of a new password of `principal`; not inside a transaction.

        Raises:
            Invalid: `password-length`, `password-malformed`, `password-common`, `password-breached` or `password-named`.
            Limited: `login-busy`.
        """
        prepared = _prepared(text)
        refuse_weak(prepared, principal)
        if self._breached is not None and self._breached.holds(prepared):
            _refuse("breached", "this password is on a list of passwords that others have", "Choose another one.")
        with self._gates[False].entered():
            return self._hash(self._peppered(prepared, tenant, principal))

    def check(self, account: Account, text: str) -> Proof:
        """Whether `text` is the account's password: always one computation; not inside a transaction.

        Raises:
            Limited: `login-busy`, too many are being checked.
            Corrupt: the stored hash is none.
        """
        try:
            prepared = _prepared(text)
        except Invalid:
            prepared = ""  # costs what any other wrong one does
        peppered = self._peppered(prepared, account.tenant, account.principal)
        with self._gates[bool(account.device)].entered():
            public = prepared in DOCUMENTED
            right = self._verify(account.stored or self._decoy, peppered)
            right = right and account.stored is not None and bool(prepared) and not public
            stale = right and self._hasher.check_needs_rehash(account.stored or "")
            renewed = self._hash(peppered) if stale else ""
        return Proof(right, account.stored, renewed, public)

    def _hash(self, peppered: bytes) -> str:
        self.hashed += 1
        try:
            return self._hasher.hash(peppered, salt=self._entropy(16))
        except HashingError as error:
            raise _no_memory() from error

    def _verify(self, stored: str, peppered: bytes) -> bool:
        try:
            costs = extract_parameters(stored)
        except (InvalidHashError, ValueError) as error:
            raise _changed() from error
        if costs.type is not Type.ID or costs.memory_cost > 16 * self._cost.memory_kib or costs.time_cost > 64:
            raise _changed()  # whoever writes the table could order any work
        self.hashed += 1
        try:
            return self._hasher.verify(stored, peppered)
        except VerifyMismatchError:
            return False
        except InvalidHashError as error:
            raise _changed() from error
        except VerificationError as error:
            raise (_no_memory() if "emory" in str(error) else _changed()) from error

    def _peppered(self, prepared: str, tenant: TenantId, principal: PrincipalId) -> bytes:
        return base64.b64encode(self._pepper.digest(msgspec.json.encode([tenant, principal, prepared])))


class _Gate:
    """Lets few in at once and few wait."""

    def __init__(self, at_once: int, queue: int) -> None:
        self._places = threading.BoundedSemaphore(at_once)
        self._all = threading.BoundedSemaphore(at_once + queue)

    @contextmanager
    def entered(self) -> Iterator[None]:
        if not self._all.acquire(blocking=False):
            raise Limited("login-busy", "too many passwords are being checked", "Try again in a moment.", 2.0)
        try:
            with self._places:
                yield
        finally:
            self._all.release()


def refuse_weak(prepared: str, principal: PrincipalId) -> None:
    """Return if `prepared` is not easily guessed.

    Raises:
        Invalid: `password-common` or `password-named`.
    """
    low = prepared.casefold()
    name = principal.partition(":")[2].casefold()
    for part in {"fastness", *re.split(r"[._-]", name), name}:
        if len(part) >= 3 and part in low:
            _refuse("named", "the password holds your name or that of this house", "Leave both out.")
    if prepared in DOCUMENTED or _is_common(low):
        _refuse(
            "common",
            "this password is among those that are tried first",
            "Use several words that do not belong together.",
        )


def _is_common(low: str) -> bool:
    """Whether it is a common word, or several, whatever digits and signs stand around or for its letters."""
    core = low.strip(string.digits + string.punctuation + " ")
    texts = (low, low.translate(_PLAIN), core.translate(_PLAIN))
    few = len(set(low)) < _FEWEST_DIFFERENT
    return few or _is_row(low) or any(_made_of_common("".join(filter(str.isalpha, text))) for text in texts)


def _is_row(low: str) -> bool:
    """Whether it is neighbours in the alphabet, among the digits or on a keyboard, in either direction, again and again."""
    steps = sum(abs(ord(a) - ord(b)) <= 1 or _neighbours(a, b) for a, b in pairwise(low))
    return steps >= 0.75 * (len(low) - 1)


def _neighbours(a: str, b: str) -> bool:
    return a + b in "90" or b + a in "90" or any(a + b in row or b + a in row for row in _ROWS)


def _made_of_common(text: str) -> bool:
    """Whether `text` is nothing but common words, one after the other."""
    words = _common_words()
    ends = {0}
    for end in range(1, len(text) + 1):
        if any(text[start:end] in words for start in ends):
            ends.add(end)
    return bool(text) and len(text) in ends


@lru_cache(maxsize=1)
def _common_words() -> frozenset[str]:
    data = resources.files("fastness.access.login").joinpath("commonest.json").read_bytes()
    return frozenset(msgspec.json.decode(data, type=list[str]))


class Breached(Protocol):
    """Passwords that others know."""

    def holds(self, prepared: str) -> bool:
        """Whether the list names this password."""
        ...


def open_breached(path: Path) -> Breached:
    """The list at `path`: a folder of range files (`21BD1` or `21BD1.txt`, lines `SUFFIX:COUNT`), or a file sorted by SHA-1.

    Raises:
        Unavailable: it is not there or cannot be read.
        Invalid: `breached-malformed`, its first line is not such a line.
    """
    try:
        if path.is_dir():
            return BreachedRanges(path)
        with path.open("rb") as file:
            first = file.readline(100)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not _SHA1_LINE.fullmatch(first):
        raise Invalid("breached-malformed", f"{path.name} does not begin with a SHA-1 digest", "Sort it by digest.")
    return BreachedFile(path)


@dataclass(frozen=True)
class BreachedRanges:
    """A folder with one file for each five digits that a SHA-1 begins with. A range without a file is refused, not passed."""

    folder: Path

    def holds(self, prepared: str) -> bool:
        """Whether its range names the password. Raises Unavailable where the range is missing."""
        digest = _sha1(prepared)
        for name in (f"{digest[:5]}.txt", digest[:5]):
            if (self.folder / name).is_file():
                text = (self.folder / name).read_text("ascii", "replace").upper()
                return any(line.partition(":")[0].strip() == digest[5:] for line in text.splitlines())
        raise _unreadable(self.folder / digest[:5], FileNotFoundError(2, "no such range"))


@dataclass(frozen=True)
class BreachedFile:
    """One file, a line a digest, sorted; searched by bisection, so that no part of it need be in memory."""

    path: Path

    def holds(self, prepared: str) -> bool:
        """Whether a line names the password. Raises Unavailable."""
        wanted = _sha1(prepared).encode("ascii")
        try:
            with self.path.open("rb") as file:
                lines = _Lines(file, file.seek(0, 2))
                at = bisect.bisect_left(lines, wanted)
                return at < len(lines) and lines[at] == wanted
        except OSError as error:
            raise _unreadable(self.path, error) from error


class _Lines(Sequence[bytes]):
    """For each place of a file the digest in the first line that begins there or later; after all of them at the end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: int) -> bytes:  # type: ignore[override]  # bisect asks for single places alone
        self._file.seek(max(0, place - 1))
        if place:
            self._file.readline()
        return self._file.readline()[:40].upper() or _AFTER


_AFTER: Final = b"~"


def _sha1(prepared: str) -> str:
    # The format of the lists, not a protection.
    return hashlib.sha1(prepared.encode("utf-8"), usedforsecurity=False).hexdigest().upper()


def same(one: str | None, other: str | None) -> bool:
    """Whether two stored hashes are the same, None included, in constant time."""
    return (one is None) == (other is None) and hmac.compare_digest((one or "").encode(), (other or "").encode())


def _prepared(text: str) -> str:
    """`text` in NFKC. Raises Invalid where it is no password."""
    if len(text) > 4 * LONGEST:
        _refuse("length", f"the password has more than {LONGEST} characters", "Use a shorter one.")
    prepared = unicodedata.normalize("NFKC", text)
    if not prepared.isascii() and not _encodes(prepared):
        _refuse("malformed", "the password holds half a character", "Type it again.")
    if not SHORTEST <= len(prepared) <= LONGEST:
        _refuse("length", f"a password has {SHORTEST} to {LONGEST} characters", "Use several words.")
    return prepared


def _encodes(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _decoy(cost: Cost, entropy: Entropy) -> str:
    """A hash of nothing, as costly to check as a real one."""
    salt, digest = (base64.b64encode(entropy(size)).decode("ascii").rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p={cost.lanes}${salt}${digest}"


def _refuse(code: str, message: str, hint: str) -> NoReturn:
    raise Invalid(f"password-{code}", message, hint)


def _changed() -> Corrupt:
    hint = "Somebody changed the database: compare it with the ledger, and restore a backup."
    return Corrupt("access-changed", "a stored password hash is none", hint)


def _no_memory() -> Unavailable:
    return Unavailable("login-memory", "there is no memory to check a password", "Lower login.memory_kib.")


def _unreadable(path: Path, error: OSError) -> Unavailable:
    hint = "Check login.breached; leave it empty to do without."
    return Unavailable("breached-unreadable", f"the list of breached passwords, {path.name}: {error.strerror}", hint)
