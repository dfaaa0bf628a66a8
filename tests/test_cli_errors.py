"""Wrong input at the command line: exit code 2, what is wrong, what to type instead, and nothing half-made."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.commands import QUESTIONS, SCENES, left, smx
from support.media import make_video, moving

from smx import resolve
from smx.node import sampling
from smx.processes import this_process
from smx.registry.store import Registry


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with nothing configured."""
    home = tmp_path / "lab"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What is said on stderr by a command that must end with exit code 2, without a traceback."""
    assert smx(*arguments) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "bug in smx" not in said.err
    assert said.out == ""
    message = said.err[said.err.index("error: ") :]
    assert message.removeprefix("error: ").strip()
    return message


# command line -> (what is said, what is hinted)
TYPED: dict[str, tuple[str, str]] = {
    "gen --sampler mergaware_sa --frames 16": ("unknown sampler 'mergaware_sa'", "did you mean mergeaware_sa?"),
    "gen --sampler sa,unifrom": ("unknown sampler 'unifrom'", "did you mean uniform?"),
    "gen --sampler sa --frames 15": ("15 frames cannot be paired", "use 14 or 16 frames"),
    "gen --sampler uniform --frames 8,9": ("9 frames cannot be paired", "use 8 or 10 frames"),
    "gen --frames 0": ("0 frames cannot be paired", "use 2 or 4 frames"),
    "gen --frames eight": ("frames must be whole numbers, got 'eight'", "--frames 8,16,32"),
    "gen --frames ,": ("frames: no number in ','", ""),
    "gen --sampler ,": ("no runs", "--sampler sa --frames 8,16"),
    "gen --seed x": ("seed must be whole numbers", "--seed 16"),
    "gen --frames 98": ("the longest scene of dataset 'rooms' has 96", "--frames 96"),
    "gen --dataset framse": ("unknown dataset 'framse'", "did you mean frames?"),
    "gen --dataset frames": ("where is 'frames'?", "--root DIR"),
    "gen --root /there/is/nothing": ("no folder '/there/is/nothing'", "check --root"),
    "gen --root video.mp4": ("no folder 'video.mp4'", "check --root"),
    "gen --scenes scannet*": ("no scene of dataset 'rooms' matches scannet*", "scenes: test-000"),
    # from an unset variable in a script: never everything, never here instead of on the cluster
    "gen --scenes ''": ("no scene of dataset 'rooms' matches ''", "all of them: '*', as without --scenes"),
    "gen --executor ''": ("unknown executor ''", "valid: inline, local, slurm"),
    "cancel --all --tag ''": ("--tag is empty", "name one, or leave --tag away"),
    "cancel --all --model ,": ("--model is empty", ""),
    "retry --kind ''": ("--kind is empty", ""),
    "ls --since ''": ("--since is empty", ""),
    "gen --executor slrum": ("unknown executor 'slrum'", "smx list executors"),
    "gen --set sampler_options.windw=3 --sampler mergeaware_sa": ("unknown key 'windw'", "did you mean window?"),
    "gen --set smapler=sa": ("unknown key 'smapler'", "did you mean sampler?"),
    "gen --set geometry.voxel_size=.inf": ("geometry.voxel_size: Input should be a finite number", ""),
    "gen --set kind=eval": ("kind: Input should be 'gen'", ""),
    "gen --shards 0": ("--shards", "smx gen --help"),
    "gen --framse 16": ("--framse", "smx gen --help"),
    "eval --model tinny": ("unknown model 'tinny'", "did you mean tiny?"),
    "eval --set model=5": ("model: Input should be a valid string (got 5)", ""),
    "eval --bench vsi-bench": ("unknown bench 'vsi-bench'", "did you mean vsibench?"),
    "eval --model chance --where question_typ=x": ("unknown filter 'question_typ'", "did you mean question_type?"),
    "eval --model chance --prompt offical": ("'official' or 'spatial-mllm' (got 'offical')", ""),
    "eval --model tiny --checkpoint /there/is/nothing": (
        "no checkpoint folder '/there/is/nothing'",
        "train run's name",
    ),
    "eval --model tiny --checkpoint tiny-rooms-12345678": ("unknown run 'tiny-rooms-12345678'", "smx"),
    "eval --set variant.rope.base=hw": ("not set run by run", "experiments/models"),
    "train --model chance": ("model 'chance' has no weights to train", "smx list models"),
    "train --data sqa3": ("unknown bench 'sqa3'", ""),
    "train --set recipe.lr=0": ("recipe.lr: Input should be greater than 0 (got 0)", ""),
    "train --data ,": ("no training data is named", "--data rooms"),
    "run there-is-none": ("unknown experiment 'there-is-none'", "smx new NAME"),
    "show sa-8f-rooms-12345678": ("unknown run 'sa-8f-rooms-12345678'", "smx"),
    "note x text": ("no registry", "smx init"),
    "db check": ("no registry", "smx init"),
    "list sampler": ("unknown kind of thing 'sampler'", "did you mean samplers?"),
    "list samplers unifrm": ("unknown sampler 'unifrm'", "did you mean uniform?"),
    "samples stats --frames x": ("'x' is no frame count", "--frames 8,16"),
    "score there-is-none.jsonl": ("there-is-none.jsonl", ""),
    "evla": ("unknown command 'evla'", "did you mean eval?"),
    "ledger --since yesterday": ("yesterday", ""),
    "report --rows modle": ("modle", "model"),
    "new ../outside": ("cannot be the name of an experiment", ""),
    # names never reach a folder they do not name
    "gen --sampler ../samplers/sa": ("unknown sampler", "smx list samplers"),
    "gen --dataset ../datasets/rooms": ("unknown dataset", "smx list datasets"),
    "gen --scenes ../../etc": ("no scene of dataset 'rooms' matches ../../etc", ""),
    "eval --model ../models/tiny": ("unknown model", "smx list models"),
    "eval --bench ../benches/rooms": ("unknown bench", "smx list benches"),
    "show ../../etc/passwd": ("unknown run", ""),
}


@pytest.mark.parametrize("typed", TYPED)
def test_a_slip_is_named_with_the_way_on_and_leaves_nothing(
    typed: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, hint = TYPED[typed]
    message, _, hints = refused(capsys, *shlex.split(typed)).partition("\n")
    assert said in message
    assert hint in hints
    assert left(place) == []


def test_a_slip_in_one_of_many_runs_starts_none_of_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "gen", "--sampler", "uniform,sa", "--frames", "4,8,15", *SCENES)
    assert left(place) == []


def test_a_slip_after_good_runs_leaves_them_as_they_were(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smx("gen", "--frames", "4", "--scenes", "test-000", *SCENES) == 0
    capsys.readouterr()
    before = {name: (place / name).read_bytes() for name in left(place) if (place / name).is_file()}
    for typed in ("gen --sampler sb", "gen --frames 15", "eval --model chance --where x=1", "show nothing"):
        refused(capsys, *typed.split())
    assert {name: (place / name).read_bytes() for name in left(place) if (place / name).is_file()} == before


# --- files that are wrong


def images(place: Path) -> str:
    """A folder of images without cameras."""
    from PIL import Image

    folder = place.parent / "walk"
    folder.mkdir()
    for i, frame in enumerate(moving(8)):
        Image.fromarray(frame).save(folder / f"{i}.png")
    return f"gen --sampler sa --frames 4 --root {folder}"


def truncated(place: Path) -> str:
    """A video whose download stopped early."""
    path = make_video(place.parent / "cut.mp4", 20)
    path.write_bytes(path.read_bytes()[:700])
    return f"gen --frames 4 --root {path}"


def no_video(place: Path) -> str:
    """A text file under a video's name."""
    path = place.parent / "notes.mp4"
    path.write_text("not a video at all")
    return f"gen --frames 4 --root {path}"


def empty_folder(place: Path) -> str:
    """A data root that holds nothing."""
    (place.parent / "empty").mkdir()
    return f"gen --frames 4 --root {place.parent / 'empty'}"


def short_video(place: Path) -> str:
    """One video with fewer frames than asked for."""
    return f"gen --frames 30 --root {make_video(place.parent / 'short.mp4', 20)}"


def other_architecture(place: Path) -> str:
    """Weights of a language model where a video model is meant."""
    folder = place.parent / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    return f"eval --model qwen2_5vl --checkpoint {folder}"


def not_ours(place: Path) -> str:
    """Weights that the tiny model did not make."""
    (place.parent / "weights").mkdir()
    return f"eval --model tiny --checkpoint {place.parent / 'weights'}"


def bench_without_questions(place: Path) -> str:
    """A root of VSI-Bench without its question file."""
    (place.parent / "vsi").mkdir()
    return f"eval --model chance --bench vsibench --root {place.parent / 'vsi'}"


def bench_without_videos(place: Path) -> str:
    """Questions about videos none of which is there."""
    folder = place.parent / "vsi"
    folder.mkdir()
    row = {"id": 0, "dataset": "scannet", "scene_name": "scene0000_00", "question_type": "object_counting"}
    row |= {"question": "How many chairs?", "ground_truth": "2", "options": None}
    (folder / "test.jsonl").write_text(json.dumps(row) + "\n")
    make_video(folder / "unrelated.mp4", 4)
    (folder / "other").mkdir()
    (folder / "unrelated.mp4").rename(folder / "other" / "scene.mp4")
    return f"eval --model tiny --bench vsibench --frames 4 --root {folder}"


def bench_that_escapes(place: Path) -> str:
    """A question file that names a video outside its folder."""
    folder = place.parent / "vsi"
    folder.mkdir()
    row = {"id": 0, "dataset": "..", "scene_name": "../secret", "question_type": "object_counting"}
    row |= {"question": "How many chairs?", "ground_truth": "2", "options": None}
    (folder / "test.jsonl").write_text(json.dumps(row) + "\n")
    return f"eval --model chance --bench vsibench --root {folder}"


WRONG_FILES: dict[Callable[[Path], str], tuple[str, ...]] = {
    images: ("scene 'walk' has no cameras, which sampler 'sa' needs", "mergeaware_uniform, random, uniform"),
    truncated: ("cut.mp4",),
    no_video: ("notes.mp4", "truncated or no video?"),
    empty_folder: ("no scene at", "a scene is a video"),
    short_video: ("the longest scene of dataset 'frames' has 20", "--frames 20"),
    other_architecture: ("'llama' (LlamaForCausalLM)", "expected model_type 'qwen2_5_vl'"),
    not_ours: ("smx did not make it", "train one"),
    bench_without_questions: ("no question file", "expected test.parquet"),
    bench_without_videos: ("none of the 1 scenes the questions are about", "scannet/scene0000_00"),
    bench_that_escapes: ("line 1", ".."),
}


@pytest.mark.parametrize("make", WRONG_FILES, ids=lambda make: make.__name__)
def test_a_wrong_file_is_named_before_anything_is_made(
    make: Callable[[Path], str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, *make(place).split())
    for part in WRONG_FILES[make]:
        assert part in said
    assert left(place) == []


@pytest.mark.parametrize(
    ("file", "text", "typed", "said"),
    [
        ("m.yaml", "groups:\n  a: [1\n  b: 2\n", "run m.yaml", "m.yaml, line 3, column 4"),
        ("m.yaml", "groups: {a: {}}", "run m.yaml", "the matrix has no runs"),
        ("m.yaml", "groups: {a: {grid: {modle: [tiny]}}}", "run m.yaml", "did you mean model?"),
        ("m.yaml", "groups: {a: {list: [{model: chance}]}}", "run m.yaml --group b", "unknown group 'b'"),
        ("experiments/site.yaml", "exectuor: local", "gen", "did you mean executor?"),
        ("experiments/site.yaml", "executor: lokal", "gen", "did you mean local?"),
        ("experiments/site.yaml", "executors: {local: {slot: 1}}\nexecutor: local", "gen", "did you mean slots?"),
        *(
            ("experiments/site.yaml", "executors: {slrum: {partition: gpu}}", typed, "did you mean slurm? valid keys: ")
            for typed in ("gen", "eval --model chance", "status", "ls", "report", "retry", "gc")
        ),
        ("experiments/site.yaml", "data: [a", "gen", "site.yaml, line 1"),
        ("experiments/site.yaml", "", "gen", "which dataset? none is named"),
        ("experiments/site.yaml", "", "eval --model chance --bench vsibench", "where is 'vsibench'?"),
        ("experiments/site.yaml", "", "eval --model qwen2_5vl", "needs weights"),
        ("experiments/models/ours.yaml", "bse: tiny", "eval --model ours", "'base' is missing"),
        ("experiments/models/ours.yaml", "base: tinny", "eval --model ours", "did you mean tiny?"),
        ("experiments/models/ours.yaml", "base: tiny\nropee: 1", "eval --model ours", "did you mean rope?"),
        ("experiments/models/ours.yaml", "base: [", "eval --model ours", "ours.yaml, line 1"),
        ("experiments/models/ours.yaml", "base: 5", "eval --model ours", "valid string"),
    ],
    ids=str,
)
def test_a_slip_in_a_file_is_named_by_file(
    file: str, text: str, typed: str, said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / file).parent.mkdir(parents=True, exist_ok=True)
    (place / file).write_text(text)
    before = left(place)
    assert said in refused(capsys, *typed.split())
    assert left(place) == before


# --- the workspace itself


@pytest.mark.parametrize("folder", ["runs", "samples"])
def test_a_file_where_results_belong_is_named_before_work_starts(
    folder: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / folder).write_text("in the way")
    said = refused(capsys, "gen", "--frames", "4", *SCENES)
    assert f"{place / folder} is a file, not a folder" in said
    assert left(place) == [folder]


def test_a_registry_of_a_newer_smx_is_left_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Registry.open(place / "registry.db"):
        pass
    with closing(sqlite3.connect(place / "registry.db")) as db, db:
        db.execute("insert into _sqlite_migrations (migration_set, name) values ('smx', '9999_future')")
    before = (place / "registry.db").read_bytes()
    for typed in ("gen --frames 4", "eval --model chance", "ls", "report", "ledger", "db check"):
        said = refused(capsys, *typed.split())
        assert "newer smx" in said
        assert "update smx" in said
    assert left(place) == ["registry.db"]
    assert (place / "registry.db").read_bytes() == before


def test_a_registry_that_is_no_database_is_left_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "registry.db").write_text("version https://git-lfs.github.com/spec/v1\n" * 40)
    said = refused(capsys, "gen", "--frames", "4", *SCENES)
    assert "no SQLite file" in said
    assert "smx db rebuild" in said
    assert left(place) == ["registry.db"]


def test_ctrl_c_ends_with_130_and_the_next_call_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = sampling.make_sample, []

    def interrupted(scene: object, **given: object) -> object:
        calls.append(scene)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(scene, **given)  # type: ignore[arg-type]

    monkeypatch.setattr("smx.node.gen.make_sample", interrupted)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")  # one scene in hand
    typed = ("gen", "--sampler", "uniform", "--frames", "4", *SCENES)
    assert smx(*typed) == 130
    assert smx(*typed) == 0
    assert len(calls) == 3  # two scenes, and the one in hand again


def test_a_bug_keeps_its_traceback_and_says_which_versions(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("as if by a bug")

    monkeypatch.setattr(resolve.Resolver, "eval", broken)
    with pytest.raises(ZeroDivisionError):
        smx("eval", "--model", "chance", *QUESTIONS)
    said = capsys.readouterr().err
    assert "This is a bug in smx" in said
    assert "'torch'" in said
    assert left(place) == []


def test_an_experiment_that_cannot_be_written_is_no_bug(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A colleague's workspace is often read-only; here a file is in the way, which stops root as well."""
    (place / "registry.db").touch()
    (place / "experiments").touch()
    assert "cannot write" in refused(capsys, "-w", place, "new", "mine")


def test_a_report_goes_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`-o .` and an unset variable are slips, and no bug."""
    store = tmp_path / "lab"
    assert smx("init", store) == 0
    assert smx("-w", store, "eval", "--model", "chance", *QUESTIONS) == 0
    capsys.readouterr()
    for place in (".", "/", ""):
        assert "names no file" in refused(capsys, "-w", store, "report", "-o", place)


def test_an_empty_tag_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It comes from an unset variable in a script, and no filter finds it again."""
    assert "an empty tag" in refused(capsys, "-w", place, "tag", "some-run", "")


def test_threads_left_behind_by_ctrl_c_cannot_change_the_exit_code() -> None:
    """Taking Python down around native code ends in an abort, exit code 134 and a core file, instead of 130."""
    code = (
        "import atexit, threading, smx.cli as cli\n"
        "def run(arguments):\n"
        "    threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "    print('said')\n"
        "    return 130\n"
        "cli.run = run\n"
        "atexit.register(print, 'taken down')\n"
        "cli.main([])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (130, "said\n")


@pytest.mark.parametrize("module", ["typer", "sqlite3"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_libraries_are_imported_is_no_traceback(tmp_path: Path, module: str, number: int) -> None:
    """Whoever sees the slip while the finger is still on Return gets a clean line, not thirty of somebody's code.

    `typer` is imported before a command is known, `sqlite3` by `smx ls`.
    """
    stop = f"import os, sys\nos.kill(os.getpid(), {int(number)})\nsys.stderr.write('went on')\n"
    (tmp_path / f"{module}.py").write_text(stop)
    # As at a terminal: what a script starts with & ignores SIGINT, and so would this test's child.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from smx.cli import main; main(['-w', '.', 'ls'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (130, "", "")


# --- who reads what is printed


def unread(*typed: object) -> subprocess.CompletedProcess[str]:
    """`smx … | true`: nobody reads its output any more."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "smx", *map(str, typed)]
        return subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    ("typed", "code"),
    [("ls", 0), ("report --format csv", 0), ("list samplers --json", 0), ("--help", 0), ("db check", 1)],
)
def test_a_reader_that_left_is_no_error_and_hides_none(
    place: Path, capsys: pytest.CaptureFixture[str], typed: str, code: int
) -> None:
    """`smx ls | head -1` in a script with pipefail must not fail, nor `smx db check | head -1` pass."""
    lab = place / "lab"
    assert smx("init", lab) == 0
    stray = lab / "runs/gen/x-12345678"
    stray.mkdir(parents=True)
    (stray / "spec.json").write_text("{}")
    ended = unread("-w", lab, *typed.split())
    assert ended.returncode == code
    assert "ipe" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_work_goes_on_when_nobody_reads_its_lines_and_what_only_follows_ends(place: Path) -> None:
    """`smx gen 2>&1 | head -1` must not lose the scenes in hand, nor `smx watch | head -5` run for ever."""
    lab = place / "lab"
    typed = [sys.executable, "-m", "smx", "-w", str(lab), "gen", "--sampler", "uniform", "--frames", "4", *SCENES]
    assert smx("init", lab) == 0
    reader, writer = os.pipe()
    os.close(reader)
    assert subprocess.run(typed, stdout=writer, stderr=writer, check=False, timeout=120).returncode == 0
    os.close(writer)
    with Registry.open(lab / "registry.db") as registry:
        (run,) = registry.runs()
        assert (run.state, run.done) == ("done", 2)
        origin = {"submitter": this_process()}
        registry.reserve([(run.fingerprint, 2)], submission="s", executor="inline", provenance=origin)  # for ever
    assert unread("-w", lab, "watch").returncode == 0


def test_output_that_cannot_be_kept_is_a_failure(place: Path) -> None:
    """`smx report > table.csv` on a full disk: an empty file and exit code 0 would be taken for a result."""
    with Path("/dev/full").open("w") as full:
        typed = [sys.executable, "-m", "smx", "list", "samplers"]
        ended = subprocess.run(typed, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == ["error: the output could not be written: No space left on device"]
