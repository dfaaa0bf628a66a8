"""What a user names is written where they mean it, and nothing of theirs is replaced by something else."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from support.commands import SCENES, data, smx

from smx.atomic_io import write_output
from smx.errors import UserError


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    """Lost otherwise: the link to a paper's folder becomes a file, and the paper keeps the old table."""
    target = tmp_path / "paper" / "table.md"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    for name, points_at in (("table.md", target), ("new.md", tmp_path / "paper" / "new.md")):
        link = tmp_path / name
        link.symlink_to(points_at)
        write_output(link, b"new")
        assert link.readlink() == points_at
        assert points_at.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(p.name for p in target.parent.iterdir()) == ["new.md", "table.md"]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    """Lost otherwise: the pipe becomes a file, and whoever reads from it waits for ever."""
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    write_output(pipe, b"a table")
    reader.join()
    assert heard == [b"a table"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices")
def test_a_device_stays_one(tmp_path: Path) -> None:
    """Lost otherwise: as root, `-o /dev/full` replaces the device by a table."""
    full, null = tmp_path / "full", tmp_path / "null"
    try:
        os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        full.open("wb").close()
    except PermissionError:
        pytest.skip("no devices can be made here")
    write_output(null, b"gone")
    with pytest.raises(UserError, match=r"cannot write .*full: No space left"):
        write_output(full, b"a table")
    assert stat.S_ISCHR(full.stat().st_mode)
    assert stat.S_ISCHR(null.stat().st_mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "null"]


@pytest.mark.parametrize("name", ["missing/table.md", ".", "folder"])
def test_what_cannot_be_written_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: a traceback, or a folder made of a typing error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot write|names no file"):
        write_output(Path(name), b"a table")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_every_command_writes_where_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Lost otherwise: `-o` of one command follows links, knows `-` and `~`, and that of another does not."""
    home, lab = tmp_path / "home", tmp_path / "home" / "lab"
    (lab / "experiments" / "models").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert smx("-w", "~/lab", "gen", "--frames", "4", *SCENES) == 0
    commands = {
        "sheet.png": ("samples", "view", "uniform/4", "test-000", "-o"),
        "trend.svg": ("samples", "stats", "--plot"),
        "table.md": ("report", "--with-published", "--bench", "vsibench", "-o"),
    }
    for name, command in commands.items():
        (home / f"link-{name}").symlink_to(home / name)
        assert smx("-w", "~/lab", *command, f"~/link-{name}") == 0
        assert (home / f"link-{name}").is_symlink()
        assert (home / name).stat().st_size > 100
        if name == "trend.svg":
            continue  # what is drawn is told by its ending
        capfdbinary.readouterr()
        assert smx("-w", "~/lab", *command, "-") == 0
        expected = (home / name).read_bytes()
        printed = capfdbinary.readouterr().out
        assert printed == expected if name == "sheet.png" else len(printed) > 100
        assert not Path("-").exists()
    (home / "text").mkdir()
    (home / "runs.jsonl").write_text("")
    (home / "text" / "runs.jsonl").symlink_to(home / "runs.jsonl")
    assert smx("-w", "~/lab", "db", "export", "~/text") == 0
    assert (home / "text" / "runs.jsonl").is_symlink()
    assert (home / "runs.jsonl").read_text().count("\n") == 1


def test_home_is_understood_wherever_a_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: `--root=~/videos`, which no shell expands, or a path in YAML, is a folder called `~`."""
    from PIL import Image

    lab = tmp_path / "lab"
    (lab / "experiments").mkdir(parents=True)
    (lab / "experiments" / "site.yaml").write_text("data: {frames: ~/videos}\n")
    (lab / "experiments" / "one.yaml").write_text(
        "groups: {a: {kind: gen, list: [{dataset: frames, root: ~/videos, frames: 2}]}}\n"
    )
    (tmp_path / "videos" / "hall").mkdir(parents=True)
    for k in range(3):
        Image.new("RGB", (56, 56), (k, 0, 0)).save(tmp_path / "videos" / "hall" / f"{k}.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    usual = ("gen", "--dataset", "frames", "--frames", "2", "--dry-run")
    ways = [usual, (*usual, "--root=~/videos"), (*usual, "--set", "root=~/videos")]
    ways += [("run", "~/lab/experiments/one.yaml", "--dry-run")]
    marks = {data(capsys, "-w", lab, *way)[0]["fingerprint"] for way in ways}
    assert len(marks) == 1
