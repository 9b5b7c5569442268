"""Recognise secrets in text: keys and tokens by the form their issuer gives them, passwords by what they are assigned to.

A form alone is not enough where it is loose: what fits must also look random (entropy) or decode as its issuer would
decode it (structure), and must not be a placeholder of a manual. Texts of models are full of words that look like fields
of secrets (`pad_token`, `eos_token`), so that the general form asks for more than a name.

Misses: secrets of other issuers, split ones, those encoded otherwise than in base64 or hexadecimal digits, and passwords that are words. Cost: one search for fixed letters a
recogniser, about 2 microseconds for a short text; expressions run only where their letters stand.

Source: the forms are those that the issuers document; GitHub, "Behind GitHub's new authentication token formats", 2021
(checksum of GitHub's and npm's tokens).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

SHORTEST = 16
"""No secret that is recognised is shorter, its context included."""

_BEHIND = 72
"""How many characters before its letters a form may look at."""
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PLACEHOLDER = re.compile(
    r"example|placeholder|your|changeme|change[_-]me|dummy|sample|redacted|insert|replace|todo|fake|xxxx|\*\*\*\*|\.\.\.|<|>|\$\{|\{\{"
    r"|%\(|secret[_-]?here|12345678|abcdefgh|deadbeef|(?P<same>.)(?P=same){5}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret stands. It is not kept.

    Attributes:
        kind: for people, with the issuer where it is known.
        start: index of the first character, of its context where it is known by that.
        end: index behind the last.
    """

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Recogniser:
    """One form.

    Attributes:
        letters: a match begins with one of these; they are searched for, and the pattern is tried where they stand.
        pattern: the secret itself is the group `value`, or the whole.
        accepts: whether what fits the form is a secret.
        folded: the letters are searched for in the lowered text, and only where something is assigned in it.
        behind: what must stand right before the letters.
    """

    kind: str
    letters: tuple[str, ...]
    pattern: re.Pattern[str]
    accepts: Callable[[str], bool]
    folded: bool = False
    behind: re.Pattern[str] | None = None

    def matches(self, text: str, searched: str) -> Iterator[re.Match[str]]:
        """The matches in `text`, whose letters are looked for in `searched`."""
        for letters in self.letters:
            at = searched.find(letters)
            while at >= 0:
                match = self.pattern.match(text, at)
                if match is not None and (self.behind is None or self.behind.search(text[max(0, at - _BEHIND) : at])):
                    yield match
                at = searched.find(letters, at + 1)


def secrets_in(text: str) -> list[Secret]:
    """The secrets of a text in order; of those that overlap, the one of the most specific form."""
    kept: list[Secret] = []
    best = reach = 0
    for secret, rank in sorted(_all(text), key=lambda found: found[0].start):
        if not kept or secret.start >= reach:
            kept.append(secret)
            best = rank
        elif rank < best:
            kept[-1], best = secret, rank
        reach = max(reach, secret.end)
    return kept


def first_secret(text: str) -> str:
    """The kind of one secret in `text`, the most specific form first, or an empty text."""
    found = next(_all(text), None)
    return found[0].kind if found is not None else ""


def _all(text: str) -> Iterator[tuple[Secret, int]]:
    """All matches, with the rank of their form, the most specific forms first; then encoded ones."""
    yield from _plain(text)
    if len(text) >= _SHORTEST_ENCODED:
        yield from _encoded(text)
        for run in islice(_HEX.finditer(text), _MOST_RUNS):
            digits = run[0][: len(run[0]) & ~1]
            for secret, rank in _plain(bytes.fromhex(digits).decode("latin-1")):
                yield Secret(f"{secret.kind} in hexadecimal digits", run.start(), run.end()), rank
                break


def _encoded(text: str) -> Iterator[tuple[Secret, int]]:
    """Secrets whose first letters stand in base64: what is around these is decoded."""
    for letters, skipped in _IN_BASE64.items():
        at = text.find(letters)
        tried = 0
        while at >= skipped and tried < _MOST_TRIED:
            tried += 1
            run = _BASE64.match(text, at - skipped, at + _LONGEST_ENCODED)
            decoded = _decoded(run[0]) if run is not None else ""
            for secret, rank in _plain(decoded):
                yield Secret(f"{secret.kind} in base64", at, at + len(letters)), rank
                break
            at = text.find(letters, at + 1)


def _decoded(run: str) -> str:
    whole = run[: len(run) - len(run) % 4] if len(run) % 4 == 1 else run + "=" * (-len(run) % 4)
    try:
        return base64.b64decode(whole.replace("-", "+").replace("_", "/")).decode("latin-1")
    except (binascii.Error, ValueError):
        return ""


def _plain(text: str) -> Iterator[tuple[Secret, int]]:
    folded = _folded(text)
    hit = {letters for letters in _LETTERS if letters in text} | {letters for letters in _FOLDED if letters in folded}
    for rank, one in enumerate(RECOGNISERS if hit else ()):
        for match in () if hit.isdisjoint(one.letters) else one.matches(text, folded if one.folded else text):
            if one.accepts(match["value"] if "value" in one.pattern.groupindex else match[0]):
                yield Secret(one.kind, match.start(), match.end()), rank


def _folded(text: str) -> str:
    """The lowered text where something is assigned in it; empty otherwise, and where a letter becomes two."""
    lowered = text.lower() if "=" in text or ":" in text else ""
    return lowered if len(lowered) == len(text) else ""


# ---------------------------------------------------------------- what makes a match a secret
def entropy(text: str) -> float:
    """Shannon's entropy of the characters, in bits each."""
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts) if text else 0.0


def _placeholder(value: str) -> bool:
    return _PLACEHOLDER.search(value) is not None


def _random(value: str) -> bool:
    """As random as letters and digits of its length can be expected to be, and no placeholder."""
    return entropy(value) >= min(3.5, 0.75 * math.log2(max(2, len(value)))) and not _placeholder(value)


def _mixed(value: str) -> bool:
    """Random, and neither letters nor digits alone."""
    return _random(value) and any(c.isdigit() for c in value) and any(c.isalpha() for c in value)


def _checksummed(value: str) -> bool:
    """The last six of a token of GitHub or npm are the checksum of what stands behind its prefix; otherwise it must look random."""
    body = value.partition("_")[2]
    number, digits = zlib.crc32(body[:-6].encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return body[-6:] == digits.rjust(6, "0") or _mixed(body)


def _signed_token(value: str) -> bool:
    """A JWT: a header with an algorithm, and claims, both JSON objects."""
    parts = value.split(".")
    header, claims = (_json_object(part) for part in parts[:2])
    return "alg" in header and bool(claims) and len(parts[2]) >= 16 and header["alg"] != "none"


def _json_object(part: str) -> dict[str, object]:
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _macaroon(value: str) -> bool:
    """A token of PyPI is a macaroon, whose second field is its location."""
    try:
        head = base64.urlsafe_b64decode(value[5:25] + "=" * (-len(value[5:25]) % 4))
    except (binascii.Error, ValueError):
        return False
    return head[:2] == b"\x02\x01" and b"pypi" in head and _random(value[20:])


def _key_body(value: str) -> bool:
    """Real keys hold long runs of one letter, so that only words count as a placeholder."""
    return _NO_KEY.search(value) is None


def _password(value: str) -> bool:
    """A password somebody chose: not a word, a name in code, a path or a variable."""
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    calls = re.fullmatch(
        r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+|.*[()\[\]{}].*|(?:[./~]|os\.|self\.|env).*|https?:.*|[\w-]+/[\w.-]+", value
    )
    return (
        mixed
        and calls is None
        and entropy(value) >= 2.75
        and not _placeholder(value)
        and not _NO_PASSWORD.search(value)
    )


_NO_KEY = re.compile(r"\.\.\.|[<>*]|your|xxxx|redacted|example|placeholder", re.IGNORECASE)
_NO_PASSWORD = re.compile(r"password|passwd|secret|token|null|none|true|false|\d{4}-\d\d-\d\d", re.IGNORECASE)


def _url_password(value: str) -> bool:
    weak = {
        "password",
        "pass",
        "passwd",
        "pwd",
        "secret",
        "user",
        "username",
        "token",
        "postgres",
        "root",
        "admin",
        "guest",
    }
    return (
        len(value) >= 4
        and value.lower() not in weak
        and not _placeholder(value)
        and not value.startswith(("$", "%", "{", "["))
    )


# ---------------------------------------------------------------- the forms
def _form(
    kind: str, letters: str, pattern: str, accepts: Callable[[str], bool] = _mixed, behind: str = ""
) -> Recogniser:
    before = re.compile(rf"{behind}\Z") if behind else None
    return Recogniser(kind, tuple(letters.split()), re.compile(pattern), accepts, behind=before)


def _assigned(kind: str, letters: str, pattern: str, accepts: Callable[[str], bool], behind: str = "") -> Recogniser:
    before = re.compile(rf"{behind}\Z", re.IGNORECASE) if behind else None
    return Recogniser(kind, tuple(letters.split()), re.compile(pattern), accepts, folded=True, behind=before)


def _aws_secret(value: str) -> bool:
    return _mixed(value) and entropy(value) >= 4.0 and re.fullmatch(r"[0-9a-f]+", value) is None


_END = r"(?![A-Za-z0-9_-])"
_NAMES = "password passwd passphrase pwd key secret token"
_NAMED = "(?i:" + "|".join(_NAMES.split()) + ")"
_QUOTED = r"[\"']?\s{0,4}(?:[:=]|=>)\s{0,4}(?P<quote>[\"'])(?P<value>[^\"'\s]{8,200})(?P=quote)"
_BARE = r"[ \t]{0,4}[:=][ \t]{0,4}(?P<value>[^\s\"'#]{8,200})[ \t]{0,16}(?=[\r\n]|\Z)"
_LINE = r"(?:\A|\n)[ \t]{0,8}(?:export )?[\w.-]{0,24}"
# A key, secret or token is what its first part says: a primary key or a mask token is none.
_PREFIX = (
    r"(?:api|access|auth|account|secret|private|encryption|signing|service|client|master|app|consumer|shared|webhook|hub|hf|bearer"
    r"|refresh|id|session|bot|admin|deploy|registry|github|gitlab|hugging_?face|openai|wandb)[_-]?"
)

RECOGNISERS: tuple[Recogniser, ...] = (
    _form("private key", "-----BEGIN", r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\\[rn]|[\s\"',+])*(?P<value>[A-Za-z0-9+/=:,-][^\n]{0,60})", _key_body),
    _form("private key", "PuTTY-User-Key-File", r"PuTTY-User-Key-File-\d: [\w-]+", _key_body),
    _form("private key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _form("AWS access key", "AKIA ASIA ABIA ACCA", r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?![A-Za-z0-9])"),
    _assigned("AWS secret key", "aws secret", r"(?i:aws|secret)[\w .-]{0,32}[\"']?\s{0,4}[:=>,]{1,2}\s{0,4}[\"']?(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])", _aws_secret),
    _form("Google key", "AIza", r"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _form("Google client secret", "GOCSPX-", r"(?<![\w-])GOCSPX-[A-Za-z0-9_-]{28}" + _END, _random),
    _form("Google access token", "ya29.", r"(?<!\w)ya29\.[A-Za-z0-9_-]{30,400}"),
    _form("Azure storage key", "AccountKey=", r"AccountKey=(?P<value>[A-Za-z0-9+/]{86}==)"),
    _form("Azure client secret", "Q~", r"Q~[A-Za-z0-9_~.-]{31,34}(?![\w.~-])", _mixed, r"(?<![\w.~-])[A-Za-z0-9_~.]{3}\d"),
    _form("Azure shared access signature", "sig=", r"sig=(?P<value>[A-Za-z0-9%+/]{40,100}(?:%3D|=))", _mixed, "[?&]"),
    _form("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{36,255}", _checksummed),
    _form("GitHub token", "github_pat_", r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{50,255}"),
    _form("GitLab token", "glpat- gldt- glrt- glcbt- glptt-", r"(?<![A-Za-z0-9])gl(?:pat|dt|rt|cbt|ptt)-[A-Za-z0-9_-]{20,255}"),
    _form("Hugging Face token", "hf_ api_org_", r"(?<![A-Za-z0-9_])(?:hf|api_org)_[A-Za-z0-9]{30,60}" + _END, _random),
    _form("Anthropic key", "sk-ant-", r"(?<![A-Za-z0-9])sk-ant-[A-Za-z0-9_-]{32,255}"),
    _form("OpenAI key", "sk-", r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,200}T3BlbkFJ[A-Za-z0-9_-]{16,255}"),
    _form("model provider key", "sk-", r"(?<![A-Za-z0-9])sk-(?:proj-|svcacct-|admin-|or-v1-|live-)?[A-Za-z0-9_-]{32,255}"),
    _form("model provider key", "gsk_ xai- pplx- r8_ fw_", r"(?<![A-Za-z0-9])(?:gsk_[A-Za-z0-9]{48,64}|xai-[A-Za-z0-9]{70,90}|pplx-[A-Za-z0-9]{40,64}|r8_[A-Za-z0-9]{37}|fw_[A-Za-z0-9]{24})" + _END),
    _form("Slack token", "xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xapp-", r"(?<![A-Za-z0-9])(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{20,255}"),
    _form("Slack webhook", "hooks.slack.com/", r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<value>[A-Za-z0-9/+_-]{30,255})"),
    _form("Stripe key", "sk_live_ sk_test_ rk_live_ rk_test_ whsec_", r"(?<![A-Za-z0-9])(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{24,255}"),
    _form("npm token", "npm_", r"(?<![A-Za-z0-9_])npm_[A-Za-z0-9]{36}" + _END, _checksummed),
    _form("PyPI token", "pypi-AgE", r"(?<![A-Za-z0-9])pypi-AgE[A-Za-z0-9_-]{50,1000}", _macaroon),
    _form("SendGrid key", "SG.", r"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}" + _END),
    _form("Databricks token", "dapi", r"(?<![A-Za-z0-9])dapi[0-9a-f]{32}(?:-\d)?(?![A-Za-z0-9])"),
    _form("DigitalOcean token", "do_v1_ dop_v1_ doo_v1_ dor_v1_", r"(?<![A-Za-z0-9])do[opr]?_v1_[0-9a-f]{64}(?![A-Za-z0-9])"),
    _form("Docker token", "dckr_", r"(?<![A-Za-z0-9])dckr_(?:pat|oat)_[A-Za-z0-9_-]{27,64}"),
    _form("Vault token", "hvs. hvb.", r"(?<![A-Za-z0-9])hv[sb]\.[A-Za-z0-9_-]{24,255}"),
    _form("Telegram bot token", ":AA", r":AA[A-Za-z0-9_-]{33}" + _END, _mixed, r"(?<![A-Za-z0-9])\d{8,10}"),
    _form("Shopify token", "shp", r"(?<![A-Za-z0-9])shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}(?![A-Za-z0-9])"),
    _form("RubyGems key", "rubygems_", r"(?<![A-Za-z0-9])rubygems_[0-9a-f]{48}(?![A-Za-z0-9])"),
    _assigned("Weights & Biases key", "wandb", r"(?i:wandb)[\w .-]{0,24}[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?P<value>[0-9a-f]{40})(?![0-9A-Za-z])", _mixed),
    _form("JSON web token", "eyJ", r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{16,2000}", _signed_token),
    _form("password in an address", "://", r"://[^\s:/@\"'<>]{0,80}:(?P<value>[^\s:/@\"'<>]{3,160})@[A-Za-z0-9.\[-]", _url_password, "(?<![A-Za-z])[a-zA-Z][a-zA-Z0-9+]{2,24}"),
    _assigned("password", "password passwd passphrase", rf"{_NAMED}{_QUOTED}", _password),
    _assigned("password", "password passwd passphrase pwd", rf"{_NAMED}{_BARE}", _password, _LINE),
    _assigned("password", "pwd", rf"{_NAMED}{_QUOTED}", _password, "(?<![A-Za-z0-9])"),
    _assigned("password", "key secret token", rf"{_NAMED}{_QUOTED}", _password, _PREFIX),
    _assigned("password", "key secret token", rf"{_NAMED}{_BARE}", _password, rf"{_LINE}{_PREFIX}"),
)  # fmt: skip
"""All forms, the specific ones first."""
_LETTERS = tuple(letters for one in RECOGNISERS if not one.folded for letters in one.letters)
_FOLDED = tuple(sorted({letters for one in RECOGNISERS if one.folded for letters in one.letters}))


# ---------------------------------------------------------------- in base64
_SHORTEST_ENCODED, _LONGEST_ENCODED, _MOST_TRIED = 28, 8192, 64
_HEX, _MOST_RUNS = re.compile(r"[0-9a-fA-F]{40,16384}"), 1024
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}")
_OFTEN_ENCODED = (
    "-----BEGIN", "AKIA", "ASIA", "AIza", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "hf_", "sk-ant-", "sk-proj-",
    "xoxb-", "xoxp-", "sk_live_", "npm_", "pypi-AgE", "dckr_pat_",
)  # fmt: skip
_LEAST_ENCODED = 4


def _in_base64(letters: str) -> Iterator[tuple[str, int]]:
    """How letters look in base64 at each of the three places within its groups, and how much of the group is before."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + letters.encode()).decode()
        first, last = -(-before * 8 // 6), (before + len(letters)) * 8 // 6
        if last - first >= _LEAST_ENCODED:
            yield whole[first:last], first


_IN_BASE64 = {shown: skipped for letters in _OFTEN_ENCODED for shown, skipped in _in_base64(letters)}
