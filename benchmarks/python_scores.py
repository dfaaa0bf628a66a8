"""Claim: `smx.open(…).scores()` of 10,000 runs and 100,000 scores takes at most 2 s, and no longer than twice what
`pandas.read_sql` of the view `score_table` takes, which is what a user without the door would write.

Both in processes of their own, interleaved, imports included. Processor time stands beside the wall's, because a busy
machine stretches the one and not the other.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from _record import finish
from report import fill, processor_time
from startup import timed

REPEATS = 7
BUDGET_SECONDS = 2.0
DOOR = "import sys, smx; assert len(smx.open(sys.argv[1]).scores()) == 100_000"
RIVAL = (
    "import sqlite3, sys, pandas;"
    "frame = pandas.read_sql('select * from score_table', sqlite3.connect(sys.argv[1] + '/registry.db'));"
    "assert len(frame) == 100_000"
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs, scores = fill(Path(folder) / "registry.db")
        commands = {"smx.open().scores()": DOOR, "pandas.read_sql": RIVAL}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(REPEATS):
            for name, code in commands.items():
                before = processor_time()
                seconds = timed([sys.executable, "-W", "ignore", "-c", code, folder])
                times[name].append((seconds, processor_time() - before))
    wall = {name: statistics.median(seconds for seconds, _ in values) for name, values in times.items()}
    processor = {name: statistics.median(busy for _, busy in values) for name, values in times.items()}
    pairs = zip(*times.values(), strict=True)
    against = statistics.median(ours[1] / theirs[1] for ours, theirs in pairs)
    for name, seconds in wall.items():
        print(f"{name:<22} {seconds:.3f} s   {processor[name]:.3f} s of one core")
    print(f"{against:.2f} x the processor time of pandas.read_sql, median of {REPEATS} pairs")
    finish(
        {
            "benchmark": "python_scores",
            "ratio": round(wall["smx.open().scores()"] / BUDGET_SECONDS, 3),
            "budget": 1.0,
            "against_read_sql": round(against, 3),
            "runs": runs,
            "scores": scores,
            "seconds": {name: round(seconds, 4) for name, seconds in wall.items()},
            "processor_seconds": {name: round(seconds, 4) for name, seconds in processor.items()},
        }
    )


if __name__ == "__main__":
    main()
