"""Code of a lab's own is part of a run: other code is another run, and what the first one made is kept."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import QUESTIONS, SCENES, data, smx
from support.processes import GEN, until

from smx import plugins
from smx.runfolder import run_folders

SAMPLER = '''"""Frames from the start."""
from smx.samplers import BaseSampler, Choice
from ._shared import SKIP

class Sampler(BaseSampler):
    def choose(self, view, n, seed):
        return Choice([int(i) for i in view.frame_ids[SKIP + {skip} :][:n]], [False] * n)
'''
ONE_SCENE = SAMPLER.replace("        return", "        open({flag!r}, 'x').close()\n        return")
BENCH = '''"""Rooms, judged in another way."""
from smx.benches import Verdict
from smx.benches.rooms import Bench as Rooms

class Bench(Rooms):
    def judge(self, question, text, scorer):
        return Verdict("a word", {score})
'''


class Lab:
    """A workspace whose plugins are edited."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plugins = root / "experiments" / "plugins"
        (root / "experiments" / "models").mkdir(parents=True)

    def edit(self, name: str, text: str) -> None:
        """Write a file of `samplers/` or `benches/`; what was loaded of it is forgotten, as in a new process."""
        path = self.plugins / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        forget()

    def sampler(self, skip: int, shared: int) -> None:
        self.edit("samplers/_shared.py", f"SKIP = {shared}\n")
        self.edit("samplers/mine.py", SAMPLER.format(skip=skip))

    def gen(self, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
        """The run that `smx gen` names."""
        plugins._extra_folders.clear()
        arguments = ("gen", "--sampler", "mine", "--frames", "4", "--scenes", "test-000", *SCENES, *more)
        (run,) = data(capsys, "-w", self.root, *arguments)
        return dict(run)

    def bytes_of(self, run: dict[str, object]) -> dict[str, bytes]:
        """What it made, by file."""
        (record,) = [r.spec for r in run_folders(self.root / "runs") if r.path.name == run["run"]]
        mark = sample_set_of(record)
        return {p.name: p.read_bytes() for p in self.root.glob(f"samples/mine/4f-{mark[:8]}/*/*/*")}


def sample_set_of(record: dict[str, object]) -> str:
    from smx.spec import GenSpec, sample_set

    return sample_set(GenSpec.model_validate(record["spec"]), record["plugins"])  # type: ignore[arg-type]


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("smx_workspace_")]:
        del sys.modules[name]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A workspace; the process forgets its plugins afterwards."""
    monkeypatch.setattr(plugins, "_extra_folders", [])
    yield Lab(tmp_path / "lab")
    forget()


def test_the_same_run_has_the_same_bytes_whatever_was_edited_before(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: `choose` is edited, and `skip … done` serves the frames of the code before."""
    codes = [(skip, shared) for skip in (0, 3) for shared in (0, 2)]
    fresh = {}
    for code in codes:
        clean = Lab(tmp_path / f"clean-{code[0]}-{code[1]}")
        clean.sampler(*code)
        run = clean.gen(capsys)
        fresh[run["fingerprint"]] = clean.bytes_of(run)
    assert len(fresh) == len(codes)  # the file and what it imports both count
    seen = set()
    for code in random.Random(0).choices(codes, k=7):
        lab.sampler(*code)
        run = lab.gen(capsys)
        made = lab.bytes_of(run)
        assert made
        assert made == fresh[run["fingerprint"]]
        seen.add(run["fingerprint"])
    assert {run.spec["fingerprint"] for run in run_folders(lab.root / "runs")} == seen  # each is kept
    rows = data(capsys, "-w", lab.root, "samples", "stats")["rows"]
    assert len({row["settings"]["code"] for row in rows}) == len(rows) == len(seen)  # no mean over several codes


def test_an_edit_that_a_plugin_does_not_see_is_no_other_run(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a note beside a plugin, or another plugin, makes a week of runs again."""
    lab.sampler(0, 0)
    run = lab.gen(capsys, "--dry-run")
    lab.edit("samplers/other.py", SAMPLER.format(skip=5))
    lab.edit("samplers/_unused.py", "SKIP = 9\n")
    assert lab.gen(capsys, "--dry-run")["fingerprint"] == run["fingerprint"]


def test_a_change_is_said_and_keep_serves_what_is_done(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: nobody learns that eight items are made again because of a comment, and the old ones are lost."""
    lab.sampler(0, 0)
    old = lab.gen(capsys)
    before = lab.bytes_of(old)
    lab.edit("samplers/mine.py", SAMPLER.format(skip=3) + "# better\n")
    arguments = ("gen", "--sampler", "mine", "--frames", "4", "--scenes", "test-000", *SCENES)
    assert smx("-w", lab.root, *arguments, "--dry-run") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("changed   gen   mine-4f-rooms-")
    assert "samplers/mine.py " in line
    assert line.endswith(" since it ran: 1 item anew")
    assert lab.gen(capsys, "--keep")["fingerprint"] == old["fingerprint"]
    assert lab.bytes_of(old) == before
    assert smx("-w", lab.root, "retry", old["run"]) in (0, 1)  # nothing is left of it
    assert lab.gen(capsys)["fingerprint"] != old["fingerprint"]
    assert lab.bytes_of(old) == before


def test_tables_mark_older_code_and_no_mean_is_over_two_codes(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a score of yesterday's judge, which `--keep` served, stands in a table as today's."""
    ask = ("-w", lab.root, "eval", "--model", "chance", "--bench", "strict", *QUESTIONS)
    lab.edit("benches/strict.py", BENCH.format(score=0.25))
    assert smx(*ask) == 0
    assert "older" not in written(lab, capsys, "table")
    lab.edit("benches/strict.py", BENCH.format(score=0.75))
    assert smx(*ask, "--keep") == 0
    for name in ("table", "md", "latex", "html"):
        shown = written(lab, capsys, name)
        assert "strict (older code)" in shown
        assert "older code: benches/strict.py " in shown
    assert "benches/strict.py " in written(lab, capsys, "csv")
    (table,) = json.loads(written(lab, capsys, "json"))["tables"]
    assert table["cells"][0]["older_code"].startswith("benches/strict.py ")
    assert smx(*ask, "--seed", "1") == 0
    assert smx(*ask) == 0  # without --keep it is made anew
    tables = json.loads(written(lab, capsys, "json"))["tables"]
    values = sorted((cell["value"], cell["seeds"], bool(cell["older_code"])) for t in tables for cell in t["cells"])
    assert values == [(0.25, 1, True), (0.75, 2, False)]


def written(lab: Lab, capsys: pytest.CaptureFixture[str], form: str) -> str:
    """What `smx report --format …` prints."""
    capsys.readouterr()
    assert smx("-w", lab.root, "report", "--metric", "all.micro", "--format", form) == 0
    return capsys.readouterr().out


def test_a_run_that_is_half_done_is_not_resumed_by_other_code(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: one set of frames by two rules, under one name."""
    lab.sampler(0, 0)
    lab.edit("samplers/mine.py", ONE_SCENE.format(flag=str(tmp_path / "flag"), skip=0))
    arguments = ("gen", "--sampler", "mine", "--frames", "4", *SCENES)
    smx("-w", lab.root, *arguments)
    (old,) = run_folders(lab.root / "runs")
    assert len(old.outcome().failed) == len(old.outcome().done) == 1
    lab.edit("samplers/mine.py", SAMPLER.format(skip=3))
    assert smx("-w", lab.root, "retry", old.path.name) == 2
    error = capsys.readouterr().err
    assert "cannot go on: samplers/mine.py " in error
    assert "keeps this one" in error
    assert smx("-w", lab.root, "retry") == 0  # one of many is no reason to try none
    assert f"left alone: {old.path.name} cannot go on: samplers/mine.py " in capsys.readouterr().err
    assert smx("-w", lab.root, *arguments) == 0
    assert len(list(run_folders(lab.root / "runs"))) == 2


def test_a_retry_after_mending_a_plugin_is_what_the_same_commands_would_make(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: at night a sampler is mended, and every command that had used it must be looked up and typed."""
    broken = SAMPLER.format(skip=0) + "        raise ValueError('half an edit')\n"
    lab.sampler(0, 0)
    commands = [
        ("gen", "--sampler", "mine", "--frames", "4", "--scenes", "test-000", *SCENES),
        ("eval", "--sampler", "mine", "--frames", "4", "--model", "tiny", *QUESTIONS, "--set", "max_new_tokens=1"),
    ]
    lab.edit("samplers/mine.py", broken.replace("return Choice", "Choice"))
    for command in commands:
        assert smx("-w", lab.root, *command) == 1
    failed = {run.path.name for run in run_folders(lab.root / "runs")}
    lab.edit("samplers/mine.py", SAMPLER.format(skip=3))
    capsys.readouterr()
    assert smx("-w", lab.root, "retry") == 0
    assert "changed   gen   mine-4f-rooms-" in capsys.readouterr().err
    ended = {run.path.name: run.result() for run in run_folders(lab.root / "runs") if run.path.name not in failed}
    assert len(ended) == len(failed)
    assert all(result and result["failed"] == 0 for result in ended.values())
    for command in commands:  # nothing is left, and nothing is another run
        (run,) = data(capsys, "-w", lab.root, *command)
        assert run["run"] in ended
    assert smx("-w", lab.root, "retry") == 0
    assert "nothing to try again" in capsys.readouterr().err


def test_a_plugin_that_is_gone_leaves_only_its_own_runs_alone(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a deleted file keeps every failed run of the lab from being tried again."""
    broken = SAMPLER.format(skip=0).replace("return Choice", "raise ValueError")
    lab.sampler(0, 0)
    for name in ("mine", "theirs"):
        lab.edit(f"samplers/{name}.py", broken)
        assert smx("-w", lab.root, "gen", "--sampler", name, "--frames", "4", *SCENES) == 1
    (lab.plugins / "samplers" / "mine.py").unlink()
    lab.edit("samplers/theirs.py", SAMPLER.format(skip=3))
    capsys.readouterr()
    assert smx("-w", lab.root, "retry") == 0
    said = capsys.readouterr().err
    assert "left alone: mine-4f-rooms-" in said
    assert "changed   gen   theirs-4f-rooms-" in said


def test_a_process_that_lives_on_uses_what_was_edited_meanwhile(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a notebook launches the code of yesterday, or jobs that refuse to run today's."""
    lab.sampler(0, 0)
    old = lab.gen(capsys)
    (lab.plugins / "samplers" / "_shared.py").write_text("SKIP = 5\n")
    new = lab.gen(capsys)
    assert new["fingerprint"] != old["fingerprint"]
    clean = Lab(lab.root.parent / "clean")
    clean.sampler(0, 5)
    assert clean.gen(capsys)["fingerprint"] == new["fingerprint"]
    assert clean.bytes_of(new) == lab.bytes_of(new)


def test_a_score_is_the_judges_that_gave_it(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: `judge` is edited, and the table keeps the old score, or the old run gets the new one."""
    arguments = ("eval", "--model", "chance", "--bench", "strict", *QUESTIONS)
    scores = []
    for score in (0.25, 0.75):
        lab.edit("benches/strict.py", BENCH.format(score=score))
        (run,) = data(capsys, "-w", lab.root, *arguments)
        scores.append(run["result"]["scores"])
    assert scores[0] != scores[1]
    assert smx("-w", lab.root, "db", "rebuild") == 0
    kept = [run.result() for run in run_folders(lab.root / "runs")]
    assert sorted(json.dumps(result["scores"]) for result in kept if result) == sorted(map(json.dumps, scores))


def test_a_job_that_waits_runs_the_code_its_digest_says(lab: Lab, tmp_path: Path) -> None:
    """Lost otherwise: an edit while a job waits is what it computes, under the identity of the code before."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)  # an item waits until somebody reads it
    (lab.root / "experiments" / "site.yaml").write_text("executors: {local: {slots: 1}}\n")
    lab.sampler(0, 0)
    command = [sys.executable, "-m", "smx", "-w", str(lab.root), "gen", "--dataset", "rooms", "--sampler", "mine"]
    command += ["--frames", "4,6", *GEN, "--executor", "local"]
    subprocess.run(command, env={**os.environ, "SMX_PROBE": str(gate)}, check=True, capture_output=True)
    lab.sampler(3, 2)
    reader = os.open(gate, os.O_RDWR)
    runs = [run.attempts()[0] for run in run_folders(lab.root / "runs")]
    until(lambda: all(attempt.shard(0).exit() for attempt in runs), "the end of both runs")
    os.close(reader)
    assert [(attempt.shard(0).exit() or {})["how"] for attempt in runs] == ["done", "done"]
    ids = [json.loads(p.read_text())["ids"] for p in sorted(lab.root.glob("samples/mine/*/rooms*/*/sample.json"))]
    assert all(chosen[0] == 0 for chosen in ids)
    assert len(ids) == 8
