"""The demo's own checks can fail: what differs is shown, and makes the exit status 1."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from fastness.core.errors import Unavailable
from fastness.interfaces.cli import demo
from fastness.interfaces.cli.demo.story import Differs, Story, expect


def quiet() -> Story:
    return Story(Console(file=io.StringIO(), width=200))


def differs() -> str:
    raise Differs("200 instead of 401")


def unreachable() -> str:
    raise Unavailable("unreachable", "nobody answers")


def misread() -> str:
    return {"a": "b"}["c"]


def test_a_story_without_steps_was_not_told() -> None:
    assert not quiet().as_told


def test_steps_that_go_as_told() -> None:
    story = quiet()
    assert story.step("one", "something", lambda: "something [bold]")
    assert (story.as_told, story.lines[0].seen, story.lines[0].as_told) == (True, "something [bold]", True)
    assert story.lines[0].ms >= 0
    assert "something [bold]" in shown(story)


@pytest.mark.parametrize("act", [differs, unreachable, misread], ids=["differs", "an error of the house", "a fault"])
def test_one_step_that_differs_spoils_the_story(act: Callable[[], str]) -> None:
    story = quiet()
    story.step("before", "fine", lambda: "fine")
    assert not story.step("bad", "401", act)
    story.step("after", "fine", lambda: "fine")
    assert not story.as_told
    assert [line.as_told for line in story.lines] == [True, False, True]


def test_a_fault_of_the_demo_itself_is_not_swallowed() -> None:
    def fault() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        quiet().step("x", "y", fault)


def test_expectations() -> None:
    expect(1, 1, "number")
    with pytest.raises(Differs, match="number: 2 instead of 1"):
        expect(2, 1, "number")


def shown(story: Story) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(story.table())
    return out.getvalue()


@pytest.mark.parametrize(("act", "status"), [(lambda: "fine", 0), (differs, 1), (unreachable, 1)])
def test_the_exit_status_says_whether_it_was_as_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    act: Callable[[], str],
    status: int,
) -> None:
    """With a story of one step in place of the whole one."""
    monkeypatch.setattr(demo, "_tell", lambda story, _root: story.step("the only step", "fine", act))
    assert demo.tell(tmp_path, keep=True, as_json=True) == status
    told = msgspec.json.decode(capsys.readouterr().out)
    assert (told["as_told"], len(told["steps"])) == (status == 0, 1)


def test_a_story_that_breaks_off_is_not_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(story: Story, _root: Path) -> None:
        story.step("first", "fine", lambda: "fine")
        raise Unavailable("demo-command", "`up` did not start")

    monkeypatch.setattr(demo, "_tell", broken)
    assert demo.tell(tmp_path, keep=True, as_json=True) == 1
    assert "`up` did not start" in capsys.readouterr().out
