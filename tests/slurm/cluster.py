"""A real SLURM on this machine: four nodes with eight CPUs and four pretended GPUs each, in a scratch folder.

Daemons of the system's packages (slurmctld, slurmd, munged; with accounting also slurmdbd and mariadbd), own
ports, own keys, short timers: several clusters may be here at once. Only processes started here are ended, by
their pid files.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

NODES = ("n1", "n2", "n3", "n4")
CLUSTER = "smxtest"
_PATIENCE = 120.0  # seconds until something that should happen is given up


def missing(accounting: bool) -> str:
    """Why a cluster cannot be started here, or ""."""
    programs = ["slurmctld", "slurmd", "sbatch", "srun", "munged"]
    programs += ["slurmdbd", "mariadbd", "mariadb-install-db"] if accounting else []
    if absent := [name for name in programs if program(name) is None]:
        return (
            f"{', '.join(absent)} not installed (Debian: slurmctld slurmd slurm-client munge slurmdbd mariadb-server)"
        )
    return "" if os.geteuid() == 0 else "starting a cluster takes root (device nodes)"


def program(name: str) -> str | None:
    """A daemon's path; they are often outside a user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def until(what: str, true: Callable[[], bool], patience: float = _PATIENCE, pause: float = 0.1) -> None:
    """Wait for a condition; `TimeoutError` names it when it does not come."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {patience:.0f} s")
        time.sleep(pause)


class Cluster:
    """Start with `with Cluster(...)`. Commands find it through `environment` (SLURM_CONF)."""

    def __init__(self, *, accounting: bool, config: str = "") -> None:
        self.accounting = accounting
        self._config = config
        self._database: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="smx-slurm-", dir="/tmp"))  # short: sockets lie in it
        names = ("ctld", "dbd", "sql", *NODES)
        self._guard, ports = _own_ports(len(names))
        self._ports = dict(zip(names, ports, strict=True))
        self.conf = self.folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf)}

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, *command: str, check: bool = True) -> str:
        """Output of a SLURM command."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def start_controller(self, *options: str) -> None:
        """slurmctld, and wait until it answers and all nodes are there."""
        self._daemon("slurmctld", "-f", str(self.conf), *options)
        until("slurmctld answers", lambda: bool(self.run("sinfo", "-h", check=False)))

    def stop_controller(self) -> None:
        """End slurmctld; running jobs go on."""
        self._end("slurmctld")

    def reset(self) -> None:
        """A power cut after which nobody remembers anything: what ran is gone, and jobs are numbered from 1 again."""
        self.stop_controller()
        for node in NODES:
            self.kill_node(node)
        for place in (self.folder / "state", *(self.folder / "spool" / node for node in NODES)):
            shutil.rmtree(place)
            place.mkdir()
        for node in NODES:
            self.start_node(node)
        self.start_controller("-c")
        self.idle()

    def start_node(self, node: str) -> None:
        """One slurmd."""
        self._daemon("slurmd", "-N", node, "-f", str(self.conf), name=node)

    def kill_node(self, node: str) -> None:
        """The machine dies: slurmd, the keepers of its steps and everything they run, before any can report it."""
        tasks = _tasks(node, self.conf)
        for pid in [self._pid(node), *{keeper for task in tasks if (keeper := _keeper(task))}, *tasks]:
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        (self.folder / f"{node}.pid").unlink(missing_ok=True)

    def runs_again(self, job: str) -> None:
        """Wait for a requeued job: SLURM leaves it `cred_expire` seconds, counted from when its last process is gone.

        That may take long here: a time limit is looked at every 30 s, and Python starts slowly beside other tests. It
        is not shortened by `scontrol update starttime=now`: SLURM would take the old start's end for the new one's.
        """

        def runs() -> bool:
            restarts = re.search(r"Restarts=(\d+)", self.run("scontrol", "show", "job", job, check=False))
            state = self.run("squeue", "-h", "-j", job, "-o", "%t", check=False).split()
            return "R" in state and restarts is not None and int(restarts[1]) > 0

        until(f"{job} runs again", runs, 300, 0.3)

    def start_accounting(self) -> None:
        """slurmdbd, and wait until it answers."""
        self._daemon("slurmdbd")
        until("slurmdbd answers", lambda: self._succeeds("sacctmgr", "--noheader", "show", "cluster"))

    def stop_accounting(self) -> None:
        """End slurmdbd; its database stays."""
        self._end("slurmdbd")

    def idle(self) -> None:
        """Wait until all nodes are free again."""
        until("all nodes idle", lambda: self.states() == {"idle"})

    def states(self) -> set[str]:
        """States of the nodes."""
        return set(self.run("sinfo", "-h", "-N", "-o", "%T", check=False).split())

    def clear(self) -> None:
        """No jobs, no broken nodes: as a test wants to find it."""
        self.run("scancel", f"--user={getpass.getuser()}", check=False)
        for node in NODES:
            if self._pid(node) is None:
                self.start_node(node)
        self.run("scontrol", "update", f"nodename={','.join(NODES)}", "state=resume", check=False)
        until("queue empty", lambda: not self.run("squeue", "-h"))
        self.idle()

    def close(self) -> None:
        """End everything started here, then remove the folder."""
        if self._pid("slurmctld") is not None:
            self.run("scancel", f"--user={getpass.getuser()}", check=False)
            with contextlib.suppress(TimeoutError, AssertionError):
                until("queue empty", lambda: not self.run("squeue", "-h"), 15)
        for name in (*NODES, "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self._end(name)
        if self._database is not None:
            self._database.wait(30)
        self._guard.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        self._write()
        munge = self.folder / "munge"
        munge.mkdir(mode=0o711)
        key = munge / "key"
        key.touch(mode=0o400)
        key.write_bytes(secrets.token_bytes(128))
        options = {"socket": munge / "socket", "key-file": key, "pid-file": self.folder / "munged.pid"}
        options |= {"log-file": munge / "log", "seed-file": munge / "seed"}
        self._daemon("munged", "--force", *(f"--{k}={v}" for k, v in options.items()))
        if self.accounting:
            self._start_database()
            self.start_accounting()
            until("cluster registered", lambda: self._succeeds("sacctmgr", "-i", "add", "cluster", CLUSTER))
        for node in NODES:
            self.start_node(node)
        self.start_controller()
        self.idle()

    def _succeeds(self, *command: str) -> bool:
        done = subprocess.run(command, env=self.environment, capture_output=True, check=False)
        return done.returncode == 0

    def _start_database(self) -> None:
        data = self.folder / "sql"
        user = f"--user={getpass.getuser()}"
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", user]
        install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        # A folder of its own: in a common one, two that start at once take each other's temporary tables.
        temporary = self.folder / "sql-tmp"
        temporary.mkdir()
        environment = {**self.environment, "TMPDIR": str(temporary)}
        done = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"mariadb-install-db: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        log = (self.folder / "mariadbd.log").open("ab")
        with log:
            self._database = subprocess.Popen(
                [
                    str(program("mariadbd")),
                    "--no-defaults",
                    user,
                    f"--datadir={data}",
                    f"--tmpdir={temporary}",
                    f"--socket={self.folder}/sql.socket",
                    f"--port={self._ports['sql']}",
                    "--bind-address=127.0.0.1",
                    f"--pid-file={self.folder}/mariadbd.pid",
                    "--skip-grant-tables",
                    "--innodb-buffer-pool-size=64M",
                    "--innodb-lock-wait-timeout=900",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until("mariadbd is up", lambda: (self.folder / "sql.socket").exists())

    def _write(self) -> None:
        host = socket.gethostname().split(".")[0]
        user = getpass.getuser()
        folder, ports = self.folder, self._ports
        (folder / "state").mkdir()
        for node in NODES:
            (folder / "spool" / node).mkdir(parents=True)
        for k in range(4):
            os.mknod(folder / f"nvidia{k}", 0o666 | 0o020000, os.makedev(1, 3))
        (folder / "gres.conf").write_text(f"NodeName=n[1-4] Name=gpu Type=a100 File={folder}/nvidia[0-3]\n")
        version = "v1" if not Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v2"
        (folder / "cgroup.conf").write_text(
            f"CgroupPlugin=cgroup/{version}\nCgroupAutomount=yes\nConstrainCores=no\nConstrainRAMSpace=no\n"
        )
        storage = "accounting_storage/none"
        if self.accounting:
            storage = "accounting_storage/slurmdbd\nAccountingStorageHost=localhost\n"
            storage += f"AccountingStoragePass={folder}/munge/socket\n"
            storage += f"AccountingStoragePort={ports['dbd']}\nAccountingStorageTRES=gres/gpu"
            conf = folder / "slurmdbd.conf"
            conf.touch(mode=0o600)
            conf.write_text(
                f"AuthType=auth/munge\nAuthInfo=socket={folder}/munge/socket\nDbdHost=localhost\n"
                f"DbdPort={ports['dbd']}\nSlurmUser={user}\nPidFile={folder}/slurmdbd.pid\n"
                f"LogFile={folder}/slurmdbd.log\nStorageType=accounting_storage/mysql\nStorageHost=127.0.0.1\n"
                f"StoragePort={ports['sql']}\nStorageUser={user}\nStorageLoc=slurm\nCommitDelay=1\n"
            )
        nodes = "\n".join(
            f"NodeName={n} NodeHostname={host} Port={ports[n]} CPUs=8 RealMemory=8000 Gres=gpu:a100:4" for n in NODES
        )
        self.conf.write_text(
            f"""ClusterName={CLUSTER}
SlurmctldHost={host}
SlurmctldPort={ports["ctld"]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=15
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=3
MessageTimeout=5
MaxArraySize=16
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
AccountingStorageType={storage}
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=n[1-4] Default=YES MaxTime=60 DefaultTime=10 OverSubscribe=NO PreemptMode=OFF
PartitionName=again Nodes=n3 MaxTime=60 PreemptMode=REQUEUE GraceTime=60
PartitionName=spare Nodes=n4 MaxTime=60 PreemptMode=CANCEL GraceTime=60
PartitionName=urgent Nodes=n[3-4] MaxTime=60 PriorityTier=2 PreemptMode=OFF
PartitionName=short Nodes=n[1-4] MaxTime=1 PreemptMode=OFF
PartitionName=drained Nodes=n[1-4] MaxTime=60 PreemptMode=OFF State=DRAIN
{self._config}
"""
        )

    def _daemon(self, command: str, *arguments: str, name: str = "") -> None:
        """Start a daemon that puts itself in the background and writes `<name>.pid`."""
        path = program(command)
        assert path is not None
        done = subprocess.run(
            [path, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command} does not start; see {self.folder}"
        until(f"{name or command} is up", lambda: self._pid(name or command) is not None)

    def _pid(self, name: str) -> int | None:
        """The process a pid file names, while it lives."""
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = int((self.folder / f"{name}.pid").read_text())
            os.kill(pid, 0)
            return pid
        return None

    def _end(self, name: str) -> None:
        pid = self._pid(name)
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        try:
            until(f"{name} ends", lambda: not _alive(pid), 20)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
        (self.folder / f"{name}.pid").unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def _tasks(node: str, conf: Path) -> list[int]:
    """Processes of jobs on a node (all nodes are this machine): those whose environment names it and its cluster."""
    found = []
    marks = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={conf}".encode()}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if marks <= set((folder / "environ").read_bytes().split(b"\0")):
                found.append(int(folder.name))
    return found


def _keeper(pid: int) -> int | None:
    """The slurmstepd a task is a child of."""
    with contextlib.suppress(OSError):
        parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[1])
        if Path(f"/proc/{parent}/comm").read_text().startswith("slurmstepd"):
            return parent
    return None


def _own_ports(count: int) -> tuple[socket.socket, Sequence[int]]:
    """Ports that stay this cluster's while its daemons come and go, and what keeps them: a socket on the one before.

    They lie below those that the kernel gives to connections (from 32768), which could take one meanwhile.
    """
    for first in range(20000, 32000, count + 1):
        guard, *others = [socket.socket() for _ in range(count + 1)]
        with contextlib.ExitStack() as stack:
            for each in others:
                stack.enter_context(each)
            with contextlib.suppress(OSError):
                for port, each in enumerate((guard, *others), first):
                    each.bind(("", port))
                return guard, range(first + 1, first + 1 + count)
        guard.close()
    raise RuntimeError("no ports are free")
