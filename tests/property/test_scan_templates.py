"""A grammar of template expressions that reach Python: none passes, and no template fails the reader or runs."""

from hypothesis import example, given
from hypothesis import strategies as st

from fastness.core.findings import Severity
from fastness.models.scan.templates import look_at
from tests.unit.models.scan.test_templates import HONEST, findings_of

HIDDEN = st.sampled_from(["__class__", "__globals__", "__init__", "__subclasses__", "__mro__", "__builtins__"])
VALUES = st.sampled_from(
    ["x", "''", "messages", "messages[0]", "cycler", "namespace", "().x", "[]", "{}", "loop", "self", "(1)"]
)


def quoted(text: str) -> str:
    return "'" + "".join(f"\\x{ord(c):02x}" for c in text) + "'"


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    """An expression of constants that comes to `name`."""
    at = draw(st.integers(1, len(name) - 1))
    first, second = f"'{name[:at]}'", f"'{name[at:]}'"
    return draw(st.sampled_from([
        f"'{name}'", quoted(name), f"{first} ~ {second}", f"{first} + {second}", f"'{name[::-1]}'[::-1]", f"'{name[::-1]}'|reverse",
        f"[{first}, {second}]|join", f"''.join([{first}, {second}])", f"'%s%s' % ({first}, {second})", f"'%s%s'|format({first}, {second})",
        f"'{{}}{{}}'.format({first}, {second})", f"'{name.upper()}'|lower", f"'{name.replace('_', '-')}'.replace('-', '_')",
        f"'%c%c' % (95, 95) ~ '{name[2:]}'", f"('{name}x')[:-1]", f"'_' * 2 ~ '{name[2:]}'", f"({first} ~ {second})|string",
    ]))  # fmt: skip


@st.composite
def reaching(draw: st.DrawFn) -> str:
    """A template that reaches a hidden attribute of some value."""
    name, value = draw(HIDDEN), draw(VALUES)
    key = draw(spelled(name))
    expression = draw(st.sampled_from([
        f"{value}.{name}", f"{value}[{key}]", f"{value}|attr({key})", f"[{value}]|map(attribute={key})|list", f"'{{0.{name}}}'.format({value})",
        f"{value}.{name}()", f"{value}[{key}]()", f"({value}, {value}[{key}])", f"x if {value}[{key}] else y", f"f({value}.{name})",
        f"{value} in {value}.{name}", f"[{value}]|selectattr({key})|list", f"not {value}[{key}]", f"{{'a': {value}.{name}}}",
    ]))  # fmt: skip
    return draw(st.sampled_from([
        f"{{{{ {expression} }}}}", f"{{% if {expression} %}}a{{% endif %}}", f"{{% set y = {expression} %}}", f"{{% for y in {expression} %}}{{% endfor %}}",
        f"{{% set k = {key} %}}{{{{ x[k] }}}}", f"{{% with k = {key} %}}{{{{ x[k] }}}}{{% endwith %}}", f"{{% macro m() %}}{{{{ {expression} }}}}{{% endmacro %}}",
        f"{{% filter upper %}}{{{{ {expression} }}}}{{% endfilter %}}", f"{{% generation %}}{{{{ {expression} }}}}{{% endgeneration %}}",
    ]))  # fmt: skip


@given(reaching(), st.sampled_from([*HONEST.values()]))
def test_no_template_that_reaches_python_passes(text: str, around: str) -> None:
    for whole in (text, around + text, text + around):
        findings = findings_of(whole)
        assert findings, whole
        assert max(severity for _, severity in findings) >= Severity.HIGH, whole


@given(st.text(alphabet="{}%#.|()[]'\"_~+-*,:= \nabcifsetforn0123456789", max_size=120))
@example("{{ a" + ".b" * 500 + " }}")
@example("{% if a %}" * 200)
def test_any_text_is_read_or_is_told(text: str) -> None:
    assert look_at(text) == look_at(text)
