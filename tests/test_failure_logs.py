"""Logs as the world writes them: each after a public wording, with the noise that stands around it."""

from __future__ import annotations

import pytest

from smx.failures import classify, read_log

BAR = "Answering:  42%|████▏     | 42/100 [01:02<01:25,  1.5s/it]\r"
NOISE = f"loading checkpoint shards: 100%|██████████| 4/4\nUserWarning: Permission denied for telemetry\n{BAR}\n"
AFTER = "srun: error: n041: task 0: Exited with exit code 1\nsrun: Terminating StepId=812.0\n"
TRACE = """Traceback (most recent call last):
  File "/lab/smx/node/eval.py", line 80, in work
    answers = model.answer(batch)
"""

LINES: dict[str, list[str]] = {
    "oom-gpu": [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 23.69 GiB)",
        "RuntimeError: CUDA error: out of memory",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "RuntimeError: HIP out of memory. Tried to allocate 1.50 GiB",
        "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes",
        "cupy.cuda.driver.CUDADriverError: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    ],
    "oom-host": [
        "slurmstepd: error: Detected 1 oom_kill event in StepId=812.0. Some of the step tasks have been OOM Killed.",
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=812.batch. Some of your processes may have been",
        "Memory cgroup out of memory: Killed process 3911 (python) total-vm:91012344kB, anon-rss:65011200kB",
        "[71234.1] Out of memory: Killed process 3911 (python) total-vm:91012344kB",
        "slurmstepd: error: Exceeded job memory limit at some point.",
        "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed.",
        "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Bus error. It is possible that dataloader's",
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
        "OSError: [Errno 12] Cannot allocate memory",
        "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 12.0 GiB for an array",
        "MemoryError: std::bad_alloc",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried to",
        "RuntimeError: unable to mmap 4294967296 bytes from file <model.safetensors>: Cannot allocate memory (12)",
    ],
    "node-fail": [
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "RuntimeError: CUDA error: uncorrectable NVLink error detected during the execution",
        "NVRM: Xid (PCI:0000:3b:00): 79, pid=3911, GPU has fallen off the bus.",
        "NVRM: Xid (PCI:0000:3b:00): 63, pid='<unknown>', Row Remapper: New row marked for remapping",
        "NVRM: Xid (PCI:0000:86:00): 74, pid=3911, NVLink: fatal error detected on link 2",
        "NVRM: Xid (PCI:0000:86:00): 119, pid=3911, Timeout after 6s of waiting for RPC response from GPU0 GSP!",
        "Unable to determine the device handle for GPU 0000:86:00.0: GPU is lost.  Reboot the system",
        "srun: error: Node failure on n042",
        "slurmstepd: error: *** JOB 812 ON n041 CANCELLED AT 2027-02-13T04:00:11 DUE TO NODE FAILURE",
        "srun: error: Task launch for StepId=812.0 failed on node n042: Communication connection failure",
        "slurmctld: error: Nodes n042 not responding",
        "slurmd: error: Prolog failed on n042: /etc/slurm/prolog.sh exit status 1:0",
        "job 812: launch failed requeued held",
    ],
    "timeout": [
        "slurmstepd: error: *** JOB 812 ON n041 CANCELLED AT 2027-02-13T04:00:11 DUE TO TIME LIMIT ***",
        "slurmstepd: error: *** STEP 812.0 ON n041 CANCELLED AT 2027-02-13T04:00:11 DUE TO TIME LIMIT ***",
    ],
    "preempted": ["slurmstepd: error: *** JOB 812 ON n041 CANCELLED AT 2027-02-13T04:00:11 DUE TO PREEMPTION ***"],
    "nccl": [
        "[rank3]:[E213 ProcessGroupNCCL.cpp:616] [Rank 3] Watchdog caught collective operation timeout: WorkNCCL",
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled system error",
        "n041:3911:4012 [0] NCCL WARN NET/IB : Got completion with status=12, transport retry counter exceeded",
        "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
        "[rank0]: Terminating the process after attempting to dump debug info, due to ProcessGroupNCCL watchdog hang.",
        "RuntimeError: Gloo connectFullMesh failed with [../third_party/gloo/pair.cc:144] no error",
        "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 3/4 clients joined.",
        "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:41234",
    ],
    "port": [
        "OSError: [Errno 98] Address already in use",
        "torch.distributed.DistNetworkError: The server socket has failed to listen: port: 29500, name: EADDRINUSE",
        "RuntimeError: The server socket has failed to bind to [::]:29500 (errno: 98 - Address already in use).",
    ],
    "no-space": [
        "OSError: [Errno 28] No space left on device",
        "OSError: [Errno 122] Disk quota exceeded: '/scratch/me/runs'",
        "cp: error writing '/scratch/me/x': Disk quota exceeded",
    ],
    "storage": [
        "OSError: [Errno 116] Stale file handle: '/nfs/data/scene0000_00/0.jpg'",
        "bash: line 3: cd: /nfs/lab: Stale NFS file handle",
        "OSError: [Errno 5] Input/output error",
        "OSError: [Errno 108] Cannot send after transport endpoint shutdown: '/lustre/me/data'",
        "OSError: [Errno 107] Transport endpoint is not connected: '/mnt/ceph'",
        "LustreError: 167-0: scratch-MDT0000-mdc-ffff: This client was evicted by scratch-MDT0000",
        "OSError: [Errno 121] Remote I/O error: '/gpfs/me/data'",
    ],
    "permission": [
        "PermissionError: [Errno 13] Permission denied: '/lab/runs/eval/x/attempts/1/shards/0'",
        "OSError: [Errno 30] Read-only file system: '/lab/runs'",
    ],
    "driver": [
        "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
        "RuntimeError: No CUDA GPUs are available",
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
        "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
        "RuntimeError: CUDA error: all CUDA-capable devices: device(s) is/are busy or unavailable",
        "Failed to initialize NVML: Driver/library version mismatch",
        "RuntimeError: Unexpected error from cudaGetDeviceCount(): system not yet initialized",
        "RuntimeError: CUDA error: forward compatibility was attempted on non supported HW",
    ],
    "never-started": [
        "/var/spool/slurmd/job812/slurm_script: line 9: module: command not found",
        'Lmod has detected the following error: The following module(s) are unknown: "cuda/99"',
        "EnvironmentNameNotFound: Could not find conda environment: smx",
        "CommandNotFoundError: Your shell has not been properly configured to use 'conda activate'.",
        "CondaError: Run 'conda init' before 'conda activate'",
        "python: error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file",
        "/usr/bin/python3: No module named smx",
        "python: /lib64/libc.so.6: version `GLIBC_2.34' not found (required by python)",
        "slurmstepd: error: execve(): /lab/.venv/bin/python: No such file or directory",
        "slurmstepd: error: couldn't chdir to `/scratch/gone': No such file or directory: going to /tmp instead",
        "bash: /lab/.venv/bin/smx: /gone/bin/python: bad interpreter: No such file or directory",
        "FATAL:   could not open image /images/lab.sif: failed to retrieve path for /images/lab.sif",
        "/lab/tool: cannot execute binary file: Exec format error",
    ],
    "crash": [
        "Fatal Python error: Segmentation fault",
        "srun: error: n041: task 0: Segmentation fault (core dumped)",
        "free(): invalid pointer",
        "terminate called after throwing an instance of 'c10::Error'",
        "bash: line 12:  3911 Illegal instruction     (core dumped) python -m smx",
    ],
    "killed": [
        "/var/spool/slurmd/job812/slurm_script: line 14:  3911 Killed                  srun python",
        "srun: error: n041: task 0: Killed",
        "torch.distributed.elastic: Signal 9 (SIGKILL) received by PID 3911",
    ],
    "cancelled": ["slurmstepd: error: *** STEP 812.0 ON n041 CANCELLED AT 2027-02-13T04:00:11 ***"],
    "missing-input": [
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them",
        "FileNotFoundError: [Errno 2] No such file or directory: '/data/scene0000_00/0.jpg'",
    ],
}
CASES = [(kind, line) for kind, lines in LINES.items() for line in lines]


@pytest.mark.parametrize(("kind", "line"), CASES)
def test_known_wordings_are_told_apart(kind: str, line: str) -> None:
    """Lost otherwise: a night of one broken node, disk or driver reads like a hundred bugs of the lab's own."""
    raised = line.split(":")[0].endswith("Error") and not line.startswith(("Con", "Com", "Lustre", "nccl"))
    found = read_log(f"{NOISE}{TRACE if raised else ''}{line}\n{AFTER}")
    assert found is not None
    assert found.kind == kind
    assert found.line.split(": ", 1)[-1][:40] in line, "the log's own words are kept"


def test_there_are_as_many_as_are_promised() -> None:
    """Lost otherwise: a table that shrinks while the page still says what it says."""
    assert len({line for _, line in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        (f"{TRACE}torch.OutOfMemoryError: CUDA out of memory.\nn041: line 14: 3911 Killed  python\n", "oom-gpu"),
        ("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.\n[rank1]: NCCL WARN timeout\n", "node-fail"),
        ("[Rank 3] Watchdog caught collective operation timeout\nRuntimeError: CUDA out of memory\n", "oom-gpu"),
        (f"{TRACE}KeyError: 'pose'\nslurmstepd: *** JOB 1 ON n1 CANCELLED AT now DUE TO TIME LIMIT ***\n", "python"),
        (f"{TRACE}KeyError: 'pose'\nbash: line 3: cleanup: command not found\n", "python"),
        ("srun: error: n041: task 1: Killed\nslurmstepd: error: Detected 1 oom_kill event in StepId=8.0\n", "oom-host"),
        (
            "mkdir: cannot create '/run/user/0': Permission denied\nOSError: [Errno 28] No space left on device",
            "no-space",
        ),
    ],
)
def test_the_first_cause_wins_over_its_echoes(log: str, kind: str) -> None:
    """Lost otherwise: what is told is the last line, which is seldom why."""
    found = read_log(log)
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize(
    "log",
    [
        "UserWarning: CUDA initialization: Found no NVIDIA driver on your system.\n",
        "NVRM: Xid (PCI:0000:3b:00): 31, pid=3911, Ch 00000008, intr 00000000. MMU Fault\n",
        "epoch 3: memory 79.2 GiB, oom margin 1.2 GiB\n",
        "INFO killed 3 stale workers\n",
        "FutureWarning: `torch.cuda.amp` is deprecated; Input/output error handling changes\n",
    ],
)
def test_an_unknown_log_says_so_and_shows_its_last_words(log: str) -> None:
    """Lost otherwise: a guess sends somebody to the wrong place; nothing at all sends them to the log."""
    found = classify(log=f"{log}the very last line\n", record={"state": "FAILED", "exit": "1:0"})
    assert (found.kind, found.line) == ("lost", "FAILED: exit code 1")
    assert "last words: the very last line" in found.evidence


@pytest.mark.parametrize(
    ("exit", "kind", "words"),
    [
        ("0:9", "killed", "SIGKILL"),
        ("137:0", "killed", "SIGKILL"),
        ("0:53", "never-started", "could not write the job's output"),
        ("0:11", "lost", "segmentation fault"),
        ("0:10", "lost", "signal 10"),
        ("3:0", "lost", "exit code 3"),
    ],
)
def test_an_exit_code_is_told_as_it_is(exit: str, kind: str, words: str) -> None:
    """Lost otherwise: "exit code 0" of a job that a signal ended, and "lost" of one that was killed."""
    found = classify(record={"state": "FAILED", "exit": exit})
    assert (found.kind, words in found.line) == (kind, True)
