"""`smx doctor`. Lost otherwise: hours in a queue for a job that could never have run, or a disk full overnight."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import smx

from smx import doctor
from smx.workspace import find, storage

# A cluster as scontrol, sbatch and sacctmgr describe it, where none can be started.
CONFIG = """ClusterName             = alps
MaxArraySize            = 1001
AccountingStorageType   = accounting_storage/slurmdbd
AccountingStorageEnforce = associations,limits,qos,safe
"""
PARTITIONS = """PartitionName=gpu AllowGroups=ALL Default=YES MaxTime=1-00:00:00 Nodes=n[1-2] State=UP TotalNodes=2
PartitionName=cpu AllowGroups=ALL Default=NO MaxTime=4-00:00:00 Nodes=c1 State=UP TotalNodes=1
"""
NODES = """NodeName=n1 Arch=x86_64 CPUTot=64 Gres=gpu:a100:4(S:0-1) RealMemory=512000 Partitions=gpu State=IDLE
NodeName=n2 Arch=x86_64 CPUTot=64 Gres=gpu:a100:4(S:0-1) RealMemory=512000 Partitions=gpu State=IDLE
NodeName=c1 Arch=x86_64 CPUTot=128 Gres=(null) RealMemory=256000 Partitions=cpu State=IDLE
"""
GOOD = {"partition": "gpu", "account": "vision", "qos": "normal", "time": "4h", "memory": "64G", "gpus": 1}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SLURM's commands on PATH, answering from files; returns their folder."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("config", CONFIG), ("partition", PARTITIONS), ("node", NODES)):
        (tools / f"{name}.txt").write_text(text)
    (tools / "assoc.txt").write_text("vision|normal,high\nteaching|normal\n")
    (tools / "qos.txt").write_text("normal\nhigh\nadmin\n")
    scripts = {
        "scontrol": f'for last; do :; done; cat "{tools}/$last.txt"',
        "sacctmgr": f'[ -e "{tools}/down" ] && {{ echo "no slurmdbd" >&2; exit 1; }}; cat "{tools}/$4.txt"',
        "sbatch": f"""if [ "$1" = --version ]; then echo slurm 23.11.4; exit; fi
cat > "{tools}/script"
if [ -e "{tools}/refuses" ]; then cat "{tools}/refuses" >&2; exit 1; fi
echo "sbatch: Job 7 to start at 1763724000 using 1 processors on nodes n1 in partition gpu" >&2""",
    }
    for name, script in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return tools


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace to look at; what a first import of torch would say is left out."""
    folder = tmp_path / "lab"
    (folder / "experiments").mkdir(parents=True)
    monkeypatch.setattr(doctor, "software", tuple)
    return folder


def site(lab: Path, **keys: object) -> None:
    """Write the site file."""
    (lab / "experiments" / "site.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")


def lines(lab: Path, capsys: pytest.CaptureFixture[str], code: int) -> list[dict[str, str]]:
    """What `smx doctor --json` finds, expecting this exit code."""
    capsys.readouterr()
    assert smx("-w", lab, "doctor", "--json") == code
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    return found


def about(found: Sequence[dict[str, str]], word: str) -> list[tuple[str, str]]:
    """(level, text and hint) of the lines about something."""
    return [(line["level"], f"{line['text']} -> {line['hint']}") for line in found if line["about"] == word]


# This machine


def test_a_fresh_workspace_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of their own, the libraries that jobs need; then the workspace. Looking leaves nothing behind."""
    before = sorted(tmp_path.rglob("*"))
    assert smx("-w", tmp_path, "doctor") == 0
    printed = capsys.readouterr().out.splitlines()
    words = {line.split()[1]: line.split()[0] for line in printed if not line.startswith(" ")}
    assert {"smx", "torch", "transformers", "flash-attn", "video", "registry", "workspace", "disk"} <= set(words)
    assert words["torch"] == words["video"] == words["workspace"] == "ok"
    assert sum("flash-attn" in line for line in printed) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_library_that_cannot_be_imported_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broken environment is met here, not by every task of an array; one library's crash hides no other."""
    broken = tmp_path / "broken"
    for name in ("torch", "transformers", "av", "flash_attn"):
        (broken / name).mkdir(parents=True)
        (broken / name / "__init__.py").write_text("__version__ = '1.0'\nffmpeg_version_info = '7'\n")
    (broken / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object')\n")
    (broken / "transformers" / "__init__.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    found = lines(tmp_path, capsys, 1)
    assert about(found, "torch")[0][0] == "problem"
    assert "libcudart" in about(found, "torch")[0][1]
    assert "no_such_module_anywhere" in about(found, "transformers")[0][1]
    assert about(found, "video") == [("ok", about(found, "video")[0][1])]
    assert about(found, "flash-attn")[0][0] == "ok"


def test_a_broken_registry_or_site_file_hides_nothing_else(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is a line with the way out; the other lines still come."""
    (lab / "registry.db").write_bytes(b"not a database" * 100)
    (lab / "experiments" / "site.yaml").write_text("executer: slurm\n")
    found = lines(lab, capsys, 1)
    assert "smx db rebuild" in about(found, "registry")[0][1]
    assert "did you mean executor?" in about(found, "site file")[0][1]
    (lab / "experiments" / "site.yaml").write_text("executor: slrum\n")
    found = lines(lab, capsys, 1)
    assert "did you mean slurm?" in about(found, "site file")[1][1]
    assert about(found, "workspace")[0][0] == "ok"


def test_folders_the_site_file_promises_are_looked_for(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A root that is not there fails now, not when the first run is asked for."""
    (tmp_path / "data").mkdir()
    weights = str(tmp_path / "nowhere")
    site(lab, data={"vsibench": str(tmp_path / "data"), "vsibnech": str(tmp_path)}, checkpoints={"Qwen": weights})
    found = lines(lab, capsys, 1)
    assert [level for level, _ in about(found, "data")] == ["ok", "warning", "ok"]
    assert "no dataset or bench" in about(found, "data")[1][1]
    assert about(found, "checkpoint")[0][0] == "problem"


# The cluster


def test_a_site_file_the_cluster_takes(lab: Path, cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of run has its line, and the script that sbatch tried is the one a job would have."""
    site(lab, executor="slurm", executors={"slurm": {**GOOD, "kinds": {"gen": {"partition": "cpu", "gpus": 0}}}})
    found = lines(lab, capsys, 0)
    assert "slurm 23.11.4, cluster alps, 3 nodes, partitions gpu*, cpu" in about(found, "slurm")[0][1]
    assert "your accounts: teaching, vision" in about(found, "accounting")[0][1]
    assert "partition cpu" in about(found, "slurm gen")[0][1]
    assert "1 GPU, account vision, QOS normal" in about(found, "slurm eval")[0][1]
    assert "--gres=gpu:1" in (cluster / "script").read_text()
    assert not list(lab.rglob("runs"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"partition": "gpuu"}, "unknown partition 'gpuu' -> did you mean gpu?"),
        ({"time": "2d"}, "over the limit of partition gpu: 1-00:00:00"),
        ({"gpu_type": "h100"}, "unknown GPU type 'h100'"),
        ({"gpus": 8}, "no node of partition gpu has more than 4"),
        ({"account": "visoin"}, "account 'visoin' is none of yours -> did you mean vision?"),
        ({"qos": "hihg"}, "there is no QOS 'hihg' -> did you mean high?"),
        ({"qos": "admin"}, "you may not use QOS 'admin'"),
        ({"account": "teaching", "qos": "high"}, "you may not use QOS 'high' -> valid: normal"),
        ({"tiem": "4h"}, "did you mean time?"),
    ],
)
def test_what_the_cluster_would_refuse(
    lab: Path, cluster: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, Any], words: str
) -> None:
    """A problem with the valid choices, found without submitting anything."""
    site(lab, executor="slurm", executors={"slurm": {**GOOD, **wrong}})
    found = lines(lab, capsys, 1)
    problems = [f"{line['text']} -> {line['hint']}" for line in found if line["level"] == "problem"]
    assert problems
    assert all(words in text for text in problems), problems


def test_accounts_are_a_warning_where_nobody_enforces_them(
    lab: Path, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SLURM takes the job then; and with slurmdbd down nothing is claimed about accounts at all."""
    (cluster / "config.txt").write_text(CONFIG.replace("associations,limits,qos,safe", "none"))
    site(lab, executor="slurm", executors={"slurm": {**GOOD, "account": "other"}})
    assert about(lines(lab, capsys, 0), "slurm gen")[0][0] == "warning"
    (cluster / "down").touch()
    found = lines(lab, capsys, 0)
    assert about(found, "accounting") == [
        ("warning", "on, but it does not answer: no slurmdbd -> accounts were not checked")
    ]
    assert about(found, "slurm gen")[0][0] == "ok"
    (cluster / "config.txt").write_text(CONFIG.replace("accounting_storage/slurmdbd", "accounting_storage/none"))
    assert about(lines(lab, capsys, 0), "accounting")[0][1].startswith("off")


def test_the_last_word_is_sbatchs_own(lab: Path, cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What smx does not check is refused in SLURM's words; a busy controller is no refusal."""
    site(lab, executor="slurm", executors={"slurm": {**GOOD, "constraint": "nvlnk"}})
    (cluster / "refuses").write_text("sbatch: error: Batch job submission failed: Invalid feature specification\n")
    found = lines(lab, capsys, 1)
    assert "Invalid feature specification" in about(found, "slurm train")[0][1]
    (cluster / "refuses").write_text("sbatch: error: Socket timed out on send/recv operation\n")
    assert about(lines(lab, capsys, 0), "slurm train")[0][0] == "warning"


def test_a_cluster_that_is_down_is_one_sentence(lab: Path, cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not four lines of SLURM's own functions, nor "unknown version"."""
    for tool in ("scontrol", "sbatch", "sacctmgr"):
        last = "fatal: Could not establish a configuration source"
        said = f"{tool}: error: fetch_config: DNS SRV lookup failed\n{tool}: {last}"
        (cluster / tool).write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    site(lab, executor="slurm")
    (line,) = [line for line in lines(lab, capsys, 1) if line["about"].startswith("slurm")]
    assert line["text"] == "SLURM does not answer: it finds no slurm.conf, and no controller by DNS"
    assert "squeue" in line["hint"]


def test_a_machine_without_slurm(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All right on a laptop; a problem where the site file submits to it."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert about(lines(lab, capsys, 0), "slurm")[0][0] == "ok"
    site(lab, executor="slurm")
    assert "login node" in about(lines(lab, capsys, 1), "slurm")[0][1]


# Disks, quotas, dates

LFS = """Disk quotas for usr zoe (uid 1000):
      Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
        /scratch  {used}  1000000 1100000  {grace}   {files}      0  100000       -
"""


@pytest.mark.parametrize(
    ("used", "files", "levels"),
    [
        ("500000", "10", ["ok", "ok"]),
        ("950000", "95000", ["warning", "warning"]),
        ("1100000*", "10", ["problem", "ok"]),
        ("0.95G", "99k", ["warning", "warning"]),
    ],
)
def test_quotas(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], used: str, files: str, levels: list[str]
) -> None:
    """Space and files each against their limits, in the columns that quota and lfs quota share."""
    text = LFS.format(used=used, files=files, grace="6d23h" if used.endswith("*") else "-")
    (tmp_path / "said").write_text(text)
    site(lab, storage={"quota": f"cat {tmp_path}/said"})
    found = lines(lab, capsys, int("problem" in levels))
    assert [level for level, _ in about(found, "quota")] == levels


def test_a_quota_of_a_long_name_on_two_lines_and_without_a_grace() -> None:
    """As `quota` prints it without -w: the name alone, the numbers below; no limit at all is no line."""
    text = "Filesystem blocks quota limit grace files quota limit grace\nserver:/export/home/zoe\n 5 0 10 2 0 0\n"
    assert list(storage._quota_rows(text + "/tmp 5 0 0 2 0 0\n")) == [("server:/export/home/zoe", 5, 0, 10, "space")]


WS_LIST = """id: {name}
     workspace directory  : {place}
     remaining time       : {left}
     creation time        : Mon Nov  2 10:00:00 2026
     filesystem name      : lustre
     available extensions : 3
"""


def test_an_expiring_workspace_is_told_before_it_is_gone(
    lab: Path, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ws_list is asked where it is on PATH; another workspace's date is not ours; at launch it is one line."""
    other = WS_LIST.format(name="old", place="/lustre/other", left="0 days 2 hours")
    tool = cluster / "ws_list"
    tool.write_text(f"#!/bin/sh\ncat {cluster}/ws.txt\n")
    tool.chmod(0o755)
    for left, level in (("23 days 4 hours", "ok"), ("3 days 1 hours", "warning"), ("0 days 0 hours", "problem")):
        (cluster / "ws.txt").write_text(other + WS_LIST.format(name="smx", place=lab.parent, left=left))
        found = lines(lab, capsys, int(level == "problem"))
        assert [line[0] for line in about(found, "expiry")] == [level] * len(about(found, "expiry")) != []
    (cluster / "ws.txt").write_text(WS_LIST.format(name="smx", place=lab.parent, left="3 days 1 hours"))
    assert smx("-w", lab, "gen", "--sampler", "uniform", "--frames", 2, "--dry-run") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "expires" in line]
    assert len(said) == 1
    assert "3 days" in said[0]
    assert "smx doctor" in said[0]


def test_dates_of_a_command_of_the_sites_own() -> None:
    """The line that names the folder, or the only date there is; never somebody else's."""
    now, place = datetime(2026, 3, 1), Path("/scratch/lab/smx")
    two = "/scratch/lab 2026-03-11\n/scratch/other 2026-03-02\n"
    assert storage.remaining(two, place, now) == timedelta(days=10)
    assert storage.remaining("kept until 2026-03-03.\n", place, now) == timedelta(days=2)
    assert storage.remaining("/scratch/other 2026-03-02\n", place, now) is None
    assert storage.remaining("2026-03-02 or 2026-03-03", place, now) is None


def test_a_failing_or_hanging_site_command_is_a_line_of_its_own(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A quota server that is down must neither hide the disks nor hold the command up."""
    monkeypatch.setattr(storage, "_PATIENCE", 0.2)
    site(lab, storage={"quota": "echo cannot reach the server >&2; exit 3", "expires": "sleep 60 & wait"})
    found = lines(lab, capsys, 0)
    told = " ".join(text for _, text in about(found, "site file"))
    assert "exit code 3: cannot reach the server" in told
    assert "did not end within" in told
    assert about(found, "disk")


def test_looking_at_disks_knows_where_runs_and_samples_lie(lab: Path, tmp_path: Path) -> None:
    """One line per disk, however many folders share it; a folder still to be made is looked for where it will be."""
    site(lab, storage={"runs": str(tmp_path / "big" / "runs"), "samples": "/dev/shm/smx-none/samples"})
    found = storage.places(find(lab))
    assert found[0] == lab
    assert len(found) == len({place.stat().st_dev for place in found})
    assert not (tmp_path / "big").exists()
