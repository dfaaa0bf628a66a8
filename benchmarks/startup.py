"""Claim: `smx --help` and `smx list samplers` start within 1.2 x of a bare two-command Typer app.

Both are started as their console scripts would be, one after the other in every round, so that a busy
machine slows both. The ratio is that of the medians; the worse of the two commands counts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _record import finish

REPEATS = 25
BUDGET = 1.2

# What pip writes for a console script, and the smallest app with two commands that says as much.
SMX = "import sys\nfrom smx.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
BARE = '''import typer

app = typer.Typer()


@app.command()
def hello(name: str = "you") -> None:
    """Say hello."""
    print(f"hello {name}")


@app.command()
def listing(kind: str) -> None:
    """List things."""
    print(f"one {kind}")


if __name__ == "__main__":
    app()
'''
PAIRS = {
    "--help": (["--help"], ["--help"]),
    "list samplers": (["list", "samplers"], ["listing", "samplers"]),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours, bare = Path(folder, "smx_.py"), Path(folder, "bare.py")
        ours.write_text(SMX, encoding="utf-8")
        bare.write_text(BARE, encoding="utf-8")
        found = {}
        for name, (our_words, bare_words) in PAIRS.items():
            times: dict[Path, list[float]] = {ours: [], bare: []}
            for number in range(REPEATS + 1):
                for script, words in ((ours, our_words), (bare, bare_words)):
                    seconds = timed([sys.executable, str(script), *words])
                    if number:  # the first round fills caches
                        times[script].append(seconds)
            found[name] = (statistics.median(times[ours]), statistics.median(times[bare]))
    print(f"{'command':<20} {'smx':>8} {'bare app':>9} {'ratio':>6}   medians of {REPEATS} paired runs")
    for name, (smx, app) in found.items():
        print(f"smx {name:<16} {smx:7.3f}s {app:8.3f}s {smx / app:6.2f}")
    ratios = {name: round(smx / app, 3) for name, (smx, app) in found.items()}
    finish({"benchmark": "startup", "ratio": max(ratios.values()), "budget": BUDGET, "ratios": ratios})


def timed(command: Sequence[str]) -> float:
    """Seconds of one whole process, its output read and thrown away."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
