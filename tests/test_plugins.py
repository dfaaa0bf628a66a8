"""A new sampler is one file: found by its name, listed without importing it, and its mistakes named as the file's."""

from __future__ import annotations

import hashlib
import json
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


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


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
        sys.modules.pop("smx_workspace_samplers.mine", None)  # as a new process has it
        seen.append(data(capsys, "gen", "--sampler", name, "--frames", "4", *SCENES, "--dry-run")[0]["fingerprint"])
    assert seen[0] != seen[1]


@pytest.mark.parametrize("by", ["workspace", "package"])
def test_a_name_that_is_taken_is_refused_with_both_files(
    by: str, lab: Path, site_packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else two labs' `sa` would share fingerprints and not frames; or a file would be edited that nobody runs."""
    text = "raise RuntimeError('never imported')"
    path = add(lab, "sa", text) if by == "workspace" else install(site_packages, {"sa": text}) / "sa.py"
    own = Path(plugins.__file__).parent / "samplers" / "sa.py"
    before = left(lab)
    assert smx("gen", "--sampler", "sa", *SCENES) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert str(own) in error
    assert "give it another name" in error
    assert left(lab) == before
    listed = data(capsys, "list", "samplers")
    assert listed["sa"].startswith("[refused: ")
    assert listed["uniform"].startswith("Evenly spaced")
    assert smx("gen", "--sampler", "uniform", "--frames", "4", *SCENES, "--dry-run") == 0


def test_a_copy_of_the_same_file_is_no_clash(lab: Path, tmp_path: Path) -> None:
    """A job finds the workspace's plugins in the copy it was submitted with, and so may its submitter."""
    text = FIRST_AND_LAST.format(name="ends", skip=0)
    add(lab, "ends", text)
    (tmp_path / "copy" / "samplers").mkdir(parents=True)
    (tmp_path / "copy" / "samplers" / "ends.py").write_text(text)
    plugins.add_folder(lab / "experiments" / "plugins")
    plugins.add_folder(tmp_path / "copy")
    assert plugins.load("samplers", "ends").__doc__ == "Options of `ends`."
    (tmp_path / "copy" / "samplers" / "ends.py").write_text(text + "\n")
    with pytest.raises(UserError, match="has the name of"):
        plugins.load("samplers", "ends")


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages on Python's path."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    plugins.installed.cache_clear()
    yield folder
    plugins.installed.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "their_samplers"]:
        del sys.modules[name]


def install(site_packages: Path, samplers: dict[str, str], *, points: dict[str, str] | None = None) -> Path:
    """A package as pip leaves it, with an entry point for each of `samplers` (name -> text); where its files are."""
    package = site_packages / "their_samplers"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('the package is imported')\n" if not points else "")
    for name, text in samplers.items():
        (package / f"{name}.py").write_text(text)
    about = site_packages / "their_samplers-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-samplers\nVersion: 1.2\n")
    lines = points or {name: f"their_samplers.{name}" for name in samplers}
    (about / "entry_points.txt").write_text("[smx.samplers]\n" + "".join(f"{n} = {v}\n" for n, v in lines.items()))
    return package


def test_a_sampler_of_an_installed_package_is_found_and_runs(
    lab: Path, site_packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: who shares a sampler with other labs has to have each of them copy a file."""
    points = {"their-ends": "their_samplers.ends", "named": "their_samplers.ends:Sampler"}
    package = install(site_packages, {"ends": FIRST_AND_LAST.format(name="ends", skip=0)}, points=points)
    listed = data(capsys, "list", "samplers")
    assert listed["their-ends"] == listed["named"] == "The first and the last frames of a scene."
    assert "their_samplers" not in sys.modules  # listing imports nothing
    assert smx("gen", "--sampler", "their-ends", "--frames", "4", "--scenes", "test-000", *SCENES) == 0
    assert len(list(lab.glob("samples/their-ends/4f-*/rooms*/test-000/frame_*"))) == 4
    assert plugins.load("samplers", "named") is plugins.load("samplers", "their-ends")
    (run_folder,) = lab.glob("runs/gen/their-ends*")
    recorded = json.loads((run_folder / "attempts/1/plan.json").read_text())["provenance"]["plugins"]
    assert recorded["samplers/their-ends (their-samplers 1.2)"] == digest_of(package / "ends.py")


def test_listing_runs_nothing_of_an_installed_package(
    lab: Path, site_packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: one package that imports torch makes `smx list` take seconds, a broken one makes it fail."""
    install(site_packages, {"loud": '"""Says what it is."""\nraise RuntimeError("imported")'})
    assert data(capsys, "list", "samplers")["loud"] == "Says what it is."
    assert smx("gen", "--sampler", "loud", *SCENES) == 2
    error = capsys.readouterr().err
    assert "loud.py (their-samplers 1.2) cannot be loaded: RuntimeError: the package is imported" in error
    assert "python -c 'import their_samplers.loud' shows where" in error


def test_what_a_package_promises_and_lacks_is_said(
    lab: Path, site_packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its author's slip: no such module, or a name that would leave the folder of samples."""
    install(site_packages, {}, points={"gone": "their_samplers.gone", "../up": "their_samplers"})
    listed = data(capsys, "list", "samplers")
    assert listed["gone"].startswith("[")
    assert "gone.py cannot be read: No such file" in listed["gone"]
    assert "cannot be the name of a sampler" in listed["../up"]
    assert smx("gen", "--sampler", "gone", *SCENES) == 2
    assert "(their-samplers 1.2) cannot be loaded: ModuleNotFoundError" in capsys.readouterr().err
    assert smx("gen", "--sampler", "../up", *SCENES) == 2
    assert "'../up' cannot be the name of a sampler" in capsys.readouterr().err
    assert "sa" in listed


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
        ("import sys; sys.exit(0)", ["SystemExit: sys.exit(0) was called"]),
        ("from ._shared import nothing", ["ModuleNotFoundError", "samplers/_shared.py"]),
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
    assert "smx_workspace" not in error, "the name of a file that nobody wrote"
    for part in said:
        assert part in error
    assert left(lab) == before


def test_a_broken_plugin_does_not_hide_the_others(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = add(lab, "wrong", "def broken(:")
    assert smx("list", "samplers") == 0
    printed = capsys.readouterr().out
    assert "mergeaware_sa" in printed
    assert f"[{path} cannot be read: invalid syntax, line 1]" in printed
    assert smx("gen", "--sampler", "uniform", "--frames", "4", *SCENES, "--dry-run") == 0


LEAVES = """"A sampler that ends the program."

import sys

from smx.samplers import BaseSampler, Choice


class Sampler(BaseSampler):
    def check_frames(self, n):
        if n == 6:
            sys.exit()

    def choose(self, view, n, seed):
        if n == 4:
            sys.exit(0)
        return Choice([0] * n, [False] * n)
"""


@pytest.mark.parametrize(
    ("frames", "code", "said"),
    [
        (4, 1, ["sys.exit(0) was called"]),  # of each scene, in a thread
        (6, 2, ["sys.exit() was called", "leaves.py, line 11"]),  # before anything is started
        (2, 1, ["leaves.py: choose chose a frame twice"]),
    ],
)
def test_a_plugin_cannot_end_smx_as_if_all_were_well(
    frames: int, code: int, said: list[str], lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: exit code 0, nothing computed, and a script that goes on to the report."""
    add(lab, "leaves", LEAVES)
    assert smx("gen", "--sampler", "leaves", "--frames", frames, *SCENES) == code
    assert smx("status", "--no-sync") == 0
    printed = capsys.readouterr()
    for part in said:
        assert part in printed.err + printed.out


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
