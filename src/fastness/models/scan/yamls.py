"""YAML as events, never constructed: a tree of texts, with the tags and aliases that a loader would act on.

Cost: linear in the document; an alias shares the node it names, so that documents that grow when they are written out
stay small here, and their size is counted instead. Source: YAML 1.1 as PyYAML 6 reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from fastness.models.scan.configs import Pairs, Tree

LONGEST = 2 << 20
DEEPEST = 200
HUGE = 1_000_000
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotYaml(ValueError):
    """It is not YAML, or nested too deep; the message says why."""


@dataclass(slots=True)
class Documents:
    """What was read.

    Attributes:
        trees: one for each document of the stream.
        tags: explicit tags, each with the text it stands at, empty for lists and objects; and its line.
        repeated: keys that stand twice in one object.
        written_out: how many nodes the stream has when aliases are written out, at most `HUGE` and a little.
    """

    trees: list[Tree] = field(default_factory=list)
    tags: list[tuple[str, str, int]] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    written_out: int = 0


def parse(text: str) -> Documents:
    """All documents of a stream.

    Raises:
        NotYaml: it is none.
    """
    if len(text) > LONGEST:
        raise NotYaml(f"more than {LONGEST} characters")
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NotYaml(f"not YAML at line {mark.line + 1 if mark else 0}") from error
    except (RecursionError, ValueError, OverflowError) as error:
        raise NotYaml(f"not YAML: {type(error).__name__}") from error
    return builder.documents


@dataclass(slots=True)
class _Open:
    """A list or object that is not closed yet."""

    tree: Pairs | list[Tree]
    anchor: str
    size: int = 1
    key: str | None = None


@dataclass(slots=True)
class _Builder:
    """The state of one reading."""

    documents: Documents = field(default_factory=Documents)
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Tree, int]] = field(default_factory=dict)

    def take(self, event: yaml.Event) -> None:
        """Take in one event."""
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise NotYaml("an alias of nothing")
            self._place(*self.anchors[event.anchor])
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._tag(event, "")
            made: Pairs | list[Tree] = Pairs([]) if isinstance(event, yaml.MappingStartEvent) else []
            self.stack.append(_Open(made, event.anchor or ""))
            if event.anchor:
                self.anchors[event.anchor] = (made, 1)
            if len(self.stack) > DEEPEST:
                raise NotYaml("nested too deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self.stack.pop()
            if done.anchor:
                self.anchors[done.anchor] = (done.tree, done.size)
            self._place(done.tree, done.size)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.anchors = {}

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._tag(event, event.value)
        value: Tree = event.value
        if event.implicit[0] and event.style is None:
            value = {"true": True, "false": False, "null": None, "~": None, "": None}.get(
                event.value.lower(), event.value
            )
        if event.anchor:
            self.anchors[event.anchor] = (value, 1)
        self._place(value, 1)

    def _tag(self, event: yaml.NodeEvent, value: str) -> None:
        tag = getattr(event, "tag", None)
        if tag and tag != "!":
            self.documents.tags.append((tag, value, event.start_mark.line + 1 if event.start_mark else 0))

    def _place(self, value: Tree, size: int) -> None:
        """Put a finished node where it belongs."""
        if not self.stack:
            self.documents.trees.append(value)
            self.documents.written_out = min(HUGE + 1, self.documents.written_out + size)
            return
        top = self.stack[-1]
        top.size = min(HUGE + 1, top.size + size)
        if isinstance(top.tree, list):
            top.tree.append(value)
        elif top.key is None:
            top.key = "" if isinstance(value, Pairs | list) else str(value)
            if isinstance(value, Pairs | list):  # a list as a key: what stands in it counts too
                top.tree.members.append(("", value))
        else:
            if top.key != "<<" and top.key and any(top.key == key for key, _ in top.tree.members[-200:]):
                self.documents.repeated.append(top.key)
            top.tree.members.append((top.key, value))
            top.key = None
