"""What SLURM's commands print is read as it is meant, in every form it is known to come."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smx.slurm import ids, limits, records, states
from smx.slurm.ids import JobId

FORMS = [
    ("123", JobId("123")),
    ("123_4", JobId("123", (4,))),
    ("123_[5-9,12%3]", JobId("123", (5, 6, 7, 8, 9, 12))),
    ("123_[0-8:4]", JobId("123", (0, 4, 8))),
    ("123_[1,3,...]", JobId("123", (1, 3), whole=False)),
    ("123+0", JobId("123", part=0)),
    ("123_4.batch", JobId("123", (4,), step="batch")),
    ("123+1.0", JobId("123", part=1, step="0")),
    ("123.extern", JobId("123", step="extern")),
]


@pytest.mark.parametrize(("text", "wanted"), FORMS, ids=[f[0] for f in FORMS])
def test_every_form_of_a_job_id(text: str, wanted: JobId) -> None:
    """A form that is not understood is a task whose state nobody learns."""
    assert ids.parse(text) == wanted


@pytest.mark.parametrize("text", ["", "abc", "_4", "123_x", "123_[a-b]", "12 3"])
def test_what_is_no_job_id_is_none(text: str) -> None:
    """A line of something else is left out, not taken for job 123."""
    assert ids.parse(text) is None


@given(st.sets(st.integers(0, 5000), min_size=1), st.integers(1, 99))
def test_indices_come_back_as_they_were_written(indices: set[int], throttle: int) -> None:
    """What `--array` is given is what squeue lists."""
    written = f"7_[{ids.compact(list(indices))}%{throttle}]"
    assert ids.parse(written) == JobId("7", tuple(sorted(indices)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("CANCELLED by 1000", ("CANCELLED", "1000")),
        ("CANCELLED+", ("CANCELLED", "")),
        ("OUT_OF_ME+", ("OUT_OF_MEMORY", "")),
        ("NODE_FAIL", ("NODE_FAIL", "")),
        ("RE+", ("RE", "")),  # could be several
        ("HIBERNATING", ("HIBERNATING", "")),
        ("", ("", "")),
    ],
)
def test_words_for_states(text: str, wanted: tuple[str, str]) -> None:
    """A cut word is completed where it can only be one; a new one stays what it is, which is not `failed`."""
    assert states.word(text) == wanted


def test_each_state_means_one_thing() -> None:
    """A state in two groups would be live and over at once."""
    groups = [states.WAITING, states.RUNNING, states.ENDED, states.STOPPED, states.CANCELLED]
    assert sum(map(len, groups)) == len(states.KNOWN)
    named = "BOOT_FAIL CONFIGURING COMPLETING DEADLINE NODE_FAIL OUT_OF_MEMORY PREEMPTED REQUEUED RESIZING REVOKED"
    assert {*named.split(), "SUSPENDED", "TIMEOUT"} <= states.KNOWN


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("(Priority)", "others are before it"),
        ("((ReqNodeNotAvail, UnavailableNodes:cs[100,101,102]))", "nodes it needs are down or reserved"),
        ("(Nodes required for job are DOWN, DRAINED or reserved)", "nodes it needs are down or reserved"),
        ("launch failed requeued held", "its node could not start it"),
        ("NonZeroExitCode", "it ended with an error"),
        ("QOSMaxCpuPerUserLimit", "it would take more CPUs than this QOS allows for a user"),
        ("AssocGrpCPURunMinutesLimit", "it would take more CPU time of running jobs than the account allows in all"),
        ("QOSMinGRES", "it asks for fewer GPUs than this QOS wants"),
        ("MaxMemPerLimit", 'SLURM says "MaxMemPerLimit"'),
        ("SomethingNew, of 2030", 'SLURM says "SomethingNew, of 2030"'),
        ("", ""),
        ("QOSMaxGRESPerUser", "you use as many GPUs"),
    ],
)
def test_reasons_are_words(text: str, start: str) -> None:
    """`smx why` speaks plainly; what it does not know it quotes as SLURM's."""
    assert states.reason(text).startswith(start)


def test_squeue_lines() -> None:
    """One record per task, expanded where squeue did not; junk is left out."""
    text = (
        "12|3|RUNNING|1795230168|1795230170|n[1-2]|smx-a-0|None\n"
        "12|5-6%2|PENDING|1795230168|N/A||smx-a-0|(Resources, with | in it)\n"
        "slurm_load_jobs error: Socket timed out\n"
        "13|N/A|CANCELLED|1795230168|1795230170|n1|other|None\n"
    )
    first, second, third, other = records.squeue(text)
    assert (first.index, first.state, first.node, first.started) == (3, "RUNNING", "n[1-2]", 1795230170)
    assert [(r.index, r.state, r.started) for r in (second, third)] == [(5, "PENDING", None), (6, "PENDING", None)]
    assert second.reason == "(Resources, with | in it)"
    assert (other.index, other.name) == (None, "other")


def test_sacct_keeps_steps_and_the_newest_start() -> None:
    """COMPLETED with a step out of memory is told; of a requeued task the last record counts."""
    text = (
        "12_0|COMPLETED|0:0|100|110|120|n1||smx-a-0\n"
        "12_0.batch|COMPLETED|0:0|110|110|120|n1|3156K|batch\n"
        "12_0.0|OUT_OF_MEMORY|0:125|110|110|120|n1|1.5G|python\n"
        "12_1|NODE_FAIL|0:0|100|110|130|n2||smx-a-0\n"
        "12_1|RUNNING|0:0|131|140|Unknown|n3||smx-a-0\n"
        "12_[2-3%1]|PENDING|0:0|100|Unknown|Unknown|None assigned||smx-a-0\n"
    )
    newest = records.newest(records.sacct(text))
    oom = newest["smx-a-0", 0]
    assert [(s.name, s.state, s.exit, s.rss) for s in oom.steps] == [
        ("batch", "COMPLETED", "0:0", 3156 << 10),
        ("0", "OUT_OF_MEMORY", "0:125", 3 << 29),
    ]
    assert (newest["smx-a-0", 1].state, newest["smx-a-0", 1].node) == ("RUNNING", "n3")
    assert {newest["smx-a-0", k].state for k in (2, 3)} == {"PENDING"}
    assert newest["smx-a-0", 2].node == ""


def test_sacct_of_real_clusters(fixtures: Path) -> None:
    """Every line of the samples has an id and a state that are understood."""
    lines = (fixtures / "slurm_samples" / "reportseff_sacct.psv").read_text().splitlines()
    header = lines[0].split("|")
    rows = [dict(zip(header, line.split("|"), strict=False)) for line in lines[1:]]
    assert len(rows) > 10
    for row in rows:
        assert ids.parse(row["JobID"]) is not None, row
        state, by = states.word(row["State"])
        assert state in states.KNOWN, row
        assert bool(by) == (" by " in row["State"])


def test_squeue_reasons_of_real_clusters(fixtures: Path) -> None:
    """None of the reasons seen there comes out empty or with its brackets."""
    for line in (fixtures / "slurm_samples" / "aiida_squeue.txt").read_text().splitlines():
        fields = line.split("^^^")
        if len(fields) > 7:
            said = states.reason(fields[7])
            assert said
            assert not said.startswith("(")


@given(st.text(), st.text())
def test_no_output_breaks_the_readers(first: str, second: str) -> None:
    """Whatever a site prints, a reader answers; nothing is made up from noise without separators."""
    text = f"{first}\n{second}|{first}|{second}"
    records.squeue(text)
    records.sacct(text)
    limits.partitions(text)
    limits.hosts(first)
    limits.seconds(second)
    states.reason(first)
    states.word(second)
    ids.parse(first)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("90", 5400),
        ("10:30", 630),
        ("01:00:00", 3600),
        ("1-00", 86400),
        ("1-12:30", 131400),
        ("2-00:00:01", 172801),
        ("UNLIMITED", None),
        ("infinite", None),
    ],
)
def test_times(text: str, wanted: int | None) -> None:
    """SLURM's five ways to write a time."""
    assert limits.seconds(text) == wanted


@given(st.integers(0, 10**7))
def test_a_written_time_is_read_again(total: int) -> None:
    """What smx asks for is what SLURM grants."""
    assert limits.seconds(limits.clock(total)) == total


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:2", {"": 2}),
        ("gpu", {"": 1}),
        ("gpu:a100_3g.20gb:2,gpu:h100:1,mps:400", {"a100_3g.20gb": 2, "h100": 1}),
        ("(null)", {}),
    ],
)
def test_gpus_of_a_node(text: str, wanted: dict[str, int]) -> None:
    """Types and counts, as `scontrol show node` writes them."""
    assert limits.gres(text) == wanted


def test_names_of_nodes() -> None:
    """Lists in brackets, with zeros in front, and several in one name."""
    assert limits.hosts("n[1-3,05-06],login") == ["n1", "n2", "n3", "n05", "n06", "login"]
    assert limits.hosts("r[1-2]c[3-4]") == ["r1c3", "r1c4", "r2c3", "r2c4"]
    assert limits.hosts("(null)") == []
