"""Lists in pages: `limit` and `after`, and the next page named in a Link header.

A page begins behind the entry that `after` names, so that what is added or removed meanwhile shifts nothing. Entries
stand in the order of their names, and an entry that is gone leaves its place.

Source: RFC 8288 for the header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from litestar import Request, Response
from litestar.params import QueryParameter

from fastness.core.errors import NotFound

LARGEST = 1000
LONGEST_NAME = 200

EntryT = TypeVar("EntryT")


@dataclass(frozen=True, slots=True)
class Page:
    """What part of a list is asked for.

    Attributes:
        path: of the list itself.
        after: name of the last entry that the caller has.
    """

    path: str
    after: str
    limit: int

    def of(self, entries: Iterable[EntryT], name_of: Callable[[EntryT], str]) -> Response[list[EntryT]]:
        """The page of `entries`, by name."""
        rest = sorted((entry for entry in entries if name_of(entry) > self.after), key=name_of)
        found = rest[: self.limit]
        headers = {}
        if len(rest) > self.limit:
            query = urlencode({"after": name_of(found[-1]), "limit": self.limit})
            headers["link"] = f'<{self.path}?{query}>; rel="next"'
        return Response(found, headers=headers)


def find_one(entries: Iterable[EntryT], name_of: Callable[[EntryT], str], name: str, kind: str) -> EntryT:
    """The entry of that name.

    Raises:
        NotFound: there is none.
    """
    for entry in entries:
        if name_of(entry) == name:
            return entry
    raise NotFound(f"{kind}-unknown", f"there is no {kind} {name[:LONGEST_NAME]!r}")


def provide_page(
    request: Request[Any, Any, Any],
    after: Annotated[str, QueryParameter(max_length=LONGEST_NAME)] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=LARGEST)] = LARGEST,
) -> Page:
    """The page that the query names."""
    return Page(request.url.path, after, limit)
