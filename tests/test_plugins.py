"""A new sampler is one file: found by its name, listed without importing it, and its mistakes named as the file's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import SCENES, data, left, smx

from smx import plugins
from smx.errors import UserError

FIRST_AND_LAST = '''"""The first and the last frames of a scene.

More words that the list leaves out.
"""

from pydantic import Field

from smx.samplers import BaseSampler, Choice


class Sampler(BaseSampler):
    """Options of `{name}`."""

    skip: int = Field(default={skip}, ge=0, description="frames left out at each end")

    def choose(self, view, n, seed):
        ids = [int(i) for i in view.frame_ids][self.skip : len(view.frame_ids) - self.skip]
        return Choice(ids[: n // 2] + ids[len(ids) - n // 2 :], [False] * n)
'''


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace with room for plugins; the process forgets them afterwards."""
    monkeypatch.setattr(plugins, "_extra_folders", [])
    (tmp_path / "experiments" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("smx_workspace_"):
            del sys.modules[name]


def add(lab: Path, name: str, text: str, kind: str = "samplers") -> Path:
    path = lab / "experiments" / "plugins" / kind / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", plugins.CLASS)
def test_every_shipped_plugin_is_listed_with_one_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = [path.stem for path in (Path(plugins.__file__).parent / kind).glob("*.py") if not path.stem.startswith("_")]
    assert plugins.names(kind) == sorted(files)
    for name in files:
        line = plugins.describe(kind, name)
        assert 10 < len(line) < 160
        assert line[-1] in "." or kind == "models", f"{kind}/{name}: {line}"
    if kind != "models":  # whose list shows variants
        assert set(data(capsys, "list", kind)) == set(files)


def test_a_sampler_of_the_lab_is_one_file_and_runs(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(lab, "ends", FIRST_AND_LAST.format(name="ends", skip=0))
    assert smx("list", "samplers") == 0
    assert "The first and the last frames of a scene." in capsys.readouterr().out
    assert smx("list", "samplers", "ends") == 0
    assert "skip = 0  frames left out at each end" in capsys.readouterr().out
    assert (
        smx(
            "gen",
            "--sampler",
            "ends",
            "--frames",
            "4",
            "--scenes",
            "test-000",
            *SCENES,
            "--set",
            "sampler_options.skip=1",
        )
        == 0
    )
    (sample,) = lab.glob("samples/ends/4f-*/rooms*/test-000")
    assert sorted(path.name[10:16] for path in sample.glob("frame_*")) == ["000001", "000002", "000021", "000022"]
    assert smx("gen", "--sampler", "ends", "--set", "sampler_options.skp=1") == 2
    assert "did you mean skip?" in capsys.readouterr().err
    assert smx("gen", "--sampler", "edns") == 2
    assert "did you mean ends?" in capsys.readouterr().err


def test_a_changed_default_of_the_labs_sampler_is_another_run(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = []
    for name, skip in (("mine", 0), ("mine", 1)):
        add(lab, name, FIRST_AND_LAST.format(name=name, skip=skip))
        sys.modules.pop("smx_workspace_samplers_mine", None)  # as a new process has it
        seen.append(data(capsys, "gen", "--sampler", name, "--frames", "4", *SCENES, "--dry-run")[0]["fingerprint"])
    assert seen[0] != seen[1]


def test_a_file_of_the_lab_cannot_change_what_a_shipped_name_means(lab: Path) -> None:
    """Else two labs' `sa` would share fingerprints and not frames."""
    add(lab, "sa", "raise RuntimeError('never imported')")
    plugins.add_folder(lab / "experiments" / "plugins")
    assert plugins.files("samplers")["sa"].parent == Path(plugins.__file__).parent / "samplers"
    assert plugins.load("samplers", "sa").__module__ == "smx.samplers.sa"


def test_listing_imports_nothing(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(lab, "loud", '"""Says what it is."""\nraise RuntimeError("imported")')
    assert data(capsys, "list", "samplers")["loud"] == "Says what it is."


def test_shared_code_and_hidden_files_are_no_plugins(lab: Path) -> None:
    add(lab, "_shared", "x = 1")
    add(lab, "notes", "x = 1").rename(lab / "experiments" / "plugins" / "samplers" / "notes.txt")
    plugins.add_folder(lab / "experiments" / "plugins")
    assert {"_shared", "__init__", "notes"}.isdisjoint(plugins.names("samplers"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", ["defines no class Sampler", "one file with `class Sampler`"]),
        ("import nothing_of_this_name", ["ModuleNotFoundError", "nothing_of_this_name", "python "]),
        ("def broken(:", ["SyntaxError"]),
        ("1 / 0", ["ZeroDivisionError"]),
    ],
)
def test_a_broken_plugin_is_the_files_mistake_and_not_a_bug_in_smx(
    text: str, said: list[str], lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = add(lab, "wrong", text)
    before = left(lab)
    assert smx("gen", "--sampler", "wrong") == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert "bug" not in error
    for part in said:
        assert part in error
    assert left(lab) == before


def test_a_broken_plugin_does_not_hide_the_others(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(lab, "wrong", "def broken(:")
    assert smx("list", "samplers") == 0
    printed = capsys.readouterr().out
    assert "mergeaware_sa" in printed
    assert "[cannot be read: invalid syntax" in printed
    assert smx("gen", "--sampler", "uniform", "--frames", "4", *SCENES, "--dry-run") == 0


@pytest.mark.parametrize(("kind", "folder"), [("experiments", ""), ("models", "models")])
def test_a_broken_file_of_the_lab_does_not_hide_the_others(
    lab: Path, capsys: pytest.CaptureFixture[str], kind: str, folder: str
) -> None:
    """Whoever looks for an experiment among fifty finds it, and reads which file is broken where."""
    place = lab / "experiments" / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / "good.yaml").write_text("description: as it should be\nbase: tiny\n")
    (place / "wrong.yaml").write_text("description: x\ngroups: {a: [1\n")
    capsys.readouterr()
    assert smx("list", kind) == 0
    printed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "as it should be" in printed["good"]
    assert f"[cannot be read: {place / 'wrong.yaml'}, line 3, column 1: " in printed["wrong"]
    assert data(capsys, "list", kind)["good"].startswith("as it should be")


@pytest.mark.parametrize("kind", plugins.CLASS)
def test_an_unknown_name_lists_what_there_is(kind: str) -> None:
    with pytest.raises(UserError) as caught:
        plugins.load(kind, "nothing-like-it")
    assert caught.value.message == f"unknown {plugins.WORD[kind]} 'nothing-like-it'"
    assert all(name in caught.value.hint for name in plugins.names(kind))
    assert "did you mean" not in caught.value.hint


@pytest.mark.parametrize("name", ["../samplers/sa", "sa.py", "sa/../sa", "", ".", "__init__", "_common"])
def test_a_name_never_reaches_past_its_folder(name: str) -> None:
    with pytest.raises(UserError, match="unknown sampler"):
        plugins.load("samplers", name)
