"""The licences that the files of a model state: front matter of cards, texts of licences, heads of code.

Source: Hugging Face documentation, "Model Cards" (the fields `license` and `license_name`); SPDX licence list for names; SPDX
specification 2.3, annex E (short identifiers in source files). Cost: linear in what is given.
"""

from __future__ import annotations

import re

NAME = re.compile(r"(?:README\.md|(?:LICEN[CS]E|COPYING)(?:[._-][\w-]+)?(?:\.(?:txt|md|rst))?)", re.IGNORECASE)
READ = 1 << 16
_FRONT = re.compile(r"\A\ufeff?---\r?\n(?P<front>.{0,60000}?)\r?\n---(?:\r?\n|\Z)", re.DOTALL)
_FIELD = re.compile(
    r"^(?P<key>[\w-]{1,80}):[ \t]*(?P<value>[^\n]{0,200}?)[ \t]*\r?$|^[ \t]{0,8}-[ \t]+(?P<item>[^\n]{1,100}?)[ \t]*\r?$",
    re.MULTILINE,
)
_TEXTS = (
    ("apache-2.0", re.compile(r"Apache License,?\s+Version 2\.0", re.IGNORECASE)),
    ("mit", re.compile(r"Permission is hereby granted, free of charge, to any person obtaining a copy", re.IGNORECASE)),
    ("agpl-3.0", re.compile(r"GNU AFFERO GENERAL PUBLIC LICENSE\s+Version 3", re.IGNORECASE)),
    ("lgpl", re.compile(r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version [23]", re.IGNORECASE)),
    ("gpl-3.0", re.compile(r"GNU GENERAL PUBLIC LICENSE\s+Version 3", re.IGNORECASE)),
    ("gpl-2.0", re.compile(r"GNU GENERAL PUBLIC LICENSE\s+Version 2", re.IGNORECASE)),
    (
        "bsd-3-clause",
        re.compile(r"Redistribution and use in source and binary forms.{0,1500}Neither the name", re.DOTALL),
    ),
    ("bsd-2-clause", re.compile(r"Redistribution and use in source and binary forms", re.IGNORECASE)),
    ("mpl-2.0", re.compile(r"Mozilla Public License,?\s+(?:Version|v\.?)\s*2\.0", re.IGNORECASE)),
    ("cc-by-nc", re.compile(r"Creative Commons Attribution[- ]NonCommercial", re.IGNORECASE)),
    ("cc-by-sa-4.0", re.compile(r"Creative Commons Attribution[- ]ShareAlike 4\.0", re.IGNORECASE)),
    ("cc-by-4.0", re.compile(r"Creative Commons Attribution 4\.0", re.IGNORECASE)),
    ("openrail", re.compile(r"\bOpen ?RAIL\b|Use-based restrictions", re.IGNORECASE)),
    ("llama", re.compile(r"LLAMA [\d.]+ COMMUNITY LICENSE", re.IGNORECASE)),
    ("gemma", re.compile(r"Gemma Terms of Use", re.IGNORECASE)),
)
_SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+-]{2,40})")
_HEADS = (
    ("agpl-3.0", re.compile(r"GNU\s+Affero\s+General\s+Public\s+License", re.IGNORECASE)),
    ("lgpl", re.compile(r"GNU\s+(?:Lesser|Library)\s+General\s+Public\s+License", re.IGNORECASE)),
    ("gpl", re.compile(r"GNU\s+General\s+Public\s+License", re.IGNORECASE)),
    ("cc-by-nc", re.compile(r"Creative\s+Commons\s+Attribution[- ]NonCommercial|\bCC[- ]BY[- ]NC\b", re.IGNORECASE)),
    ("apache-2.0", re.compile(r"Licensed\s+under\s+the\s+Apache\s+License", re.IGNORECASE)),
)
_MARKS = re.compile(r"^[ \t]*(?:#+|//+|\*+|;+|--)[ \t]?", re.MULTILINE)


def of_text(text: str) -> str:
    """The licence whose text this is; `other` for one that is not known."""
    return next((name for name, pattern in _TEXTS if pattern.search(text)), "other")


def of_head(text: str) -> str:
    """The licence that the head of a source file states; empty for none."""
    if match := _SPDX.search(text):
        return match[1].lower().removesuffix("-only").removesuffix("-or-later").rstrip("+")
    plain = _MARKS.sub("", text)
    return next((name for name, pattern in _HEADS if pattern.search(plain)), "")


def of_card(text: str) -> list[str] | None:
    """The licences that the front matter of a card states; None for a card without one."""
    front = _FRONT.match(text)
    return _stated(front["front"]) if front else None


def _stated(front: str) -> list[str]:
    """The licences of the front matter: a text, or a list of texts."""
    named: list[str] = []
    within = False
    for match in _FIELD.finditer(front):
        if match["key"] is not None:
            within = match["key"] == "license" and not match["value"]
            named += [match["value"].strip("\"'").lower()] if match["key"] == "license" and match["value"] else []
        elif within:
            named.append(match["item"].strip("\"'").lower())
    return [one for one in named if one]
