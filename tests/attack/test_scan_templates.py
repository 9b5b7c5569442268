"""Server-side template injection through chat templates (CVE-2024-34359, llama-cpp-python), as the class it is.

Success rate of the attacks: 0 of those below. No template here is ever rendered.
"""

import pytest

from fastness.core.findings import Severity
from tests.unit.models.scan.test_templates import findings_of

REACHES_PYTHON = r"""{{ ''.__class__.__mro__[1].__subclasses__() }}
{{ x|attr('__class__') }}
{{ x|attr(y) }}
{{ x['__class__'] }}
{{ x['__cl' ~ 'ass__'] }}
{{ x['__cl' + 'ass__'] }}
{% set a='__cl' %}{% set b='ass__' %}{{ x[a~b] }}
{% with a='__cl', b='ass__' %}{{ x[a~b] }}{% endwith %}
{{ x['\x5f\x5fclass\x5f\x5f'] }}
{{ x['_'*2 + 'class' + '_'*2] }}
{{ x['__ssalc__'[::-1]] }}
{{ x['__ssalc__'|reverse] }}
{{ x['__CLASS__'|lower] }}
{{ x['__xlass__'.replace('x', 'c')] }}
{{ x[['_','_','class','_','_']|join] }}
{{ x['_'.join(['', '', 'class', '', ''])] }}
{{ x['%c%cclass%c%c'|format(95,95,95,95)] }}
{{ x['%c%cclass%c%c' % (95,95,95,95)] }}
{{ x[('%c'*9)%(95,95,99,108,97,115,115,95,95)] }}
{{ x['{0}{0}class{0}{0}'.format('_')] }}
{{ '{0.__class__}'.format(x) }}
{{ '{0[__class__]}'.format(x) }}
{{ '{x.__init__}'.format_map({'x': cycler}) }}
{{ messages|map(attribute='__class__')|list }}
{{ messages|map(attribute='role.__class__')|list }}
{{ messages|map('attr','__class__')|list }}
{{ messages|selectattr('__class__')|list }}
{{ messages|groupby('__class__') }}
{{ messages|sort(attribute='__class__') }}
{{ cycler.__init__.__globals__.os.popen('id').read() }}
{{ joiner.__init__.__globals__ }}
{{ namespace.__init__.__globals__ }}
{{ lipsum.__globals__['os'].popen('id').read() }}
{{ self.__init__.__globals__ }}
{{ raise_exception.__globals__ }}
{{ x.f_globals }}
{{ x.gi_frame.f_back }}
{{ x.mro() }}
{{ os.popen('id') }}
{{ dict(__class__=1)|list|first }}
{% macro m() %}{% endmacro %}{{ m.__globals__ }}
{% set x.__class__ = 1 %}
{% for a in ''.__class__.__mro__ %}{% if a.__name__ == 'Popen' %}{{ a('id') }}{% endif %}{% endfor %}
{% if ''.__class__ %}{% endif %}
{% call x.__class__() %}{% endcall %}
{% filter attr('__class__') %}{% endfilter %}
{% set x %}{{ y.__class__ }}{% endset %}
{{ __builtins__ }}
{% generation %}{{ x.__class__ }}{% endgeneration %}
{% trans %}{{ x }}{% endtrans %}{{ x.__class__ }}""".splitlines()

HIDES_A_NAME = r"""{{ x[y|lower] }}
{{ x[({}|string)[0] ~ 'a'] }}
{% set ns = namespace(k='') %}{% for c in ['__cl','ass__'] %}{% set ns.k = ns.k ~ c %}{% endfor %}{{ x[ns.k] }}
{% set k = messages[0].content ~ 'x' %}{{ y[k] }}
{{ x[y.replace('a', 'b')] }}
{{ x[y if z else (a ~ b)] }}
{{ messages|map(attribute=key)|list }}
{{ text.format(x) }}
{{ x[0](1) }}
{{ x[key](1) }}
{{ self._TemplateReference__context }}
{{ request.application }}
{{ url_for.anything }}""".splitlines()


@pytest.mark.parametrize("text", REACHES_PYTHON)
def test_what_reaches_python_blocks(text: str) -> None:
    findings = findings_of(text)
    assert ("template-escapes", Severity.CRITICAL) in findings


@pytest.mark.parametrize("text", HIDES_A_NAME)
def test_what_hides_a_name_is_for_review_at_least(text: str) -> None:
    assert max(severity for _, severity in findings_of(text)) >= Severity.MEDIUM
