"""The state of the symbolic pickle machine, and what its instructions do with it: nothing is run or imported.

Source: CPython 3.11, `Lib/pickle.py` and `Modules/_pickle.c`.
"""

from __future__ import annotations

import _compat_pickle

from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.machine.arrays import DTYPES, WRAPPERS, HiddenObjects, NotUnderstood, check_dtype
from fastness.models.scan.machine.standing import Catalogue
from fastness.models.scan.machine.trace import Dialect, Sight, Trace
from fastness.models.scan.machine.values import MARK, OPAQUE, Global, Items, Made, Standing

SHORT_NAME = 200
REBUILDERS = frozenset(
    {
        "copyreg._reconstructor",
        "copyreg.__newobj__",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
    }
)

SET_DTYPE = "numpy.dtype.__setstate__"

# A reviewed object that is called is only odd; what a dangerous call gave is as dangerous.
_OF_RESULT = {Standing.REVIEWED: Standing.MISUSED, Standing.DANGEROUS: Standing.DANGEROUS}


class Machine:
    """Stack, marks, memo and position of one stream.

    A mark is a value of its own on the stack; an instruction never reaches below the last one, as in CPython.

    Args:
        cursor: at the first instruction.
        dialect: which library's loader reads the stream.
    """

    def __init__(self, cursor: Cursor, budget: Budget, catalogue: Catalogue, dialect: Dialect) -> None:
        self.cursor = cursor
        self.budget = budget
        self.catalogue = catalogue
        self.dialect = dialect
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.proto = 0
        self.at = cursor.position
        self.opcode = ""
        self.frame_end = -1
        self.wrapper: Made | None = None
        self.trace = Trace(cursor.position, budget)

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> object:
        """Take the top value; an unknown one, and an event, where there is none."""
        if not self.stack or self.stack[-1] is MARK:
            self.stumble("takes a value from an empty stack")
            return OPAQUE
        return self.stack.pop()

    def top(self) -> object:
        """The top value, left where it is."""
        if not self.stack or self.stack[-1] is MARK:
            self.stumble("needs a value on an empty stack")
            return OPAQUE
        return self.stack[-1]

    def pop_mark(self) -> list[object]:
        """Take the values above the last mark, and the mark."""
        stack = self.stack
        for at in range(len(stack) - 1, -1, -1):
            if stack[at] is MARK:
                items = stack[at + 1 :]
                del stack[at:]
                return items
        self.stumble("needs a mark and there is none")
        items = stack[:]
        stack.clear()
        return items

    def see(self, sight: Sight, name: str, standing: Standing = Standing.REVIEWED, args: object = None) -> None:
        """Record an event at the current instruction."""
        self.trace.see(sight, self.at, name, self.opcode, standing, args)

    def stumble(self, problem: str) -> None:
        """Record that the current instruction is broken, and go on: other unpicklers may be laxer."""
        self.see(Sight.MALFORMED, problem)

    def give_up(self, sight: Sight, problem: str) -> None:
        """Record that no unpickler gets past the current instruction."""
        self.see(sight, problem)
        self.trace.broken = self.at

    def find(self, module: str, name: str) -> Global:
        """The global of that name, under the name that is imported (old names are mapped below protocol 3)."""
        if self.proto < 3:
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        value = Global(module, name, self.catalogue.standing_of(module, name))
        self.see(Sight.IMPORT, value.path[:SHORT_NAME], value.standing)
        return value

    def call(self, callee: object, args: object, *, new: bool = False) -> Made:
        """Record that `callee` is called; the abstract result.

        Args:
            new: only `__new__` runs, as with NEWOBJ.
        """
        if isinstance(callee, Global):
            standing = self.catalogue.makes(callee) if new else self.catalogue.calls(callee, args)
            name = callee.path[:SHORT_NAME]
        elif isinstance(callee, Made):
            standing, name = (
                _OF_RESULT.get(callee.standing, Standing.COMPUTED),
                f"the result of {callee.maker}"[:SHORT_NAME],
            )
        elif callee is OPAQUE:
            standing, name = Standing.COMPUTED, "a computed value"
        else:
            self.stumble("calls a value that cannot be called")
            return Made("no callable", Standing.COMPUTED)
        self.see(Sight.CALL, name, standing, args)
        if name in REBUILDERS and isinstance(args, Items) and args.kept and isinstance(args.kept[0], Global):
            inner = args.kept[0]
            return Made(inner.path, max(standing, self.catalogue.makes(inner)))
        kept = args if standing is not Standing.REVIEWED or name in DTYPES else None
        return Made(name, standing, kept, None, args.amplification if isinstance(args, Items) else 1)

    def build(self, target: object, state: object) -> None:
        """Record that `target` gets `state`; note a joblib wrapper, behind which raw bytes follow."""
        if isinstance(target, Global):
            self.see(Sight.TAMPER, target.path, target.standing, state)
        elif isinstance(target, Made):
            if isinstance(state, Items | Made):
                target.amplification = max(target.amplification, state.amplification)
            if target.maker in DTYPES:
                self._set_dtype(target, state)
            if target.maker in DTYPES or target.maker in WRAPPERS:
                target.state = state
            if self.dialect is Dialect.JOBLIB and target.maker in WRAPPERS:
                self.wrapper = target
        elif target is not OPAQUE and isinstance(state, Items) and state.count:  # an empty state is left alone
            self.stumble("gives a state to a value that takes none")

    def _set_dtype(self, target: Made, state: object) -> None:
        """Numpy believes what a pickle says of an element type: what does not add up is a way into the memory.

        A type is changed only before anything holds it: an array would go on with another element size than it has.
        """
        try:
            check_dtype(target, state, self.budget)
            standing = Standing.DANGEROUS if target.shared or target.state is not None else Standing.REVIEWED
        except HiddenObjects:
            standing = Standing.DANGEROUS
        except NotUnderstood:
            standing = Standing.MISUSED
        if standing is not Standing.REVIEWED:
            self.see(Sight.CALL, SET_DTYPE, standing, state)
        if isinstance(state, Items) and len(state.kept) > 4 and isinstance(state.kept[4], Items):
            state.kept[4].sealed = True
