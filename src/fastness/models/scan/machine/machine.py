"""The state of the symbolic pickle machine, and what its instructions do with it: nothing is run or imported.

Source: CPython 3.11, `Lib/pickle.py` and `Modules/_pickle.c`.
"""

from __future__ import annotations

import _compat_pickle
import re

from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.machine.arrays import DTYPES, WRAPPERS, HiddenObjects, NotUnderstood, check_dtype
from fastness.models.scan.machine.contents import GIVEN, Contents
from fastness.models.scan.machine.followed import COUNTED, FOLLOWED, is_followed, problem_of
from fastness.models.scan.machine.specials import (
    CLASS_MAKERS,
    CODE_MAKERS,
    ENCODER,
    FUNCTIONS_MADE,
    LATE,
    LOADERS,
    SOFT,
    attribute_of,
    code_standing,
    described,
    is_special,
    judged,
    piece_of,
    resolved,
    setter_of,
)
from fastness.models.scan.machine.standing import Catalogue
from fastness.models.scan.machine.states import is_managed, judged_state
from fastness.models.scan.machine.tensors import GIVEN as TENSORS_GIVEN
from fastness.models.scan.machine.tensors import SPARSE
from fastness.models.scan.machine.trace import Dialect, Sight, Trace
from fastness.models.scan.machine.trees import TREE
from fastness.models.scan.machine.values import (
    AMPLIFIED,
    DEEPEST,
    MARK,
    NAMING_KEYS,
    OPAQUE,
    SLOT_ATTRIBUTES,
    WALKED,
    Global,
    Items,
    Loader,
    Made,
    MapOf,
    Standing,
    arming,
    noted,
    opened,
    repeat,
)

SHORT_NAME = 200
MEMO_GAP = 1 << 20
"""How far beyond twice the number of entries the next one may stand."""
REBUILDERS = frozenset(
    {
        "copyreg._reconstructor",
        "copyreg.__newobj__",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "sklearn.neighbors._kd_tree.newObj",
        "sklearn.neighbors._ball_tree.newObj",
        "sklearn.metrics._dist_metrics.newObj",
    }
)

_GIVEN = DTYPES | {ENCODER, TREE} | GIVEN | TENSORS_GIVEN
"""What they were given matters later."""
SET_DTYPE = "numpy.dtype.__setstate__"

# A reviewed object that is called is only odd; what a dangerous call gave is as dangerous.
_SCRIPT = re.compile(r"__torch__(?:\.[A-Za-z_]\w*)+")
"""Classes of TorchScript, whose code stands in the archive and is read there. Python has no module of that name."""
_OF_RESULT = {Standing.REVIEWED: Standing.MISUSED, Standing.DANGEROUS: Standing.DANGEROUS}


class Machine:
    """Stack, marks, memo and position of one stream.

    A mark is a value of its own on the stack; an instruction never reaches below the last one, as in CPython.

    Args:
        cursor: at the first instruction.
        dialect: which library's loader reads the stream.

    Attributes:
        marks: where the marks on the stack stand.
        window: bytes of the stream, from offset `window_at` on.
        limit: index in the window up to which short steps may go.
        armable: whether a text was read that is one of those that matter as a key of a state.
        loaders: the functions among the imports that read models from bytes.
        stumbled: whether an instruction was broken.
        ran: instructions that were passed over many at a time.
        loose: compiled trees that no estimator has taken, by their identity.
        counting: whether a class was named that goes by the numbers in a dict or in lists, which are counted from then on.
    """

    def __init__(self, cursor: Cursor, budget: Budget, catalogue: Catalogue, dialect: Dialect) -> None:
        self.cursor = cursor
        self.budget = budget
        self.catalogue = catalogue
        self.dialect = dialect
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.window = b""
        self.window_at = 0
        self.limit = 0
        self.ran = 0
        self.armable = False
        self.loaders: list[Loader] = []
        self.stumbled = False
        self.memo: dict[int, object] = {}
        self.proto = 0
        self.at = cursor.position
        self.opcode = ""
        self.frame_end = -1
        self.wrapper: Made | None = None
        self.trace = Trace(cursor.position, budget)
        self.contents = Contents(cursor.source, budget)
        self.loose: dict[int, Made] = {}
        self.counting = False

    def pop(self) -> object:
        """Take the top value; an unknown one, and an event, where there is none."""
        if not self.stack or self.stack[-1] is MARK:
            self.stumble("takes a value from an empty stack")
            return OPAQUE
        return opened(self.stack.pop())

    def top(self) -> object:
        """The top value, left where it is."""
        if not self.stack or self.stack[-1] is MARK:
            self.stumble("needs a value on an empty stack")
            return OPAQUE
        return opened(self.stack[-1])

    def pop_mark(self) -> list[object]:
        """Take the values above the last mark, and the mark."""
        stack = self.stack
        if self.marks:
            at = self.marks.pop()
            items = stack[at + 1 :]
            del stack[at:]
            return items
        self.stumble("needs a mark and there is none")
        items = stack[:]
        stack.clear()
        return items

    def see(self, sight: Sight, name: str, standing: Standing = Standing.REVIEWED, args: object = None) -> bool:
        """Record an event at the current instruction; whether it was not recorded often enough before."""
        return self.trace.see(sight, self.at, name, self.opcode, standing, args)

    def stumble(self, problem: str) -> None:
        """Record that the current instruction is broken, and go on: other unpicklers may be laxer."""
        self.stumbled = True
        self.see(Sight.MALFORMED, problem)

    def give_up(self, sight: Sight, problem: str) -> None:
        """Record that no unpickler gets past the current instruction."""
        self.see(sight, problem)
        self.trace.broken = self.at

    def find(self, module: str, name: str) -> Global:
        """The global of that name, under the name that is imported (old names are mapped below protocol 3)."""
        written = self.catalogue.standing_of(module, name)
        if self.proto < 3:
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[module, name]
            else:
                module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        standing = self.catalogue.standing_of(module, name)
        if written is Standing.DANGEROUS:  # a loader that maps no names takes it as it is written
            standing = written
        if self.dialect is Dialect.TORCH and _SCRIPT.fullmatch(f"{module}.{name}"):
            standing = Standing.REVIEWED
        path = f"{module}.{name}"
        if path in SOFT:
            standing = min(standing, Standing.UNKNOWN)
        if path in LATE:
            late = Loader(module, name, standing)
            self.loaders.append(late)
            return late  # told at the end, if anything holds it
        self.counting = self.counting or path in COUNTED
        value = Global(module, name, standing)
        self.see(Sight.IMPORT, value.path[:SHORT_NAME], value.standing)
        return value

    def call(self, callee: object, args: object, *, new: bool = False) -> Made | Global:
        """Record that `callee` is called; the abstract result.

        Args:
            new: only `__new__` runs, as with NEWOBJ.
        """
        if isinstance(callee, Global):
            standing, name = self._standing(callee, args, new=new), callee.path[:SHORT_NAME]
        elif isinstance(callee, Made):
            standing = _standing_of_result(callee, new=new)
            name = f"the result of {callee.maker}"[:SHORT_NAME]
        elif callee is OPAQUE:
            # Behind a broken instruction nothing is known any more, and that is told already.
            standing, name = Standing.UNKNOWN if self.stumbled else Standing.COMPUTED, "a computed value"
        else:
            self.stumble("calls a value that cannot be called")
            return Made("no callable", Standing.COMPUTED)
        if name in SPARSE:
            self.trace.sparse.append((self.at, args))
            self.budget.require("members", len(self.trace.sparse))
        told = self.see(Sight.CALL, name, standing, args)
        if new and not told and isinstance(callee, Global) and not is_special(callee):
            callee.settled = standing
        return _result(self.catalogue, callee, (name, standing), args)

    def _standing(self, callee: Global, args: object, *, new: bool) -> Standing:
        if callee.path in CODE_MAKERS:
            standing = code_standing(args)
            self.see(Sight.CODE, described(args)[:SHORT_NAME], standing, "use")
            return min(standing, Standing.UNKNOWN)
        if isinstance(callee, Loader):
            standing = _late(self, callee, args)
            callee.called += standing is not Standing.DANGEROUS
            return standing
        special = judged(callee, args)
        if special is not None:
            return special
        return self.catalogue.makes(callee) if new else self.catalogue.calls(callee, args)

    def build(self, target: object, state: object) -> None:
        """Record that `target` gets `state`; note a joblib wrapper, behind which raw bytes follow."""
        if isinstance(target, Global):
            self.see(Sight.TAMPER, target.path, target.standing, state)
        elif isinstance(target, Made):
            self._give(target, state)
            if target.maker in DTYPES:
                self._set_dtype(target, state)
            if is_followed(target.maker):
                _follow(self, target, state)
            if target.maker in DTYPES or target.maker in WRAPPERS:
                target.state = state
            if self.dialect is Dialect.JOBLIB and target.maker in WRAPPERS:
                self.wrapper = target
        elif target is not OPAQUE and isinstance(state, Items) and not _changes_nothing(state):
            self.stumble("gives a state to a value that takes none")

    def called_attribute(self, target: Made, name: str, args: object) -> None:
        """Record that an instruction calls an attribute of `target` which its state has put before that of its class."""
        if name in target.notes.armed:
            self.see(Sight.CALL, f"the attribute {name} of {target.maker}"[:SHORT_NAME], Standing.COMPUTED, args)

    def _give(self, target: Made, state: object) -> None:
        self.called_attribute(target, "__setstate__", state)
        if armed := arming(state):
            noted(target).armed |= armed
        if is_managed(target.maker):
            standing = judged_state(self.catalogue, target.maker, state)
            if standing is not Standing.REVIEWED:
                self.see(Sight.CALL, f"{target.maker}.__setstate__"[:SHORT_NAME], standing, state)
        if SLOT_ATTRIBUTES & target.notes.armed:
            self.see(Sight.TAMPER, f"the class of {target.maker}"[:SHORT_NAME], target.standing, state)
        if target.walked and isinstance(state, Items):
            repeat(target, [state])

    def _set_dtype(self, target: Made, state: object) -> None:
        """Numpy believes what a pickle says of an element type: what does not add up is a way into the memory.

        A type is changed only before anything holds it: an array would go on with another element size than it has.
        """
        try:
            check_dtype(target, state, self.budget)
            standing = Standing.DANGEROUS if target.notes.shared or target.state is not None else Standing.REVIEWED
        except HiddenObjects:
            standing = Standing.DANGEROUS
        except NotUnderstood:
            standing = Standing.MISUSED
        if standing is not Standing.REVIEWED:
            self.see(Sight.CALL, SET_DTYPE, standing, state)
        if isinstance(state, Items) and len(state.kept) > 4 and isinstance(state.kept[4], Items):
            noted(state.kept[4]).sealed = True


def _follow(m: Machine, target: Made, state: object) -> None:
    """Hold the numbers of a state against what compiled code reaches by them.

    A state is given once: another one would replace numbers that somebody holds by then.
    """
    if target.state is not None:
        m.see(Sight.INDEX, f"{target.maker}: its numbers are replaced when others may hold them")
    target.state = state
    problem, known = problem_of(m.contents, target, state)
    if problem:
        m.see(Sight.INDEX if known else Sight.UNFOLLOWED, f"{target.maker}: {problem}"[:SHORT_NAME])
    if target.maker == TREE:
        m.loose[id(target)] = target
    elif target.maker in FOLLOWED and isinstance(state, Items):
        for held in [one for one in state.kept if isinstance(one, Made)] if m.loose else ():
            m.loose.pop(id(held), None)


def tally(m: Machine, target: Items, items: list[object]) -> None:
    """Take note of the whole numbers among the values that a dict takes in, and of what changes under compiled code."""
    if target.notes.followed:
        m.see(Sight.INDEX, f"a {target.kind}: its numbers are changed when compiled code goes by them")
    if target.kind == "dict":
        numbers = [one for one in map(m.contents.number, items[1::2]) if one is not None]
        notes = noted(target)
        count, low, high = notes.tally
        if numbers:
            fresh = (min(numbers), max(numbers))
            low, high = (min(low, fresh[0]), max(high, fresh[1])) if count else fresh
        notes.tally = count + len(numbers), low, high


def _changes_nothing(state: Items) -> bool:
    """Whether every object takes a state: one that is empty, or a pair of none and no slots."""
    parts = state.kept if state.kind == "tuple" and state.count == 2 else ()
    return not state.count or (
        bool(parts) and all(part is None or (isinstance(part, Items) and not part.count) for part in parts)
    )


def _result(catalogue: Catalogue, callee: object, call: tuple[str, Standing], args: object) -> Made | Global:
    name, standing = call
    if isinstance(callee, Global) and (found := _found(catalogue, callee, args)) is not None:
        return found
    if name in REBUILDERS and isinstance(args, Items) and args.kept and isinstance(args.kept[0], Global):
        inner = args.kept[0]
        return Made(inner.path, max(standing, catalogue.makes(inner)))
    made = Made(name, standing, args if standing is not Standing.REVIEWED or name in _GIVEN else None)
    if name in WALKED and isinstance(args, Items):
        repeat(made, [args])
    return made


def _late(m: Machine, callee: Loader, args: object) -> Standing:
    """The standing of a call of what is told at the end only where something holds it."""
    if callee.path in LOADERS:
        piece = piece_of(args)
        if piece is None:
            return callee.standing
        m.trace.pieces.append(piece)
        m.budget.require("members", len(m.trace.pieces))
        return Standing.REVIEWED
    if (found := attribute_of(callee, args)) and m.catalogue.standing_of(*found) is Standing.REVIEWED:
        return Standing.REVIEWED
    if setter_of(callee, args) is not None:
        return Standing.UNKNOWN
    standing = judged(callee, args)
    if standing is None and isinstance(args, Items) and args.count == len(args.kept):
        return m.catalogue.partial(args.kept)
    return Standing.DANGEROUS if standing is None else standing


def _found(catalogue: Catalogue, callee: Global, args: object) -> Global | None:
    """What is known by its name, though the stream names it by a call."""
    if (named := attribute_of(callee, args)) and catalogue.standing_of(*named) is Standing.REVIEWED:
        return Global(*named, Standing.REVIEWED)
    return setter_of(callee, args) or resolved(callee, args)


def _standing_of_result(callee: Made, *, new: bool) -> Standing:
    """The standing of a call of what another call gave."""
    if new and callee.maker in CLASS_MAKERS:
        return Standing.UNKNOWN  # its own code is judged where it stands
    if callee.maker in FUNCTIONS_MADE and callee.standing is not Standing.DANGEROUS:
        return Standing.COMPUTED
    return _OF_RESULT.get(callee.standing, Standing.COMPUTED)


def arm(m: Machine, target: MapOf, items: list[object]) -> None:
    """Note the keys that matter among `items`, keys and values in turn, which a dict takes in."""
    target.arm(items)
    for key, value in zip(items[::2], items[1::2], strict=False):
        if isinstance(key, str) and key in NAMING_KEYS and isinstance(value, str):
            m.see(Sight.NAMED, value)


def tell_held(m: Machine) -> None:
    """Record which functions that read models from bytes are held by something, beside being called, and which trees."""
    for tree in m.loose.values():
        if tree is not m.trace.result:
            m.see(Sight.UNFOLLOWED, f"{tree.maker}: no estimator holds it, so that nothing says which data it is given")
    for loader in m.loaders:
        if loader.pushed > loader.called:
            m.see(Sight.IMPORT, loader.path, loader.standing)


def watch(m: Machine, value: Items | Made) -> None:
    """Record that containers repeat each other, or stand in each other, beyond measure."""
    if value.notes.repeats >= AMPLIFIED:
        m.see(Sight.AMPLIFIED, "containers that repeat each other")
    if value.notes.depth >= DEEPEST:
        m.see(Sight.AMPLIFIED, f"containers in containers, {DEEPEST} deep")
