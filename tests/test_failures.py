"""How a failure is told from its texts: a wrong kind sends people looking in the wrong place for a day."""

from __future__ import annotations

from typing import Any

import pytest

from smx.failures import KINDS, Kind, classify, group, group_key, headline, read_log, refused
from smx.monitor import why
from smx.node.shard import describe

OWN = '  File "/home/ada/lab/smx/models/vit.py", line 88, in forward\n    y = self.attend(x)\n'
TORCH = (
    '  File "/home/ada/env/lib/python3.11/site-packages/torch/nn/functional.py", line 5, in attend\n    return a @ b\n'
)
TRACE = "Traceback (most recent call last):\n" + OWN + TORCH
BAR = "eval:  12%|█▏        | 35/288 [01:10<08:31,  2.02s/it]\reval:  13%|█▎        | 36/288 [01:12<08:30,  2.02s/it]"


def ranks(number: int, text: str) -> str:
    """`text` as torchrun prints it for one rank."""
    return "".join(f"[rank{number}]: {line}\n" for line in text.splitlines())


LOGS = {
    "oom-gpu, today's wording": (
        f"{BAR}\n{TRACE}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.31 GiB. GPU 0 has a total "
        "capacity of 79.10 GiB of which 1.20 GiB is free.\n",
        ("oom-gpu", "vit.forward", "OutOfMemoryError"),
    ),
    "oom-gpu, older wording": (
        f"{TRACE}RuntimeError: CUDA out of memory. Tried to allocate 512.00 MiB (GPU 1; 23.70 GiB total capacity)\n",
        ("oom-gpu", "vit.forward", "RuntimeError"),
    ),
    "oom-gpu, from the driver": (
        f"{TRACE}RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported\n",
        ("oom-gpu", "vit.forward", "RuntimeError"),
    ),
    "oom-gpu, from cublas": (
        f"{TRACE}RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`\n",
        ("oom-gpu", "vit.forward", "RuntimeError"),
    ),
    "oom-host, the cgroup's message": (
        f"{BAR}\nslurmstepd: error: Detected 1 oom_kill event in StepId=812.0. Some of the step tasks have "
        "been OOM Killed.\nsrun: error: n041: task 0: Out Of Memory\n",
        ("oom-host", "", ""),
    ),
    "oom-host, a worker of the data loader": (
        f"{TRACE}RuntimeError: DataLoader worker (pid 4242) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory.\n",
        ("oom-host", "vit.forward", "RuntimeError"),
    ),
    "oom-host behind a broken pipe": (
        f"{TRACE}BrokenPipeError: [Errno 32] Broken pipe\n"
        "slurmstepd: error: Detected 2 oom-kill event(s) in StepId=9.batch\n",
        ("oom-host", "", ""),
    ),
    "timeout": (
        f"{BAR}\nslurmstepd: error: *** JOB 812 ON n041 CANCELLED AT 2026-02-13T04:00:11 DUE TO TIME LIMIT ***\n",
        ("timeout", "", ""),
    ),
    "preempted": (
        "slurmstepd: error: *** STEP 812.0 ON n041 CANCELLED AT 2026-02-13T04:00:11 DUE TO PREEMPTION ***\n",
        ("preempted", "", ""),
    ),
    "a GPU's memory is broken": (
        f"{TRACE}RuntimeError: CUDA error: uncorrectable ECC error encountered\n",
        ("node-fail", "vit.forward", "RuntimeError"),
    ),
    "nccl alone": (
        "[rank0]:[E213 04:00:11 ProcessGroupNCCL.cpp:632] [Rank 0] Watchdog caught collective operation timeout: "
        "WorkNCCL(SeqNum=42, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600041 milliseconds before timing out.\n",
        ("nccl", "", ""),
    ),
    "nccl is the echo of one rank's own error": (
        "[rank0]:[E213 ProcessGroupNCCL.cpp:632] [Rank 0] Watchdog caught collective operation timeout\n"
        + ranks(3, f"{TRACE}ValueError: 7 frames, but 8 were asked for")
        + ranks(0, f"{TRACE}torch.distributed.DistBackendError: NCCL error in: NCCLUtils.hpp:121"),
        ("python", "vit.forward", "ValueError"),
    ),
    "ranks interleaved line by line": (
        "".join(
            "".join(pair)
            for pair in zip(
                ranks(0, f"{TRACE}KeyError: 'pose'").splitlines(keepends=True),
                ranks(1, f"{TRACE}KeyError: 'pose'").splitlines(keepends=True),
                strict=True,
            )
        ),
        ("python", "vit.forward", "KeyError"),
    ),
    "cancelled after an out-of-memory": (
        f"{TRACE}torch.OutOfMemoryError: CUDA out of memory.\nsrun: Job step aborted: Waiting up to 32 seconds\n"
        "slurmstepd: error: *** STEP 812.0 ON n041 CANCELLED AT 2026-02-13T04:00:11 ***\n",
        ("oom-gpu", "vit.forward", "OutOfMemoryError"),
    ),
    "cancelled": (
        "slurmstepd: error: *** JOB 812 ON n041 CANCELLED AT 2026-02-13T04:00:11 ***\n",
        ("cancelled", "", ""),
    ),
    "no Python": ("/var/spool/job812/slurm_script: line 9: conda: command not found\n", ("never-started", "", "")),
    "no smx": ("/usr/bin/python3: No module named smx\n", ("never-started", "", "")),
    "no module": (
        f"{TRACE}ModuleNotFoundError: No module named 'flash_attn'\n",
        ("never-started", "vit.forward", "ModuleNotFoundError"),
    ),
    "a frame is missing, found by a loader's worker": (
        "Traceback (most recent call last):\n" + TORCH + "FileNotFoundError: Caught FileNotFoundError in "
        "DataLoader worker process 3.\nOriginal Traceback (most recent call last):\n" + OWN
        + "FileNotFoundError: [Errno 2] No such file or directory: '/data/scene0707_00/frame_1287.png'\n",
        ("missing-input", "vit.forward", "FileNotFoundError"),
    ),
    "a full disk": (
        f"{TRACE}OSError: [Errno 28] No space left on device: '/scratch/x.bin'\n",
        ("no-space", "vit.forward", "OSError"),
    ),
    "an exception raised from another": (
        f"{TRACE}KeyError: 'K'\n\nThe above exception was the direct cause of the following exception:\n\n"
        f"{TRACE}ValueError: camera file lacks K\n",
        ("python", "vit.forward", "ValueError"),
    ),
    "torchrun's summary is no cause": (
        ranks(1, f"{TRACE}AssertionError")
        + f"{TRACE}torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \ntrain FAILED\n",
        ("python", "vit.forward", "AssertionError"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
def test_kind_place_and_type_from_a_log_alone(name: str) -> None:
    """Where nothing but the log is left, it still says what happened and where in our code."""
    text, expected = LOGS[name]
    found = read_log(text)
    assert found is not None
    assert (found.kind, found.where, found.type) == expected
    assert found.evidence
    assert all(len(line) <= 400 for line in found.evidence)


@pytest.mark.parametrize("text", ["", BAR, "loading checkpoint\n100%|██| 3/3\nUserWarning: this is slow\n", "\r\r\n"])
def test_a_log_without_an_error_tells_nothing(text: str) -> None:
    """Guessing from progress bars and warnings would blame the wrong thing."""
    assert read_log(text) is None


RECORDS: list[tuple[dict[str, Any], str]] = [
    ({"state": "OUT_OF_MEMORY", "exit": "0:125"}, "oom-host"),
    (
        {"state": "COMPLETED", "exit": "0:0", "steps": [{"name": "0", "state": "OUT_OF_ME+", "exit": "0:125"}]},
        "oom-host",
    ),
    ({"state": "FAILED", "exit": "0:125"}, "oom-host"),
    ({"state": "TIMEOUT", "exit": "0:0"}, "timeout"),
    ({"state": "DEADLINE"}, "timeout"),
    ({"state": "PREEMPTED"}, "preempted"),
    ({"state": "NODE_FAIL", "node": "n042"}, "node-fail"),
    ({"state": "BOOT_FAIL", "node": "n042"}, "node-fail"),
    ({"state": "CANCELLED by 0"}, "cancelled"),
    ({"state": "CANCELLED", "reason": "DependencyNeverSatisfied"}, "dependency"),
    ({"state": "FAILED", "exit": "127:0"}, "never-started"),
    ({"state": "SPECIAL_EXIT", "exit": "0:9"}, "lost"),
]


@pytest.mark.parametrize(("record", "kind"), RECORDS)
def test_the_scheduler_s_record_comes_before_any_text(record: dict[str, Any], kind: str) -> None:
    """A traceback of a library's own clean-up must not hide that the node died."""
    log = f"{TRACE}ValueError: raised while it was being killed\n"
    found = classify(record=record, log=log)
    assert found.kind == (kind if kind != "lost" else "python")
    assert any(str(record["state"]) in line for line in found.evidence) or kind in ("lost",)
    assert kind == "lost" or any("ValueError" in line for line in found.evidence), (
        "what the log says is kept as evidence"
    )


def test_a_cancelled_job_names_who_did_it() -> None:
    """`CANCELLED by 0` is root; a name is what people can ask."""
    assert classify(record={"state": "CANCELLED by 0"}).line == "cancelled by root"
    assert classify(record={"state": "CANCELLED by 987654"}).line == "cancelled by user 987654"


def test_the_failed_node_is_named_not_the_reporting_one() -> None:
    """Leaving out the wrong node wastes a good one and keeps the bad."""
    log = (
        "srun: error: Node failure on n042\n"
        "slurmstepd: error: *** JOB 812 ON n041 CANCELLED AT 2026-02-13T04:00:11 DUE TO NODE FAILURE ***\n"
    )
    found = classify(log=log)
    assert (found.kind, found.node) == ("node-fail", "n042")


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (
            {"how": "failed", "kind": "python", "type": "OutOfMemoryError", "line": "OutOfMemoryError: CUDA out"},
            "oom-gpu",
        ),
        ({"how": "failed", "kind": "python", "type": "ValueError", "line": "ValueError: no"}, "python"),
        ({"how": "failed", "kind": "missing-input", "type": "SceneError", "line": "no depth"}, "missing-input"),
        ({"how": "failed", "kind": "never-started", "line": "ImportError: x"}, "never-started"),
        ({"how": "cancelled", "reason": "asked to stop"}, "cancelled"),
        ({"how": "cancelled", "reason": "dependency uniform-8f did not succeed"}, "dependency"),
        ({"how": "preempted"}, "preempted"),
    ],
)
def test_the_job_s_own_word_comes_before_its_log(end: dict[str, Any], kind: str) -> None:
    """What smx recorded itself needs no reading of tea leaves."""
    assert classify(exit=end, log="slurmstepd: error: *** JOB 1 CANCELLED AT now DUE TO TIME LIMIT ***").kind == kind


def test_a_signal_s_cause_is_told_not_the_signal() -> None:
    """SLURM sends SIGTERM at the time limit; the job only knows that it was asked to stop."""
    found = classify(exit={"how": "cancelled", "reason": "asked to stop"}, record={"state": "TIMEOUT"})
    assert found.kind == "timeout"
    assert "asked to stop" in found.evidence


def test_dying_before_smx_began_is_its_own_kind() -> None:
    """A broken environment fails every job of a night in one second: retrying helps nobody."""
    assert classify(record={"state": "FAILED", "exit": "1:0"}, began=False).kind == "never-started"
    assert classify(record={"state": "FAILED", "exit": "1:0"}, began=True).kind == "lost"
    assert classify(reason="its launcher died").line == "its launcher died"


def test_a_refused_submission_keeps_the_scheduler_s_words() -> None:
    """People search the web for exactly these words."""
    found = refused("sbatch: error: Batch job submission failed: Invalid partition name specified\n")
    assert (found.kind, found.line) == (
        "submit",
        "sbatch: error: Batch job submission failed: Invalid partition name specified",
    )


def test_equal_failures_are_one_group_whatever_their_numbers_and_paths() -> None:
    """37 lines to read instead of three, otherwise."""
    oom = [
        {"kind": "oom-gpu", "line": f"Tried to allocate {n} GiB", "type": "E", "where": "vit.forward"}
        for n in range(30)
    ]
    late = [{"kind": "timeout", "line": f"limit of job {n}"} for n in range(6)]
    node = [{"kind": "node-fail", "line": "its node failed (n042)", "node": "n042"}]
    groups = group((str(number), failure) for number, failure in enumerate([*late, *node, *oom]))
    assert headline(groups) == "37 failed: 30 × oom-gpu in vit.forward, 6 × timeout, 1 × node-fail on n042"
    assert groups[0].names == [str(n) for n in range(7, 37)]


def test_different_failures_stay_apart() -> None:
    """Retrying one cause must not sweep up another."""
    assert group_key("python", "x", "KeyError", "vit.forward") != group_key("python", "x", "KeyError", "vit.attend_2")
    assert group_key("python", "x", "KeyError", "a.b") != group_key("python", "x", "ValueError", "a.b")
    assert group_key("lost", "no /a/b/1.png in 3 s") == group_key("lost", "no /c/d/22.png in 4.5 s")
    assert group_key("lost", "it was killed") != group_key("lost", "it vanished")


def test_items_and_jobs_speak_of_failures_alike() -> None:
    """An item's error and the same error of a whole job must fall into one group."""
    try:
        describe_me()
    except ValueError as error:
        said = describe(error)
    assert said["kind"] in KINDS
    assert said["group"] == classify(exit={"how": "failed", **said}).as_json()["group"]


def describe_me() -> None:
    """Raise something."""
    raise ValueError("8 frames of 7")


def test_a_new_kind_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: who meets a new way to fail has to find every place that lists the ways."""
    licence = Kind(
        "no licence was free",
        "another hour",
        wordings=("no licence left",),
        exceptions=frozenset({"LicenceError"}),
        states={"NO_LICENCE": "it waited for a licence"},
    )
    monkeypatch.setitem(KINDS, "licence", licence)
    assert classify(log="srun: error: no licence left on n041").kind == "licence"
    assert classify(record={"state": "NO_LICENCE", "exit": "1:0"}).line == "it waited for a licence"

    class LicenceError(Exception):
        pass

    class NoneLeft(LicenceError):
        pass

    assert describe(NoneLeft("x"))["kind"] == "licence"
    found = {"kind": "eval", "run": "a", "state": "failed", "done": 0, "items": 1, "failed": 0, "next": "smx retry a"}
    failure = {"kind": "licence", "line": "no licence left", "evidence": []}
    said = "\n".join(why.lines({**found, "failure": failure, "same": []}, 80))
    assert "that is: no licence was free" in said
    assert "first: another hour" in said


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_says_what_it_is_and_what_to_change(name: str) -> None:
    """Lost otherwise: `smx why` ends at a word."""
    assert KINDS[name].meaning
    assert bool(KINDS[name].change) == (name != "cancelled")
