"""States that matter beyond their names: what `__setstate__` of a few classes does with what it is given.

scipy's distributions run a text of their state, and call methods that the state may replace; it is honest where the text
is the one that scipy writes, around any names of parameters, and the state holds nothing but what scipy keeps there. The
state of a `functools.partial` is the function that it holds. Time zones and members of enumerations are shared by the whole
process, so that a state given to one changes it for everybody. Configurations of transformers look every attribute up under
the name that their attribute_map gives it, `__setstate__` too; an honest state leaves that map to the class.

Misses: distributions of people's own, which stay for review.

Source: scipy 1.17.1, `scipy/stats/_distn_infrastructure.py` (`rv_generic.__setstate__`, `parse_arg_template`); CPython 3.11,
`Modules/_functoolsmodule.c`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from fastness.models.scan.machine.specials import PARTIAL
from fastness.models.scan.machine.standing import Catalogue
from fastness.models.scan.machine.values import Global, Items, Standing

DISTRIBUTIONS = re.compile(
    r"scipy\.stats\.(?:_continuous_distns\.\w+|_discrete_distns\.\w+|_levy_stable\.levy_stable_gen|_distn_infrastructure\.rv_sample)"
)
SHARED = frozenset({
    "zoneinfo.ZoneInfo._unpickle", "backports.zoneinfo.ZoneInfo._unpickle", "pytz._p", "pytz._UTC", "pytz.FixedOffset",
    "re.RegexFlag", "re._compile", "uuid.SafeUUID",
})  # fmt: skip
CONFIGS = re.compile(
    r"transformers\.(?:models\.\w+\.configuration_\w+|configuration_utils|generation\.configuration_utils)\.\w+"
)
_REROUTING = frozenset({"attribute_map", "_heterogeneity_spec", "dict_dtype_to_str", "dict_torch_dtype_to_str"})
"""With every `to_...`, what a configuration is asked for when its attributes are looked up, or its hash is."""
_SHAPES = r"(?P<shapes>(?:[A-Za-z_][A-Za-z0-9_]{0,39}, ){0,16})"
_GIVEN = r"(?P<given>loc=0(?:, scale=1)?)"
_TEMPLATE = re.compile(
    rf"\ndef _parse_args\(self, {_SHAPES} {_GIVEN}\):\n    return \((?P=shapes)\), (?P<kept>loc, (?:scale|1))\n\n"
    r"def _parse_args_rvs\(self, (?P=shapes) (?P=given), size=None\):\n"
    r"    return self\._argcheck_rvs\((?P=shapes) (?P=kept), size=size\)\n\n"
    r"def _parse_args_stats\(self, (?P=shapes) (?P=given), moments='mv'\):\n    return \((?P=shapes)\), (?P=kept), moments\n"
)
_KEPT = frozenset({
    "_ctor_param", "_density", "_hbin_widths", "_hbins", "_hcdf", "_histogram", "_hpdf", "_parse_arg_template", "_random_state",
    "_stats_has_moments", "_support", "__doc__", "a", "b", "badvalue", "extradoc", "inc", "moment_tol", "moment_type", "name",
    "numargs", "parameterization", "pk", "qvals", "shapes", "vecentropy", "xk", "xtol",
})  # fmt: skip


@lru_cache(1024)
def is_managed(maker: str) -> bool:
    """Whether a state given to what `maker` made is judged here."""
    by_form = DISTRIBUTIONS.fullmatch(maker) or CONFIGS.fullmatch(maker)
    return maker in PARTIAL or maker in SHARED or by_form is not None


def judged_state(catalogue: Catalogue, maker: str, state: object) -> Standing:
    """The standing of giving `state` to what `maker` made, where `is_managed` says that it matters."""
    if maker in SHARED:
        return Standing.DANGEROUS
    if maker in PARTIAL:
        return _partial(catalogue, state)
    return _config(state) if CONFIGS.fullmatch(maker) else _distribution(state)


def _config(state: object) -> Standing:
    if not isinstance(state, Items) or state.kind != "dict" or state.count != len(state.kept):
        return Standing.MISUSED
    keys = state.kept[::2]
    if not all(isinstance(key, str) for key in keys):
        return Standing.MISUSED
    rerouting = not _REROUTING.isdisjoint(keys) or any(str(key).startswith("to_") for key in keys)
    return Standing.DANGEROUS if rerouting else Standing.REVIEWED


def _distribution(state: object) -> Standing:
    if not isinstance(state, Items) or state.kind != "dict" or state.count != len(state.kept):
        return Standing.UNKNOWN
    kept = state.kept
    pairs = list(zip(kept[::2], kept[1::2], strict=False))
    if any(not isinstance(key, str) or key not in _KEPT for key, _ in pairs):
        return Standing.DANGEROUS  # it may replace a method, and methods are called
    templates = [value for key, value in pairs if key == "_parse_arg_template"]
    if not all(isinstance(one, str) and _TEMPLATE.fullmatch(one) for one in templates):
        return Standing.DANGEROUS
    numbers = [value for key, value in pairs if key in {"numargs", "moment_type"}]
    return Standing.REVIEWED if templates and all(type(one) is int for one in numbers) else Standing.UNKNOWN


def _partial(catalogue: Catalogue, state: object) -> Standing:
    """A state of (function, arguments, named arguments, attributes)."""
    if not isinstance(state, Items) or state.kind != "tuple" or state.count != 4:
        return Standing.DANGEROUS
    function, args, named, attributes = state.kept
    if not isinstance(function, Global) or function.standing > Standing.UNKNOWN:
        return Standing.DANGEROUS
    if not (_is_whole(args, "tuple") and _is_whole(named, "dict") and _is_whole(attributes, "dict")):
        return Standing.DANGEROUS
    by_name = _items(named)[1::2]
    if _items(attributes) or (by_name and catalogue.partial([function]) is not Standing.REVIEWED):
        return max(Standing.MISUSED, function.standing)
    return catalogue.partial([function, *_items(args), *by_name])


def _is_whole(value: object, kind: str) -> bool:
    """Whether it is a container of that kind, all of which is known; or None in place of a dict."""
    if value is None:
        return kind == "dict"
    return isinstance(value, Items) and value.kind == kind and value.count == len(value.kept)


def _items(value: object) -> Sequence[object]:
    return value.kept if isinstance(value, Items) else ()
