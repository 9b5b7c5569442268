"""Files by which tools run something unasked: when a folder is opened, entered, installed, committed or served.

Each kind of file has a judge, which takes its text and tells what the tool would do. What a tool runs only when somebody
asks for it by name (a make target, an image, a script of a package) is told where it fetches a program and runs it. Misses:
tools that are not listed in `KINDS`, and what the programs do that a setting names.

Source: the documentation of Visual Studio Code (tasks, settings, development containers), IntelliJ, npm, pip, git, direnv,
Python's site module, GitHub Actions and the coding assistants named; CVE-2018-17456, CVE-2019-19604, CVE-2025-48384 (git
modules), CVE-2025-53773 (settings that approve every command).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.commands import FETCHES, dangerous_command, fetches_a_program, told_of
from fastness.models.scan.configs import Pairs, Tree, inner
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.jsons import NotJson, parse_relaxed
from fastness.models.scan.python_code import is_hard, reach_of
from fastness.models.scan.requirements import elsewhere, option
from fastness.models.scan.rules import MAPS
from fastness.models.scan.yamls import NotYaml
from fastness.models.scan.yamls import parse as parse_yaml

UNASKED = Rule(
    "tool-runs-unasked", "A file that makes a tool run something unasked", Severity.HIGH,
    "To open, enter, install or update the folder is enough to run what it says, before anybody looks at it.",
    "Remove the file; a model needs none of its kind.", {**MAPS, "cwe": "CWE-829", "atlas": "AML.T0011.000"},
)  # fmt: skip
NAMES_PROGRAM = Rule(
    "tool-names-program", "A setting that names a program for a tool to start", Severity.MEDIUM,
    "The tool starts the program in the course of its work, with the rights of whoever uses it.",
    "Read what is started, or remove the file; a model needs none of its kind.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (FETCHES, UNASKED, NAMES_PROGRAM)

Told = Fact | Finding
Judge = Callable[[str, str], Iterator[Told]]


def _unasked(source: str, what: str) -> Finding:
    return found(UNASKED, source, 0, what)


def _program(source: str, what: str) -> Finding:
    return found(NAMES_PROGRAM, source, 0, what)


def _json(text: str) -> Tree:
    try:
        return parse_relaxed(text.removeprefix("\ufeff")).tree
    except NotJson:
        return None


def _members(tree: Tree) -> Iterator[tuple[str, Tree]]:
    waiting: list[Tree] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Pairs):
            yield from node.members
        waiting.extend(reversed(inner(node)) if isinstance(node, Pairs | list) else ())


def _text(value: Tree) -> str:
    """A command, whether it is written as one text, as a list of words, or as an object of several."""
    waiting, words = [value], []
    while waiting:
        node = waiting.pop()
        if isinstance(node, Pairs | list):
            waiting.extend(reversed(inner(node)))
        elif isinstance(node, str):
            words.append(node)
    return " ".join(words)


def _commands(source: str, tree: Tree) -> Iterator[Told]:
    """What the objects of a tree say when the words of each are put together, as programs with their arguments are."""
    waiting: list[Tree] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Pairs):
            yield from told_of(source, _text([value for _, value in node.members if not _holds_objects(value)]))
        waiting.extend(reversed(inner(node)) if isinstance(node, Pairs | list) else ())


def _holds_objects(value: Tree) -> bool:
    return isinstance(value, Pairs) or (isinstance(value, list) and any(isinstance(one, Pairs) for one in value))


def _shown(key: str, value: Tree) -> str:
    return f"{key[:60]!a}: {_text(value)[:80]!a}"


# ---------------------------------------------------------------- editors
_OWN_FILE = re.compile(r"\.{1,2}[/\\]|\$\{(?:workspace|file)\w*\}|[\w.-]+[/\\][\w.-]")
_ENVIRONMENT = re.compile(r"(?:^|[/\\}])\.?(?:v?env|virtualenv|conda|pixi|node_modules)[\w.-]*[/\\]")
_STARTED = re.compile(
    r"(?:^|\.)(?:\w*executable\w*|(?:git|pythonPath|defaultInterpreterPath|\w*(?:compiler|interpreter|binary|bin|server|lint|format)\w*Path)"
    r"|git\.path|path|runtime|command)$",
    re.IGNORECASE,
)  # fmt: skip
_APPROVES = re.compile(
    r"chat\.tools\.(?:global\.)?autoApprove|claude-code\.allowDangerouslySkipPermissions|enableAllProjectMcpServers|\w*yolo\w*|security\.workspace\.trust\.(?:enabled|startupPrompt)"
    r"|task\.allowAutomaticTasks",
    re.IGNORECASE,
)
_INJECTING = frozenset({"LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "PYTHONSTARTUP", "PYTHONPATH", "BASH_ENV", "ENV",
                        "NODE_OPTIONS", "PROMPT_COMMAND", "PERL5OPT", "RUBYOPT", "ZDOTDIR", "GIT_SSH_COMMAND"})  # fmt: skip


def _editor(source: str, text: str) -> Iterator[Told]:
    """Tasks that run when the folder is opened, and settings that name programs or approve everything."""
    tree = _json(text)
    yield from _commands(source, tree)
    for key, value in _members(tree):
        if key == "runOn" and value == "folderOpen":
            yield _unasked(source, "a task runs when the folder is opened")
        elif _APPROVES.fullmatch(key):
            yield from _approval(source, key, value)
        elif key in _INJECTING and "terminal" in text:
            yield _program(source, f"every terminal is given {_shown(key, value)}")
        elif isinstance(value, str) and _STARTED.search(key) and _is_own(value):
            yield _program(source, _shown(key, value))


def _is_own(path: str) -> bool:
    """Whether a program lies in the folder itself, elsewhere than where environments do."""
    return _OWN_FILE.match(path) is not None and not _ENVIRONMENT.search(path)


def _approval(source: str, key: str, value: Tree) -> Iterator[Told]:
    if key.startswith("security"):
        if value in (False, "never"):
            yield _program(source, f"{key[:60]!a} switches a question off")
    elif value in (True, "on"):
        yield _unasked(source, f"{_shown(key, value)} approves what the folder runs")


def _container(source: str, text: str) -> Iterator[Told]:
    """`initializeCommand` runs on the machine itself, the others in the container."""
    tree = _json(text)
    yield from _commands(source, tree)
    for key, value in tree.members if isinstance(tree, Pairs) else ():
        if key == "initializeCommand" and _text(value).strip():
            yield _unasked(source, _shown(key, value))
        elif key in {"runArgs", "mounts", "privileged"} and re.search(r"--privileged|docker\.sock|source=/,|--pid=host|\bTrue\b", f"{_text(value)} {value is True}"):  # fmt: skip
            yield _program(source, f"{_shown(key, value)} gives the container the machine")


_STARTUP = re.compile(
    r"ProjectStartupTasks|ProjectStartupConfiguration|StartupTask|com\.intellij\.startup", re.IGNORECASE
)
_RUNS = re.compile(
    r"<configuration\b[^>]*\btype=\"(?:ShConfigurationType|BashConfigurationType|ShellScript\w*)\"|<tool\b|<task-options|<TaskOptions|external-?tool",
    re.IGNORECASE,
)


def _project(source: str, text: str) -> Iterator[Told]:
    """Projects of IntelliJ: what runs at start-up, file watchers, external tools and scripts of shells."""
    plain = text.replace("&quot;", '"').replace("&amp;", "&").replace("&#10;", "\n")
    yield from told_of(source, plain)
    if _STARTUP.search(text):
        yield _unasked(source, "a configuration runs when the project is opened")
    elif match := _RUNS.search(text):
        yield _program(source, f"it holds {match[0][:60]!a}")


def _assistant(source: str, text: str) -> Iterator[Told]:
    """Settings of coding assistants: hooks, servers that are started, and approvals of everything."""
    tree = _json(text)
    yield from _commands(source, tree)
    for key, value in _members(tree):
        if key == "hooks" and _text(value).strip():
            yield _unasked(source, f"hooks run {_text(value)[:80]!a}")
        elif (_APPROVES.fullmatch(key) and value is True) or value in ("bypassPermissions", "dontAsk"):
            yield _unasked(source, f"{_shown(key, value)} approves what the folder runs")
        elif key in {"apiKeyHelper", "awsAuthRefresh", "awsCredentialExport", "command"} and isinstance(value, str):
            yield _program(source, _shown(key, value))


# ---------------------------------------------------------------- packages
_LIFECYCLE = re.compile(
    r"(?:pre|post)?(?:install|prepare|prepack|pack|uninstall)|(?:pre)?publish|dependencies|prepublishOnly"
)
_INSTALLING = frozenset({"preinstall", "install", "postinstall"})
_BUILD_WORD = re.compile(
    r"(?:(?:npx|pnpx|bunx)\s+(?:--\S+\s+)*)?(?:npm|yarn|pnpm|jlpm|bun|lerna|nx|turbo|husky|tsc|rollup|webpack|vite|babel|esbuild|gulp|grunt|node-gyp(?:-build)?"
    r"|prebuild-install|node-pre-gyp|patch-package|simple-git-hooks|is-ci|opencollective|rimraf|cross-env|lint-staged|jest|mocha|ava|tap|eslint|standard|prettier"
    r"|copyfiles|cpx|ncp|shx|mkdirp|make|echo|exit|true|cd|cp|mkdir|safe-publish-latest|not-in-publish|in-publish|unbuild|tsup|tsdx|tshy|microbundle|ipjs|aegir|ng|ng-packagr"
    r"|jupyter|hatch|auto-changelog|git\s+add|napi|swc|run-s|run-p|npm-run-all|pkg-ok|del-cli|del|ls-engines|evalmd|publint|attw|semantic-release|changeset|bundle|dts-bundle\S*"
    r"|node\s+(?:\./)?(?:scripts?|build|tools?|bin|tasks)/[\w./-]+|\[\s|test\s)(?:\s|$|\S*$)",
)  # fmt: skip
_SEPARATORS = re.compile(r"\s*(?:&&|\|\||;)\s*")


def _node_package(source: str, text: str) -> Iterator[Told]:
    """The scripts of a package of Node: those that installing runs, and what any of them fetches."""
    tree = _json(text)
    for key, value in tree.members if isinstance(tree, Pairs) else ():
        if key == "scripts" and isinstance(value, Pairs):
            yield from _node_scripts(source, value)
        elif key.lower().endswith(("dependencies", "overrides", "resolutions")) and isinstance(value, Pairs):
            yield from _node_demands(source, value)


def _node_demands(source: str, demands: Pairs) -> Iterator[Fact]:
    for package, asked in demands.members:
        if isinstance(asked, str) and re.match(r"(?:https?|git|ftp)(?:\+\w+)?://", asked):
            yield elsewhere(source, 0, asked.replace("git://", "git+git://"), package.lstrip("@").replace("/", "-"))


def _node_scripts(source: str, scripts: Pairs) -> Iterator[Told]:
    for name, command in scripts.members:
        if not isinstance(command, str):
            continue
        yield from told_of(source, command)
        if _LIFECYCLE.fullmatch(name) and not all(
            _BUILD_WORD.match(part) for part in _SEPARATORS.split(command) if part
        ):
            sort = (
                _unasked
                if name in _INSTALLING and re.search(r"\bnode\s+-e|\b(?:ba)?sh\s+-c|\$\(|`", command)
                else _program
            )
            if name in _INSTALLING or sort is _unasked:
                yield sort(source, f"installing it runs {command[:80]!a}")


_SETTING = re.compile(
    r"^[ \t]*((?:@[\w.-]+:|//[^\n=]{1,200}:)?[^#;\[\s=:/][^=\n:]*?)[ \t]*[=:][ \t]*(.*(?:\n[ \t]+\S.*)*)$", re.MULTILINE
)
_NODE_INDEX = re.compile(r"https://registry\.(?:npm" + r"js\.org|yarnpkg\.com)/?", re.IGNORECASE)
_INDEX_KEYS = {"index-url": "--index-url", "extra-index-url": "--extra-index-url", "find-links": "--find-links", "index_url": "--index-url",
               "trusted-host": "--trusted-host", "registry": "--index-url", "npmregistryserver": "--index-url", "config-settings": "--config-settings",
               "global-option": "--global-option", "install-option": "--install-option"}  # fmt: skip
_SECRET_KEYS = re.compile(r"(?:.*:)?_?(?:password|authtoken|auth|npmauthtoken)", re.IGNORECASE)
_RUN_KEYS = frozenset(
    {
        "node-options",
        "script-shell",
        "onload-script",
        "yarnpath",
        "yarn-path",
        "git",
        "shell",
        "editor",
        "init-module",
        "node-gyp",
        "plugins",
    }
)


def _installer(source: str, text: str) -> Iterator[Told]:
    """Settings of pip, npm, yarn and their like: other indexes, passwords, and programs."""
    yield from told_of(source, text)
    for match in _SETTING.finditer(text):
        key, value = match[1].strip().strip("\"'").lower(), match[2].strip().strip("\"'")
        scoped = key.rpartition(":")[2] if key.startswith("@") else key
        yield from _index(source, scoped, value)
        if _SECRET_KEYS.fullmatch(key) and value and not value.startswith(("$", "<", "{")):
            yield Fact(FactKind.CREDENTIAL, source, 0, "password or token of a package index")
        if scoped in _RUN_KEYS and value:
            yield _program(source, f"{key[:40]!a}: {value[:80]!a}")


def _index(source: str, key: str, value: str) -> Iterator[Fact]:
    flag = _INDEX_KEYS.get(key.replace("global.", "").replace("_", "-"), "--index-url" if key == "repository" else "")
    for address in value.split() if flag else ():
        if not _NODE_INDEX.fullmatch(address):
            yield option(source, 0, flag, address)


# ---------------------------------------------------------------- Python
def _start_up(source: str, text: str) -> Iterator[Told]:
    """`sitecustomize` and `usercustomize`: every Python that finds them imports them before anything else."""
    del text
    yield _unasked(source, "every Python that has the folder on its path imports it at its start")


def _paths(source: str, text: str) -> Iterator[Told]:
    """Path files: Python's site module runs each line that begins with `import`."""
    line = next((line for line in text.splitlines() if line.startswith(("import ", "import\t"))), "")
    if line:
        yield _unasked(source, f"the line {line[:80]!a} runs at every start of Python")


# ---------------------------------------------------------------- git, shells, builds
_DRIVER = re.compile(r"\bfilter=(?!(?:lfs|nbstripout|git-crypt|jupyternotebook|strip-notebook\S*|annex)(?:\s|$))(\S+)")
_MODULE = re.compile(
    r"^[ \t]*(?:url|path)[ \t]*=[ \t]*\"?[ \t]*-.*$|^[ \t]*update[ \t]*=[ \t]*!.*$|^[ \t]*url[ \t]*=[ \t]*\"?(?:ext|fd)::.*$"
    r"|^[ \t]*path[ \t]*=.*(?:\.\.(?:/|$)|\.git(?:/|$)|\r\"|\\r\").*$|^\[submodule[ \t]+\"[^\"]*\.\.[/\\].*$",
    re.IGNORECASE | re.MULTILINE,
)


def _attributes(source: str, text: str) -> Iterator[Told]:
    if match := _DRIVER.search(text):
        yield _program(source, f"git filters files through {match[1][:60]!a}, where that is set up")


def _modules(source: str, text: str) -> Iterator[Told]:
    if match := _MODULE.search(text):
        yield _unasked(source, f"a module is set up as {match[0].strip()[:80]!a}")


_HARMLESS_LINE = re.compile(
    r"\s*(?:#.*|(?:export\s+|declare\s+-x\s+)?\w+=(?:[^`$\n]|\$\{?\w+[^\n`(]*)*|export\s+\w+|(?:layout|use|source_env\w*|source_up\w*|dotenv\w*|PATH_add|path_add|watch_file|"
    r"watch_dir|strict_env|unset|env_vars_required|if|then|else|fi|elif|log_status)\b[^`$\n]*(?:\$\{?\w+\}?[^`$(\n]*)*|)\s*"
)


def _environment(source: str, text: str) -> Iterator[Told]:
    """What direnv and shells run on entering the folder."""
    said = dangerous_command(text)
    line = next((line for line in text.splitlines() if not _HARMLESS_LINE.fullmatch(line)), "")
    if said:
        yield _unasked(source, f"entering the folder runs {said[:80]!a}")
    elif line:
        yield _program(source, f"entering the folder runs {line.strip()[:80]!a}")


def _r_profile(source: str, text: str) -> Iterator[Told]:
    yield from told_of(source, text)
    yield _program(source, "R runs it when it is started in the folder")


def _recipe(source: str, text: str) -> Iterator[Told]:
    """Recipes that somebody asks for: images, targets, stages, hooks of commits."""
    yield from told_of(source, text)
    if said := fetches_a_program(text):
        yield _program(source, f"it fetches a program and runs it: {said[:80]!a}")


_FROM = re.compile(r"^[ \t]*(?:FROM|ADAPTER)[ \t]+[\"']?([^\s\"']+)", re.IGNORECASE | re.MULTILINE)


def _ollama(source: str, text: str) -> Iterator[Told]:
    """The files that a Modelfile of Ollama takes, and the addresses it fetches from."""
    for location in _FROM.findall(text):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", location):
            yield Fact(FactKind.URL, source, 0, location, {"runs": "load"})
        elif re.match(r"~|(?:.*[/\\])?\.\.(?:[/\\]|$)", location):
            yield Fact(FactKind.REFERENCE, source, 0, location)


_GIVEN = re.compile(r"github\.(?:event\.pull_request\.head\.(?:sha|ref)|head_ref)|refs/pull/")
_INJECTED = re.compile(
    r"\$\{\{\s*github\.(?:event\.(?:issue|comment|review|discussion|pull_request|head_commit|commits)\S*\.(?:title|body|message|name|email|ref|label|default_branch)|head_ref)\s*\}\}"
)


def _workflow(source: str, text: str) -> Iterator[Told]:
    """Workflows that run what strangers send with the rights of the repository."""
    try:
        trees = parse_yaml(text).trees
    except NotYaml:
        return  # the reader of the file says so
    members = [pair for tree in trees for pair in _members(tree)]
    triggers = " ".join(
        _text(value) + " ".join(key for key, _ in _members(value)) for key, value in members if key in {"on", "True"}
    )
    stranger = any(key == "ref" and isinstance(value, str) and _GIVEN.search(value) for key, value in members)
    runs = [value for key, value in members if key == "run" and isinstance(value, str)]
    if re.search(r"pull_request_target|workflow_run|issue_comment", triggers) and stranger:
        yield _unasked(source, "a workflow runs the code of a stranger's request with the rights of the repository")
    for command in runs:
        if match := _INJECTED.search(command):
            yield _program(source, f"a stranger's text becomes part of a command: {match[0][:60]!a}")
        if said := dangerous_command(command):
            yield _program(source, f"the workflow runs {said[:80]!a}")


# ---------------------------------------------------------------- notebooks
_SHELL_CELL = re.compile(r"%%(?:bash|sh|script|system|sx|cmd|powershell|perl|ruby)\b")
_SHELL_LINE = re.compile(r"^[ \t]*(?:!!?|%(?:system|sx)\b)[ \t]*(.*)$", re.MULTILINE)
_MAGIC_LINE = re.compile(r"^([ \t]*)(?:\w+[ \t]*=[ \t]*)?[%!?].*$|^([ \t]*)\S+\?{1,2}[ \t]*$", re.MULTILINE)
_SYSTEM = re.compile(r"get_ipython\(\)\s*\.\s*(?:system|getoutput|run_cell_magic)\w*\(")


def _notebook(source: str, text: str) -> Iterator[Told]:
    """The code cells: commands of shells, code that runs what it fetches, and cells that run when the notebook is opened."""
    try:
        cells = [
            cell
            for cell in json.loads(text).get("cells", ())
            if isinstance(cell, dict) and cell.get("cell_type") == "code"
        ]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return  # the reader of the file says so
    for cell in cells:
        lines = cell.get("source", "")
        code = "".join(map(str, lines)) if isinstance(lines, list) else str(lines)
        metadata = cell.get("metadata")
        at_once = isinstance(metadata, dict) and metadata.get("init_cell") is True
        yield from _cell(source, code, at_once=at_once)


def _cell(source: str, code: str, *, at_once: bool) -> Iterator[Told]:
    shell = code if _SHELL_CELL.match(code.lstrip()) else "\n".join(match[1] for match in _SHELL_LINE.finditer(code))
    if _SYSTEM.search(code):
        shell += "\n" + code.replace("\\n", "\n")
    yield from told_of(source, shell)
    if not code.lstrip().startswith("%%") or _TIMED.match(code):
        yield from _python_cell(source, code, at_once=at_once)


def _python_cell(source: str, code: str, *, at_once: bool) -> Iterator[Told]:
    reach = reach_of(_MAGIC_LINE.sub(lambda match: f"{match[1] or match[2] or ''}pass", code))
    hard = [name for name in (*reach.at_import, *reach.in_calls) if is_hard(name)]
    if not hard:
        return
    if said := dangerous_command("\n".join(_QUOTED.findall(code))):
        yield found(FETCHES, source, 0, f"a cell runs {said[:80]!a}")
    elif _RUNS_TEXT & {name.rpartition(".")[2] for name in hard} and _FETCHED.search(code):
        yield found(FETCHES, source, 0, "a cell runs as code what it fetches or decodes")
    elif at_once:
        yield _unasked(source, f"a cell that runs when the notebook is opened reaches {hard[0][:60]!a}")


_TIMED = re.compile(r"\s*%%(?:time|timeit|capture|prun)\b")
_QUOTED = re.compile(r"[\"']([^\"'\n]{8,})[\"']")
_RUNS_TEXT = frozenset({"exec", "eval", "compile", "loads", "system", "popen", "run", "Popen", "call"})
_FETCHED = re.compile(
    r"\b(?:exec|eval|loads)\s*\(\s*[^\n]{0,200}(?:requests\.get|urlopen|b64decode|b85decode|fromhex|zlib\.decompress|marshal\.loads|httpx\.get)"
)

_PATH = r"(?:^|[/\\!])"
KINDS: tuple[tuple[re.Pattern[str], Judge], ...] = tuple(
    (re.compile(f"{_PATH}(?:{pattern})\\Z", re.IGNORECASE), judge)
    for pattern, judge in (
        (r"\.vscode[/\\](?:tasks|settings|launch)\.json|[\w. -]+\.code-workspace", _editor),
        (r"(?:\.devcontainer[/\\](?:[\w.-]+[/\\])?)?\.?devcontainer\.json", _container),
        (r"\.idea[/\\](?:[^!]*[/\\])?[\w. -]+\.(?:xml|iml)|[\w. -]+\.(?:iml|run\.xml)", _project),
        (r"\.(?:claude|cursor|gemini|windsurf|codex|kiro|continue)[/\\][\w.-]*(?:settings|mcp|hooks|config)[\w.-]*\.json|\.mcp\.json|\.vscode[/\\]mcp\.json", _assistant),
        (r"package\.json", _node_package),
        (r"(?:\.?pip[/\\])?pip\.(?:conf|ini)|\.(?:pypirc|npmrc|yarnrc|pydistutils\.cfg)|\.yarnrc\.yml", _installer),
        (r"(?:site|user)customize\.py[cw]?", _start_up),
        (r"[^/\\!]+\.pth", _paths),
        (r"\.gitattributes", _attributes),
        (r"\.gitmodules", _modules),
        (r"\.envrc|\.(?:bash|zsh|profile|k?sh)(?:rc|_profile|env|_login|profile)?", _environment),
        (r"\.Rprofile", _r_profile),
        (r"(?:[\w.-]+[._-])?Modelfile(?:[._-][\w.-]+)?", _ollama),
        (r"\.github[/\\]workflows[/\\][\w.-]+\.ya?ml", _workflow),
        (r"[^/\\!]+\.ipynb", _notebook),
        ((r"(?:[\w-]+[._-])?(?:Dockerfile|Containerfile)(?:[._-][\w.-]+)?|(?:GNU)?Makefile(?:\.[\w-]+)?|[\w-]+\.mk|justfile|Taskfile\.ya?ml|Procfile|Vagrantfile"
         r"|Jenkinsfile|Rakefile|(?:docker-)?compose(?:[._-][\w-]+)?\.ya?ml|\.pre-commit-(?:config|hooks)\.ya?ml|tox\.ini|setup\.cfg|pyproject\.toml|Pipfile|dvc\.ya?ml|MLproject"
         r"|bentofile\.ya?ml|bento\.ya?ml|cog\.ya?ml|\.gitlab-ci\.yml|azure-pipelines\.yml|cloudbuild\.ya?ml|environment\.ya?ml|Singularity|[\w.-]+\.def|CMakeLists\.txt|\.lefthook\.ya?ml|lefthook\.ya?ml"), _recipe),
    )
)  # fmt: skip
"""Which files tools act on, by path, and who judges them."""


def judge_of(name: str) -> Judge | None:
    """Who judges a file of that name; None for files that no tool acts on."""
    return next((judge for pattern, judge in KINDS if pattern.search(name)), None)
