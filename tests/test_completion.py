"""What the Tab key knows: lost otherwise, names of forty characters are typed or copied."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import QUESTIONS, data, smx

from smx.cli import run


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with one run, one tag and one experiment."""
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert smx("init", tmp_path) == 0
    assert smx("eval", "--model", "chance", *QUESTIONS) == 0
    assert smx("tag", "last", "paper") == 0
    (tmp_path / "experiments" / "grid.yaml").write_text("common: {}\n")
    return tmp_path


def completed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: str) -> list[str]:
    """What bash is offered for the last word of `typed`."""
    capsys.readouterr()
    with monkeypatch.context() as shell:
        shell.setenv("_SMX_COMPLETE", "complete_bash")
        shell.setenv("COMP_WORDS", typed)
        shell.setenv("COMP_CWORD", str(len(shlex.split(typed)) - (not typed.endswith(" "))))
        with pytest.raises(SystemExit):
            run([])
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("smx sta", ["status"]),
        ("smx samples st", ["stats"]),
        ("smx gen --samp", ["--sampler"]),
        ("smx gen --sampler merge", ["mergeaware_sa", "mergeaware_uniform"]),
        ("smx ls --bench rooms,vsib", ["rooms,vsibench"]),
        ("smx eval --model tiny-pro", ["tiny-prope"]),
        ("smx train --set recipe.we", ["recipe.weight_decay="]),
        ("smx run gr", ["grid"]),
        ("smx ls --tag pa", ["paper"]),
        ("smx ls --state fa", ["failed"]),
        ("smx report --format la", ["latex"]),
        ("smx eval --executor sl", ["slurm"]),
        ("smx nothing --x", []),
        ("smx show --cost", []),
    ],
)
def test_words_are_completed(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: str, offered: list[str]
) -> None:
    assert completed(capsys, monkeypatch, typed) == offered


def test_runs_are_completed_from_the_workspace_that_is_named(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (chance,) = data(capsys, "ls")
    monkeypatch.delenv("SMX_WORKSPACE")
    for typed in (f"smx -w {lab} show cha", f"smx -w {lab} diff x cha", f"smx -w {lab} retry cha"):
        assert completed(capsys, monkeypatch, typed) == [chance["run"]]
    before = sorted(lab.rglob("*"))
    assert completed(capsys, monkeypatch, f"smx -w {lab}/nowhere show cha") == []
    assert sorted(lab.rglob("*")) == before


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_with_the_script_smx_prints(lab: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m smx"
    (lab / "bin").mkdir()
    (lab / "bin" / "smx").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (lab / "bin" / "smx").chmod(0o755)
    script = 'eval "$(_SMX_COMPLETE=source_bash smx)"; COMP_WORDS=(smx show chance); COMP_CWORD=2; '
    environment = {**os.environ, "PATH": f"{lab / 'bin'}:{os.environ['PATH']}"}
    ended = subprocess.run(
        ["bash", "-c", script + '_smx_completion smx; echo "${COMPREPLY[@]}"'],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert ended.stdout.startswith("chance-rooms-")
