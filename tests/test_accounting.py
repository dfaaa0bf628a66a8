"""What attempts asked for, used and wasted: nobody knows otherwise where the month's GPU hours went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.commands import data, smx

from smx import plugins
from smx.atomic_io import write_json
from smx.control.rebuild import ask_all, ingest_all
from smx.errors import UserError
from smx.executors.slurm import Executor
from smx.node.resource_usage import Meter, _visible
from smx.registry.export import rebuilding
from smx.registry.store import Registry
from smx.results.usage import usage
from smx.runfolder import AttemptFolder, ShardFolder, run_folders
from smx.workspace import Workspace
from smx.workspace.provenance import plugin_digests, provenance

SMI = """#!/bin/sh
echo "0, GPU-aa, NVIDIA H200, 550.1, 1000, {used}, {use}"
echo "1, GPU-bb, NVIDIA H200, 550.1, 1000, 10, [N/A]"
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace that commands find."""
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))
    return tmp_path


def shard_in(folder: Path) -> ShardFolder:
    shard = ShardFolder(folder / "shards" / "0")
    shard.begin()
    return shard


def nvidia_smi(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "nvidia-smi").write_text(text)
    (folder / "nvidia-smi").chmod(0o755)


def test_what_a_site_file_asks_for_is_in_the_plan_of_each_kind() -> None:
    """Hours asked cannot be told from hours used when nobody wrote down what was asked."""
    site = {
        "partition": "gpu",
        "gpus": 4,
        "gpu_type": "a100",
        "memory": "64G",
        "time": "12h",
        "kinds": {"gen": {"gpus": 0}},
    }
    executor = Executor.parse(site, "executor slurm")
    shared = {"partition": "gpu", "nodes": 1, "tasks": 1, "gpu_type": "a100", "time": "12:00:00"}
    assert executor.requested_resources("eval") == {**shared, "gpus": 4, "memory": "64G"}
    assert executor.requested_resources("gen", {"memory": "x2"}) == {**shared, "gpus": 0, "memory": "131072M"}
    with pytest.raises(UserError, match="time x0 is nothing"):  # SLURM takes no time as no limit
        executor.requested_resources("gen", {"time": "x0"})


def test_a_shard_notes_its_machine_and_what_it_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow run on the one node with another GPU or driver cannot be told from the others."""
    nvidia_smi(tmp_path / "bin", SMI.format(used=300, use=40))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    shard = shard_in(tmp_path)
    with Meter(shard, asked=True) as meter:
        ballast = bytearray(64 << 20)
        meter._look()
        nvidia_smi(tmp_path / "bin", SMI.format(used=200, use=80))
        meter._look()
        del ballast
    machine = json.loads((shard.path / "machine.json").read_text())
    assert machine["gpus"] == [{"name": "NVIDIA H200", "driver": "550.1", "total": 1000 << 20}]
    assert machine["packages"]["numpy"]
    used = json.loads((shard.path / "usage.json").read_text())
    assert used["memory"] > 64 << 20
    (gpu,) = used["gpus"]
    assert (gpu["memory"], gpu["use"], gpu["samples"]) == (300 << 20, 60.0, 2)
    with Meter(shard, asked=True) as meter:  # requeued: it goes on from there
        meter._look()
    (gpu,) = json.loads((shard.path / "usage.json").read_text())["gpus"]
    assert (gpu["memory"], gpu["samples"]) == (300 << 20, 3)


@pytest.mark.parametrize("text", ["", "#!/bin/sh\necho 'No devices were found'\nexit 6\n"], ids=["none", "broken"])
def test_what_cannot_be_measured_is_absent_not_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A mean over made-up zeros says that GPUs idle."""
    if text:
        nvidia_smi(tmp_path / "bin", text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    shard = shard_in(tmp_path)
    with Meter(shard, asked=True) as meter:
        meter._look()
    assert "gpus" not in json.loads((shard.path / "machine.json").read_text())
    assert "gpus" not in json.loads((shard.path / "usage.json").read_text())


def test_only_gpus_this_process_holds_count_where_none_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a workstation, somebody else's training would count as the use of a run on the CPU."""
    nvidia_smi(tmp_path / "bin", SMI.format(used=300, use=100))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    shard = shard_in(tmp_path)
    with Meter(shard, asked=False) as meter:
        meter._look()
    assert "gpus" not in json.loads((shard.path / "usage.json").read_text())


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        (None, "ab"),
        ("", ""),
        ("1", "b"),
        ("1,0", "ba"),
        ("GPU-b", "b"),
        ("-1", ""),
        ("0,x,1", "a"),
        ("MIG-1", ""),
        ("7", ""),
    ],
)
def test_visible_devices_are_those_cuda_takes(listed: str | None, wanted: str) -> None:
    """Busy GPUs of another job on the node would be counted as this one's."""
    gpus = [{"uuid": "GPU-a"}, {"uuid": "GPU-b"}]
    assert _visible(gpus, listed) == [{"uuid": f"GPU-{letter}"} for letter in wanted]


def attempt_in(folder: Path, **resources: Any) -> AttemptFolder:
    """An attempt of one shard that ran for an hour, waited for nine, and ran for two more, one of them well spent."""
    attempt = AttemptFolder(folder / "attempts" / "1")
    plan = {"shards": [[{"id": "a", "group": "a"}]], "resources": resources}
    write_json(attempt.path / "plan.json", plan)
    shard = attempt.shard(0)
    shard.begin()
    at = "2026-02-13T{}:00:00.000Z"
    shard.append({"item": "a", "ok": True, "at": at.format(12), "seconds": 3600.0, "data": {}})
    starts = [{"at": at.format("01"), "restart": 0}, {"at": at.format(11), "restart": 1, "until": at.format("02")}]
    (shard.path / "starts.jsonl").write_text("".join(f"{json.dumps(s)}\n" for s in starts) + '{"at": "20')  # torn
    write_json(shard.path / "exit.json", {"how": "failed", "at": at.format(13)})
    return attempt


def test_waiting_between_two_starts_is_no_use(tmp_path: Path) -> None:
    """A preempted job that waited nine hours for its next start had no GPU in that time."""
    attempt = attempt_in(tmp_path, gpus=2, nodes=2, time="1-00:00:00", memory="64G")
    found = usage(attempt)
    assert found == {"hours": 3.0, "kept": 1.0, "gpus": 4, "asked": 96.0}
    record = {"started": 3600, "ended": 4 * 3600, "steps": [{"rss": 5 << 30}, {"rss": None}]}
    said = {"word": "ended", "where": "n1", "reason": "", "record": record}
    write_json(attempt.path / "scheduler.json", {"shards": [said]})
    write_json(attempt.shard(0).path / "usage.json", {"at": "", "memory": 4 << 30})
    found = usage(attempt)
    assert found["hours"] == 4.0  # the scheduler's hours of the last start: modules and imports come before smx
    assert found["memory"] == 5 << 30


def test_cost_is_told_per_experiment_and_user_and_show_says_what_was_asked(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lab's question after a deadline: which experiment took the GPUs, whose, and was it worth what it asked?"""
    (lab / "experiments").mkdir()
    (lab / "experiments" / "night.yaml").write_text(
        "description: one\ngroups:\n  one:\n"
        "    list: [{model: chance, bench: rooms, bench_options: {scenes: 1, frames: 24}}]\n"
    )
    assert smx("run", "night") == 0
    (run,) = run_folders(lab / "runs")
    attempt = run.attempt(1)
    gpus = [{"uuid": "GPU-aa", "name": "H200", "samples": 4, "use": 30.0, "memory": 10 << 30, "total": 80 << 30}]
    write_json(attempt.shard(0).path / "usage.json", {"at": "", "memory": 2 << 30, "gpus": gpus})
    asked = {"nodes": 1, "tasks": 1, "gpus": 1, "memory": "64G", "time": "10:00:00", "partition": "gpu"}
    write_json(attempt.path / "plan.json", {**attempt.plan, "resources": asked})
    assert smx("db", "rebuild") == 0
    (cost,) = data(capsys, "status", "--cost")
    assert (cost["experiment"], cost["gpus"], cost["gpu_asked"]) == ("night", 1, 10.0)
    assert (cost["memory"], cost["memory_asked"], cost["gpu_use"]) == (2 << 30, 64 << 30, 30.0)
    capsys.readouterr()
    assert smx("status", "--cost") == 0
    told = capsys.readouterr().out
    assert "by experiment" in told
    assert "2.0G of 64.0G memory, GPUs 30 % busy" in told
    assert smx("show", run.path.name) == 0
    told = capsys.readouterr().out
    assert "asked for 1 × GPU, 64G, 10:00:00, partition gpu" in told
    assert "2.0G of 64.0G (3 %) memory at most, GPUs 30 % busy" in told


def test_what_the_scheduler_said_of_an_ended_job_outlives_its_memory(tmp_path: Path) -> None:
    """sacct forgets after some weeks, and a rebuilt registry would call a run that hit its limit lost."""
    space = Workspace(tmp_path, "--workspace")
    assert smx("-w", tmp_path, "eval", "--model", "chance", "--set", "bench_options.scenes=1") == 0
    (run,) = run_folders(space.runs)
    attempt = run.attempt(1)
    for name in ("exit.json", "items.jsonl"):
        (attempt.shard(0).path / name).unlink()
    (run.path / "result.json").unlink()
    record = {"state": "TIMEOUT", "exit": "0:0", "node": "n1", "reason": "", "started": 5, "ended": 9, "steps": []}
    said = {"word": "ended", "where": "n1", "reason": "", "record": record}
    write_json(attempt.path / "scheduler.json", {"shards": [said]})
    with rebuilding(space.registry) as registry:
        ingest_all(space, registry, ask_all(space))
    with Registry.open(space.registry) as registry:
        (row,) = registry.attempts()
    assert row.state == "failed"
    assert row.failure is not None
    assert row.failure["kind"] == "timeout"


def test_plugins_of_the_workspace_are_part_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler changed between two runs is in no commit of smx."""
    monkeypatch.setattr(plugins, "_extra_folders", [tmp_path])
    assert provenance()["plugins"] == {}
    (tmp_path / "samplers").mkdir()
    (tmp_path / "samplers" / "mine.py").write_text("a = 1\n")
    before = plugin_digests()
    assert list(before) == ["samplers/mine.py"]
    (tmp_path / "samplers" / "mine.py").write_text("a = 2\n")
    assert plugin_digests() != before
