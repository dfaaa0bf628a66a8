"""Which workspace a command uses: results that land in a folder nobody meant are lost to the lab."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.commands import SCENES, data, left, smx

from smx.workspace import Workspace, find, is_workspace

GEN = ("gen", "--frames", "4", "--scenes", "test-000", *SCENES)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lab(path: Path, *, by: str = "experiments/models") -> Path:
    """A workspace, recognised by `by`."""
    target = path / by
    if target.suffix:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    else:
        target.mkdir(parents=True)
    return path


@pytest.mark.parametrize("mark", ["registry.db", "experiments/models", "experiments/site.yaml"])
def test_the_nearest_workspace_above_is_found(mark: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab(place / "outer")
    inner = lab(place / "outer" / "inner", by=mark)
    deep = inner / "src" / "deep"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert find() == Workspace(inner, "found above")
    monkeypatch.chdir(place / "outer")
    assert find() == Workspace(place / "outer", "found above")


def test_a_folder_with_experiments_of_another_tool_is_no_workspace(place: Path) -> None:
    (place / "experiments").mkdir()
    (place / "runs").mkdir()
    assert not is_workspace(place)
    assert find() == Workspace(place, "default")


def test_the_option_comes_before_the_environment_and_that_before_what_is_above(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above, by_environment, by_option = lab(place / "a"), lab(place / "b"), lab(place / "c")
    monkeypatch.chdir(above)
    monkeypatch.setenv("SMX_WORKSPACE", str(by_environment))
    assert find(by_option) == Workspace(by_option, "--workspace")
    assert find() == Workspace(by_environment, "SMX_WORKSPACE")
    monkeypatch.setenv("SMX_WORKSPACE", "")
    assert find() == Workspace(above, "found above")


def test_a_named_workspace_that_is_not_there_is_never_replaced_by_another(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab(place)
    assert smx("--workspace", "gone", "ls") == 2
    error = capsys.readouterr().err
    assert "workspace 'gone' (--workspace) is not a folder" in error
    assert "smx init gone" in error
    monkeypatch.setenv("SMX_WORKSPACE", str(place / "lost"))
    assert smx("ls") == 2
    assert "(SMX_WORKSPACE)" in capsys.readouterr().err


def test_results_go_to_the_workspace_and_not_to_the_current_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, elsewhere = lab(place / "lab"), place / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert smx("-w", home, *GEN) == 0
    assert left(elsewhere) == []
    assert {"registry.db", "runs", "samples"} <= {path.name for path in home.iterdir()}
    monkeypatch.chdir(home / "runs" / "gen")
    assert smx("ls") == 0
    assert "uniform-4f-rooms" in capsys.readouterr().out


def test_using_the_defaults_is_said_once_and_on_stderr(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smx("ls", "--json") == 0
    said = capsys.readouterr()
    assert said.out == "[]\n"
    assert said.err.count("built-in defaults") == 1
    assert str(place) in said.err
    assert "smx init" in said.err


@pytest.mark.parametrize("how", ["--workspace", "SMX_WORKSPACE", "found above"])
def test_no_line_about_defaults_where_a_workspace_was_found(
    how: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = lab(place / "lab")
    if how == "SMX_WORKSPACE":
        monkeypatch.setenv("SMX_WORKSPACE", str(home))
    if how == "found above":
        monkeypatch.chdir(home)
    assert smx(*(("--workspace", home) if how == "--workspace" else ()), "ls") == 0
    assert "built-in defaults" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("ls",),
        ("ledger",),
        ("report",),
        ("samples", "stats"),
        ("list", "models"),
        ("schema",),
        ("gen", "--dry-run"),
        ("eval", "--model", "chance", "--dry-run", "--set", "bench_options.scenes=1"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_looking_makes_nothing(command: tuple[str, ...], place: Path) -> None:
    """A registry left behind in a home folder would make that folder the workspace of everything below it."""
    assert smx(*command) == 0
    assert left(place) == []


def test_storage_of_the_site_file_takes_what_grows(place: Path) -> None:
    home = lab(place / "lab")
    (home / "experiments" / "site.yaml").write_text(
        "storage: {runs: $BIG/runs, samples: $BIG/samples}\ndata: {rooms: .}"
    )
    os.environ["BIG"] = str(place / "big")
    try:
        assert smx("-w", home, *GEN) == 0
    finally:
        del os.environ["BIG"]
    assert sorted(path.name for path in home.iterdir()) == ["experiments", "registry.db"]
    assert {"runs", "samples"} <= {path.name for path in (place / "big").iterdir()}


def test_variants_of_the_lab_come_before_the_shipped_ones(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = lab(place / "lab")
    (home / "experiments" / "models" / "chance.yaml").write_text("base: frequency\ndescription: ours\n")
    (home / "experiments" / "models" / "extra.yaml").write_text("base: chance\n")
    assert smx("-w", home, "list", "models") == 0
    printed = capsys.readouterr().out
    assert "ours [base frequency]" in printed
    assert "extra" in printed
    assert "tiny-prope" in printed


def test_init_copies_what_a_lab_fills_in_and_no_variant(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a copy of every variant hides what the next version of smx mends in them."""
    assert smx("init", "lab") == 0
    said = capsys.readouterr().out
    assert left(place / "lab") == [
        *("experiments", "experiments/models", "experiments/site.example.yaml", "experiments/site.slurm.yaml"),
        "registry.db",
    ]
    assert "site.slurm.yaml" in said
    (place / "lab" / "experiments" / "site.slurm.yaml").write_text("ours")
    assert smx("init", "lab") == 0
    assert (place / "lab" / "experiments" / "site.slurm.yaml").read_text() == "ours"
    assert smx("-w", "lab", "list", "models") == 0
    assert "tiny-prope" in capsys.readouterr().out
    assert smx("-w", "lab", "eval", "--model", "tiny-prope", "--bench", "rooms", "--frames", "4", "--dry-run") == 0
    assert smx("-w", "lab", "list", "experiments") == 0
    assert "site" not in capsys.readouterr().out


def test_new_copies_one_variant_to_edit(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The copy is used from then on, under its own name or the old one, and the list says whose it is."""
    home = lab(place / "lab")
    assert smx("-w", home, "new", "--model", "tiny-prope") == 0
    copy = home / "experiments" / "models" / "tiny-prope.yaml"
    assert f"{copy}\nedit it, then: smx list models tiny-prope\n" in capsys.readouterr().out
    assert data(capsys, "-w", home, "list", "models")["tiny-prope"].endswith("[base tiny]")  # it says the same yet
    copy.write_text("base: tiny\ndescription: ours\npose: {kind: gta}\n")
    line = data(capsys, "-w", home, "list", "models")["tiny-prope"]
    assert line == f"ours [base tiny] [yours: {copy}; smx's own tiny-prope differs]"
    assert data(capsys, "-w", home, "list", "models", "tiny-prope")["pose"]["kind"] == "gta"
    assert smx("-w", home, "new", "mine", "--model", "tiny-prope") == 0
    assert data(capsys, "-w", home, "list", "models", "mine")["pose"]["kind"] == "gta"
    before = left(home)
    for words, said in {
        ("--model", "tiny-prope"): f"{copy} is there already",
        ("--model", "tinny"): "unknown model 'tinny'",
        ("../mine", "--model", "tiny"): "'../mine' cannot be the name of a variant",
        ("x", "--model", "tiny", "--template", "samplers-x-frames"): "give one of them",
        (): "the new experiment has no name",
        ("site",): "'site' cannot be the name of an experiment",
        ("site.mine",): "'site.mine' cannot be the name of an experiment",
    }.items():
        assert smx("-w", home, "new", *words) == 2
        assert said in capsys.readouterr().err
    assert left(home) == before


def test_a_workspace_that_cannot_keep_results_is_known_before_work_starts(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = lab(place / "lab")
    (home / "runs").write_text("a file where the run folders belong")
    assert smx("-w", home, *GEN) == 2
    error = capsys.readouterr().err
    assert f"{home / 'runs'} is a file, not a folder" in error
    assert "--workspace" in error
    assert left(home) == ["experiments", "experiments/models", "runs"]


def test_a_read_only_workspace_is_known_before_work_starts(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = lab(place / "lab")
    home.chmod(0o555)
    try:
        if os.access(home, os.W_OK):  # this user may write everywhere: the system's answer for others stands in
            monkeypatch.setattr(os, "access", lambda path, mode: not (Path(path) == home and mode & os.W_OK))
        assert smx("-w", home, *GEN) == 2
        assert f"cannot write to {home}" in capsys.readouterr().err
        assert smx("-w", home, "ls") == 0
    finally:
        home.chmod(0o755)
    assert left(home) == ["experiments", "experiments/models"]
