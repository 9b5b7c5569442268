"""The rules of the frame itself: what it could not decide, and what stands between files."""

from __future__ import annotations

from fastness.core.findings import Rule, Severity

MAPS = {"owasp-llm": "LLM03:2025", "atlas": "AML.T0010", "cwe": "CWE-1357"}
PICKLE_MAPS = {"owasp-llm": "LLM03:2025", "atlas": "AML.T0011.000", "cwe": "CWE-502"}
SAFE_FORMAT = "A sound copy of it becomes ONNX or safetensors, which hold no code, with `fastness convert`."


def undecided(id: str, title: str, why: str, fix: str) -> Rule:  # noqa: A002 - the name of the field of Rule
    """A rule whose findings mean that the file could not be decided, and is therefore refused."""
    return Rule(id, title, Severity.HIGH, why, fix, MAPS, incomplete=True)


FORMAT_UNKNOWN = undecided(
    "format-unknown", "No reader knows this format",
    "What cannot be read cannot be vouched for.",
    "Scan a format that is covered: pickle, joblib, npy, safetensors or ONNX.",
)  # fmt: skip
FILE_EMPTY = undecided(
    "file-empty",
    "The file is empty",
    "An empty file is no model; it may be a failed download.",
    "Fetch the file again.",
)
BYTES_UNEXPLAINED = undecided(
    "bytes-unexplained", "Bytes that no reader accounts for",
    "Another program may read what this one did not: payloads hide behind and between formats.",
    "Save the model again with the library that made it, and remove what was appended.",
)  # fmt: skip
BUDGET_SPENT = undecided(
    "budget-spent", "The scan met one of its bounds",
    "Bounds keep hostile files from exhausting the scanner; a file cannot pass by being expensive.",
    "Raise the bound that is named if the file is known to be that large.",
)  # fmt: skip
READER_FAILED = undecided(
    "reader-failed", "A reader failed on this file",
    "A reader met something that its author did not think of; the file may be made to do that.",
    "Report the file's format and this message; do not load the file.",
)  # fmt: skip
UNREADABLE = undecided(
    "path-unreadable", "The path cannot be read", "What cannot be read cannot be vouched for.",
    "Check that it exists and that its permissions allow reading.",
)  # fmt: skip
PATH_LINK = undecided(
    "path-link", "A symbolic link", "A link may point outside of the folder, and elsewhere after the scan.",
    "Scan the file it points to, or replace the link by that file.",
)  # fmt: skip
PATH_SPECIAL = undecided(
    "path-special", "Neither a file nor a folder", "Devices, pipes and sockets have no fixed content.",
    "Remove it from the folder.",
)  # fmt: skip
PATH_HARD_LINK = Rule(
    "path-hard-link", "A file with more than one name", Severity.LOW,
    "Who writes to the file by its other name changes the model after the scan; hard links have led loaders to files outside.",
    "Copy the file, or compare its digest before it is loaded.", {**MAPS, "cwe": "CWE-62"},
)  # fmt: skip
PATH_CHANGED = undecided(
    "path-changed", "The file changed while it was scanned",
    "What was scanned is not what stands there now, so nothing that was found vouches for it.",
    "Scan it again when nobody writes to it.",
)  # fmt: skip
SCANNER_CRASHED = undecided(
    "scanner-crashed", "The process that scanned the file did not come to its end",
    "A file that ends its scanner may be made to; it ended in a process of its own, and took nothing with it.",
    "Do not load the file; report its format and this message.",
)  # fmt: skip
SCANNER_TIMEOUT = undecided(
    "scanner-timeout", "The scan took longer than it may",
    "A file cannot pass by being slow to scan.",
    "Raise scanning.timeout_s (`--timeout`) if the file is known to be that large.",
)  # fmt: skip
NAME_MISMATCH = Rule(
    "name-mismatch", "The name promises another format", Severity.MEDIUM,
    "Filters that go by the name let such a file through, and loaders that go by the content then run it.",
    "Rename the file to what it is, or find out why it was renamed.", {**MAPS, "cwe": "CWE-646"},
)  # fmt: skip
INDEX = Rule(
    "index-out-of-range", "A number that leads out of an array", Severity.HIGH,
    "Compiled code follows children of trees, features, points and indices of matrices without asking: one that leads out of its "
    "array reads, or writes, memory that is not the model's, when the model is loaded or first used; one that leads back never ends.",
    f"No honest library writes this: do not load it. {SAFE_FORMAT}", {**MAPS, "cwe": "CWE-125", "atlas": "AML.T0011.000"},
)  # fmt: skip
UNFOLLOWED = Rule(
    "index-unfollowed", "Numbers that lead somewhere, and could not be followed", Severity.MEDIUM,
    "Compiled code will follow them without asking; where they do not stand in the file in a form that is known, nothing says "
    "that they stay within their arrays.",
    f"Save the model again with the library that made it. {SAFE_FORMAT}", {**MAPS, "cwe": "CWE-125"},
)  # fmt: skip

RULES = (
    FORMAT_UNKNOWN, FILE_EMPTY, BYTES_UNEXPLAINED, BUDGET_SPENT, READER_FAILED, UNREADABLE, PATH_LINK, PATH_SPECIAL,
    PATH_HARD_LINK, PATH_CHANGED, SCANNER_CRASHED, SCANNER_TIMEOUT, NAME_MISMATCH, INDEX, UNFOLLOWED,
)  # fmt: skip
