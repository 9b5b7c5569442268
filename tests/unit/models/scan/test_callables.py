"""The reviewed data: exact names, each with its reason, nothing that runs code; and the tool that reviews classes."""

import json
import re
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fastness.models.scan.machine.standing import DATA, Use, catalogue
from fastness.models.scan.machine.values import Standing
from tools.callables import Library, Review, check, review

TREE = json.loads(DATA.read_bytes())
SITE = Path(sysconfig.get_paths()["purelib"])
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
KINDS = {"text", "int", "bool", "float", "none", "bytes", "tuple", "list", "dict", "set", "frozenset"}
RUNS_CODE = """
    builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.getattr builtins.setattr builtins.open builtins.input
    builtins.map builtins.filter builtins.type builtins.globals builtins.vars builtins.memoryview builtins.breakpoint
    __builtin__.eval __builtin__.file os.system posix.system nt.system subprocess.Popen subprocess.run commands.getoutput pty.spawn
    importlib.import_module runpy.run_path runpy._run_code pkgutil.resolve_name operator.attrgetter operator.methodcaller
    operator.itemgetter functools.partial functools.reduce pickle.loads _pickle.loads cPickle.loads marshal.loads types.FunctionType
    types.CodeType types.MethodType ctypes.CDLL socket.socket socket.create_connection webbrowser.open urllib.request.urlopen shutil.rmtree
    timeit.timeit cProfile.run pdb.run code.interact code.InteractiveInterpreter bdb.Bdb doctest.debug_script trace.Trace sys.modules
    sys._getframe logging.config.dictConfig multiprocessing.util.spawnv_passfds asyncio.create_subprocess_shell platform.popen uuid._popen
    uuid._get_command_stdout _osx_support._read_output _aix_support._read_cmd_output imaplib.IMAP4_stream pydoc.pipepager pip.main
    pip._internal.main ensurepip._run_pip venv.create numpy.load numpy.memmap numpy.fromfile numpy.save numpy.loadtxt numpy.genfromtxt
    numpy.frompyfunc numpy.apply_along_axis numpy.piecewise numpy.fromfunction numpy.testing._private.utils.runstring numpy.f2py.crackfortran.myeval
    numpy.distutils.exec_command.exec_command joblib.load joblib.dump joblib.Memory joblib.memory.MemorizedFunc joblib.numpy_pickle.load
    torch.load torch.save torch.hub.load torch.jit.load torch.package.PackageImporter torch.storage._load_from_bytes
    torch.utils.cpp_extension.load torch._dynamo.guards.GuardBuilder.get torch.ops.load_library torch.fx.graph_module.reduce_graph_module
    torch.multiprocessing.reductions.rebuild_storage_fd torch._utils._rebuild_wrapper_subclass pandas.eval pandas.read_pickle pandas.read_csv
    pandas.core.computation.eval.eval pandas.io.pickle.read_pickle dill.loads dill._dill._create_function dill._dill._create_code
    dill._dill._import_module dill._dill._get_attr cloudpickle.loads cloudpickle.cloudpickle._make_function cloudpickle.cloudpickle.subimport
    sympy.sympify keras.models.load_model tensorflow.load_library yaml.load yaml.unsafe_load zipimport.zipimporter weakref.finalize atexit.register
    copyreg.add_extension copyreg.pickle contextlib.ExitStack inspect.getattr_static io.open codecs.open _io.FileIO pathlib.Path.read_text tempfile.mkstemp
    sklearn.metrics._dist_metrics.PyFuncDistance sklearn.metrics.pairwise.pairwise_distances sklearn.utils._testing.check_skip_network
    scipy.stats._distn_infrastructure.rv_continuous scipy.stats._distn_infrastructure.rv_generic
    scipy.LowLevelCallable xgboost.callback.TrainingCheckPoint lightgbm.basic._InnerPredictor transformers.pipelines.pipeline
    accelerate.utils.launch.prepare_simple_launcher_cmd_env
""".split()  # noqa: SIM905 - so that it can be read
NEVER = set("""
    os posix nt sys subprocess commands pty importlib imp runpy pkgutil operator functools pickle _pickle cPickle marshal shelve types.FunctionType ctypes
    socket ssl urllib http webbrowser shutil tempfile timeit cProfile profile pdb bdb code codeop doctest trace logging multiprocessing threading asyncio
    concurrent platform uuid._popen imaplib smtplib ftplib poplib telnetlib pydoc pip ensurepip venv zipimport zipfile tarfile gzip bz2 lzma io _io
    codecs mmap sqlite3 inspect gc atexit signal sched weakref site distutils setuptools cffi requests httpx aiohttp paramiko huggingface_hub
    dask ray pyspark numba sympy theano IPython
""".split())  # fmt: skip  # noqa: SIM905 - as above


def reviewed() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for group in TREE["reviewed"]:
        for module in group["modules"]:
            for name in group["names"]:
                yield module, name, group


@pytest.mark.parametrize("group", TREE["reviewed"], ids=lambda group: f"{group['modules'][0]}.{group['names'][0]}")
def test_each_group_is_exact_and_says_why(group: dict[str, Any]) -> None:
    assert set(group) <= {"use", "modules", "names", "why", "source", "arguments", "read", "version"}
    assert group["use"] in set(Use)
    modules, names = group["modules"], group["names"]
    assert modules
    assert names
    assert all(MODULE.fullmatch(module) for module in modules)
    parts = [
        name.split(".") if group["use"] in {Use.NAME, Use.CALL} else [name] for name in names
    ]  # a method may be named, or called with what is listed
    assert all(NAME.fullmatch(part) for name in parts for part in name)
    assert len(group["why"]) > 4
    assert len(group["source"]) > 3
    assert ("arguments" in group) == (group["use"] == Use.CALL)


def patterns() -> Iterator[str]:
    for group in TREE["reviewed"]:
        for form in group.get("arguments", ()):
            yield from form


@pytest.mark.parametrize("pattern", sorted(set(patterns())), ids=lambda pattern: pattern[:40])
def test_each_pattern_of_an_argument_is_understood(pattern: str) -> None:
    kind, _, names = pattern.partition(":")
    if kind == "global":
        unknown = [path for path in names.split("|") if not _stands(path)]
        assert not unknown, "a pattern that no model can meet without a finding"
    elif kind != "made":
        assert (
            pattern in {"data", "state-class", "ratio", "zone"}
            or pattern.startswith("=")
            or set(pattern.split("|")) <= KINDS
        )


def _stands(path: str) -> bool:
    module, _, name = path.rpartition(".")
    return (module, name) in catalogue().reviewed


def test_nothing_is_reviewed_and_dangerous() -> None:
    both = {(module, name) for module, name, _ in reviewed()} & set(catalogue().dangerous)
    assert both == set()


def test_no_name_stands_twice() -> None:
    pairs = [(module, name) for module, name, _ in reviewed()]
    assert sorted({pair for pair in pairs if pairs.count(pair) > 1}) == []


@pytest.mark.parametrize("path", RUNS_CODE)
def test_what_runs_code_is_not_reviewed(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert catalogue().standing_of(module, name) is not Standing.REVIEWED


def test_no_module_of_the_machine_is_reviewed() -> None:
    assert {module for module, _, _ in reviewed() if {module, module.partition(".")[0]} & NEVER} <= {"uuid"}


def test_a_rule_holds_for_no_other_name_of_its_module() -> None:
    for module, name, _ in list(reviewed()):
        for other in (f"{name}_other", f"{name}.system", f"{name}.__init__"):
            assert catalogue().standing_of(module, other) is not Standing.REVIEWED


def test_classes_of_installed_libraries_only_take_a_state() -> None:
    assert list(check(Library([SITE]))) == []


# ---------------------------------------------------------------- the tool
CLASSES = {
    "plain": ("class C:\n    def __setstate__(self, s):\n        self.__dict__.update(s)\n", "state"),
    "no hook": ("class C:\n    def predict(self):\n        exec(self.x)\n", "state"),
    "exec": ("class C:\n    def __setstate__(self, s):\n        exec(s['code'])\n", "sink"),
    "open when deleted": ("class C:\n    def __del__(self):\n        open(self.path, 'w')\n", "sink"),
    "in a base": ("class A:\n    def __setstate__(self, s):\n        eval(s)\nclass C(A):\n    pass\n", "sink"),
    "by super": (
        "class A:\n    def load(self):\n        eval('1')\nclass C(A):\n    def __setstate__(self, s):\n        super().load()\n",
        "sink",
    ),
    "in a method": (
        "class C:\n    def __setstate__(self, s):\n        self._go()\n    def _go(self):\n        import os\n        os.system('true')\n",
        "sink",
    ),
    "in a function": (
        "from subprocess import run\ndef go(s):\n    run(s)\nclass C:\n    def __new__(cls, *a):\n        go(a)\n",
        "sink",
    ),
    "in a property": (
        "class C:\n    @property\n    def p(self):\n        return eval('1')\n    def __setstate__(self, s):\n        self.p\n",
        "sink",
    ),
    "in a setter": (
        "class C:\n    @property\n    def p(self):\n        return 1\n    @p.setter\n    def p(self, v):\n        eval(v)\n",
        "sink",
    ),
    "in a hash": ("class C:\n    def __hash__(self):\n        return eval(self.h)\n", "sink"),
    "in what compares but is no key": ("class C:\n    def __eq__(self, o):\n        return eval(self.h)\n", "state"),
    "in an item": ("class C(dict):\n    def __setitem__(self, k, v):\n        k()\n", "doubt"),
    "by an imported name": ("import pickle as p\nclass C:\n    def __setstate__(self, s):\n        p.loads(s)\n", "sink"),
    "by a name that is made": ("class C:\n    def __setstate__(self, s):\n        getattr(self, s['n'])\n", "sink"),
    "by a value": ("class C:\n    def __setstate__(self, s):\n        s['f'](1)\n", "doubt"),
    "by an attribute": ("class C:\n    def __setstate__(self, s):\n        self.callback(s)\n", "doubt"),
    "by a metaclass": (
        "class M(type):\n    def __call__(cls, *a):\n        eval(a[0])\nclass C(metaclass=M):\n    pass\n",
        "sink",
    ),
    "in an unknown base": ("from elsewhere import A\nclass C(A):\n    pass\n", "compiled"),
    "behind a library that is missing": (
        "try:\n    from lib.real import A\nexcept ImportError:\n    class A:\n        pass\nclass C(A):\n    pass\n",
        "sink",
    ),
    "by a star": ("from lib.real import *\nclass C(A):\n    pass\n", "sink"),
    "by another name": ("import lib.real\nB = lib.real.A\nclass C(B):\n    pass\n", "sink"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_the_review_of_a_class(name: str, tmp_path: Path) -> None:
    source, verdict = CLASSES[name]
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "__init__.py").write_text("")
    (tmp_path / "lib" / "real.py").write_text("class A:\n    def __setstate__(self, s):\n        eval(s)\n")
    (tmp_path / "lib" / "case.py").write_text(source)
    found = review(Library([tmp_path]), "lib.case", "C")
    assert isinstance(found, Review)
    assert found.verdict == verdict, found.reasons


def test_scipy_distributions_run_their_state() -> None:
    pytest.importorskip("scipy")
    found = review(Library([SITE]), "scipy.stats._continuous_distns", "norm_gen")
    assert found is not None
    assert found.verdict == "sink"
    assert any("calls exec" in words for _, words in found.reasons)


def test_functions_read_by_hand_are_there() -> None:
    for group in TREE["read"]:
        assert set(group) == {"names", "why", "source"}
        for path in group["names"]:
            if path.startswith("sklearn.") and find_spec("sklearn") is not None:
                assert not isinstance(Library([SITE]).at(path), str), path
