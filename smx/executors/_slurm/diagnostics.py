"""The site file against the real cluster, for `smx doctor`: what submission checks, and what only SLURM knows."""

from __future__ import annotations

import getpass
import shutil
from collections.abc import Callable, Iterator

from smx.errors import UserError, nearest
from smx.executors._slurm.commands import Cluster, ask, cluster
from smx.executors._slurm.job_arrays import one_task
from smx.executors._slurm.limits import check
from smx.executors._slurm.options import Resources
from smx.finding import Finding, Level, ok, problem, warning

_KINDS = ("gen", "train", "eval")


def examine(resources: Callable[[str], Resources], asked: bool) -> list[Finding]:
    """What this cluster is, and for each kind of run whether it would take the job the site file describes.

    `asked`: whether anybody wants SLURM here. Nothing is submitted.
    """
    if shutil.which("sbatch") is None:
        words = "sbatch is not on PATH"
        hint = "run smx doctor on the cluster's login node, or set `executor: local` in the site file"
        return [problem("slurm", words, hint) if asked else ok("slurm", f"none here ({words})")]
    try:
        here = cluster()
    except UserError as error:
        return [(problem if asked else warning)("slurm", error.message, "try again when squeue works")]
    version = ask(["sbatch", "--version"]).out.strip() or "SLURM"
    names = ", ".join(p.name + ("*" if p.default else "") for p in here.partitions) or "none"
    about = f"{version}, cluster {here.config.get('ClusterName', '?')}, {len(here.nodes)} nodes, partitions {names}"
    accounting = _Accounting(here)
    kinds = [found for kind in _KINDS for found in _kind(here, accounting, resources(kind), kind)]
    return [ok("slurm", about), accounting.finding, *kinds]


def names_of_user(here: Cluster) -> tuple[list[str], list[str]]:
    """Accounts and QOS that this user may name; none where there is no accounting."""
    accounts = _Accounting(here).accounts or {}
    return sorted(accounts), sorted(set().union(*accounts.values()))


class _Accounting:
    """What slurmdbd tells of accounts and QOS. `accounts` and `qos` are None where it tells nothing."""

    def __init__(self, here: Cluster) -> None:
        self.accounts: dict[str, set[str]] | None = None  # of this user -> QOS each may use
        self.qos: set[str] | None = None
        self._enforced = here.config.get("AccountingStorageEnforce", "")
        if here.config.get("AccountingStorageType", "").rpartition("/")[2] in ("none", "(null)", ""):
            text = "off: how a job ended is known from its run folder and squeue; accounts cannot be checked"
            self.finding = ok("accounting", text)
            return
        show = ["sacctmgr", "--noheader", "--parsable2", "show"]
        where = ["where", f"user={getpass.getuser()}", f"cluster={here.config.get('ClusterName', '')}"]
        mine = ask([*show, "assoc", *where, "format=account,qos"])
        every = ask([*show, "qos", "format=name"])
        if not (mine.ok and every.ok):
            words = mine.words or every.words
            self.finding = warning("accounting", f"on, but it does not answer: {words}", "accounts were not checked")
            return
        self.accounts, self.qos = {}, set(every.out.split())
        for line in mine.out.splitlines():
            account, _, qos = line.partition("|")
            self.accounts.setdefault(account, set()).update(filter(None, qos.split(",")))
        known = ", ".join(sorted(self.accounts)) or "none"
        enforced = f", enforces {self._enforced}" if self._enforced not in ("", "none", "(null)") else ""
        self.finding = ok("accounting", f"on{enforced}; your accounts: {known}")

    def refused(self, resources: Resources) -> Iterator[tuple[Level, str, str]]:
        """(level, what, hint) for an account or QOS it does not know. Only enforced ones are refused by SLURM."""
        if self.accounts is None or self.qos is None:
            return
        account, qos = resources.account, resources.qos
        if account and account not in self.accounts:
            level: Level = "problem" if "associations" in self._enforced or "all" in self._enforced else "warning"
            hint = nearest(account, self.accounts) if self.accounts else "accounting knows no account of yours"
            yield level, f"account {account!r} is none of yours", hint
        if qos and qos not in self.qos:
            yield "problem", f"there is no QOS {qos!r}", nearest(qos, self.qos)
        elif qos and (mine := self._mine(account)) and qos not in mine:
            level = "problem" if "qos" in self._enforced or "all" in self._enforced else "warning"
            yield level, f"you may not use QOS {qos!r}", nearest(qos, mine)

    def _mine(self, account: str | None) -> set[str]:
        assert self.accounts is not None
        chosen = [self.accounts[account]] if account in self.accounts else list(self.accounts.values())
        return set().union(*chosen)


def _kind(here: Cluster, accounting: _Accounting, resources: Resources, kind: str) -> Iterator[Finding]:
    """What submission would refuse, then what accounting says, then the whole script to sbatch itself."""
    from smx.executors._slurm.array_executor import ArrayExecutor

    about = f"slurm {kind}"
    try:
        check(here, resources, kind)
        text = ArrayExecutor(one_task(resources), "doctor").text()
    except UserError as error:
        yield problem(about, error.message.removeprefix(f"{kind}: "), error.hint)
        return
    found = [Finding(level, about, text, hint) for level, text, hint in accounting.refused(resources)]
    yield from found
    if not any(finding.level == "problem" for finding in found):
        tried = ask(["sbatch", "--test-only"], input=text)
        if tried.ok:
            yield ok(about, _described(resources))
        elif tried.doubtful:
            yield warning(about, f"{_described(resources)}; sbatch could not say whether it takes it: {tried.words}")
        else:
            hint = "mend executors.slurm in experiments/site.yaml; smx list executors slurm says what each key means"
            yield problem(about, f"sbatch refuses it: {tried.words}", hint)
    yield from _programs(resources, about)


def _programs(resources: Resources, about: str) -> Iterator[Finding]:
    """What a task is started with should be there; compute nodes may differ from this one."""
    wanted = [*resources.container[:1], *(["conda"] if resources.conda else [])]
    wanted += [] if resources.container or resources.python is None else [resources.python]
    for program in wanted:
        if shutil.which(program) is None:
            text = f"{program!r} is not here"
            yield warning(about, text, "jobs need it; that is fine where compute nodes have it and this one has not")


def _described(resources: Resources) -> str:
    gpus = f"{resources.gpus} GPU{'' if resources.gpus == 1 else 's'}" if resources.gpus else "no GPU"
    parts = [f"partition {resources.partition or 'default'}", resources.time, resources.memory]
    parts += [f"{gpus} ({resources.gpu_type})" if resources.gpu_type else gpus]
    parts += [f"account {resources.account}" if resources.account else None]
    parts += [f"QOS {resources.qos}" if resources.qos else None]
    return ", ".join(part for part in parts if part)
