"""The pages smx makes, opened in a real browser: what a reader sees, with the network gone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import skip_or_fail
from PIL import Image
from typer.testing import CliRunner

from smx import plugins, sampleset
from smx.cli._common import choose_workspace
from smx.cli.samples import app
from smx.datasets.rooms import Dataset
from smx.geometry.view import GeometryOptions
from smx.node.sampling import make_sample
from smx.samples.contact_sheet import pair_colour

WIDE, HIGH = 1500, 1500  # of the window, pixels
# Asked of the page once all is loaded, and left in it as JSON: what was fetched, and where each thing stands.
PROBE = """<script>
addEventListener("load", () => {
  const box = (e) => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  const all = (kind) => [...document.querySelectorAll(kind)];
  const told = (e) => (e.querySelector("title") || {textContent: ""}).textContent;
  document.documentElement.dataset.seen = JSON.stringify({
    fetched: performance.getEntriesByType("resource").map((e) => e.name),
    images: all("svg image").map((e) => [told(e), ...box(e)]),
    rects: all("svg rect").map((e) => [told(e), ...box(e)]),
    circles: all("svg circle").map((e) => [told(e), ...box(e)]),
    words: all("svg text").map((e) => [e.textContent, ...box(e)]),
    cells: all("td").map((e) => [e.textContent, ...box(e)]),
    drawing: box(document.querySelector("svg")),
  });
});
</script>"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command line of a headless Chromium that knows nobody and reaches nothing."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        skip_or_fail("browser", f"none of {', '.join(names)} is on the path")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    options += ["--no-first-run", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
    return [str(found), *options, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with four sets of one built-in room."""
    root = tmp_path_factory.mktemp("space")
    dataset = Dataset()
    scene = dataset.open(None, dataset.scenes(None)[0])
    for name in ("sa", "mergeaware_sa"):
        for n in (8, 16):
            make_sample(
                scene,
                sampler_name=name,
                sampler=plugins.load("samplers", name)(),
                n=n,
                seed=0,
                geometry=GeometryOptions(candidates=32),
                folder=sampleset.folder(root / "samples", name, n, "0123abcd", "rooms", scene.id),
                extra={"dataset": "rooms"},
                cache=root / "voxels.npz",
            )
    return root


@pytest.fixture(autouse=True)
def workspace(space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMX_WORKSPACE", str(space))
    choose_workspace(None)  # another test may have chosen one


def test_a_sheet_in_a_browser_shows_the_frames_and_their_pairs(browser: list[str], space: Path, tmp_path: Path) -> None:
    """Lost otherwise: a page that is well formed, and blank, cut off or out of order where a reader opens it."""
    folder = next(space.glob("samples/mergeaware_sa/8f-*/rooms/*"))
    page = drawn(tmp_path / "sheet.html", "view", "mergeaware_sa/8", folder.name, "-o")
    sample = sampleset.read(folder)
    seen, shot = opened(browser, page)
    assert seen["fetched"] == [], "the page asks for something outside it"
    assert [told.split(",")[0] for told, *_ in seen["images"]] == [
        f"{k + 1}: frame {i}" for k, i in enumerate(sample.ids)
    ]
    for (_, *box), frame in zip(seen["images"], sample.frames(), strict=True):
        part = crop(shot, box)
        small = Image.fromarray(frame).resize((part.shape[1], part.shape[0]), Image.Resampling.LANCZOS)
        assert np.abs(part - np.asarray(small, dtype=np.float64)).mean() < 12, "another picture, or none"
    joints = [rect for rect in seen["rects"] if rect[0].startswith("overlap ")]
    assert len(joints) == 4
    for k, ((told, *box), pair) in enumerate(zip(joints, sample.pairs, strict=True)):
        assert told == f"overlap {100 * pair['overlap']:.0f} %"
        left, right = seen["images"][2 * k], seen["images"][2 * k + 1]
        assert box[0] == pytest.approx(left[1], abs=1), "does not begin with the pair's first frame"
        assert box[2] == pytest.approx(right[3], abs=1), "does not end with its second"
        colour = pair_colour(pair["overlap"], 0.5)
        assert np.abs(crop(shot, box) - [int(colour[at : at + 2], 16) for at in (1, 3, 5)]).max() < 8
    rows = np.array([cell[0] for cell in seen["cells"]]).reshape(-1, 5)
    assert rows[:, 1:3].astype(int).tolist() == [pair["ids"] for pair in sample.pairs]


def test_a_plot_in_a_browser_shows_every_point(browser: list[str], space: Path, tmp_path: Path) -> None:
    """Lost otherwise: a figure that is fine as text and empty, or half outside, on the screen."""
    page = drawn(tmp_path / "overlap.html", "stats", "--plot")
    seen, shot = opened(browser, page)
    assert seen["fetched"] == [], "the page asks for something outside it"
    marks = {told for told, *_ in seen["circles"] if told}
    for row in json.loads(CliRunner().invoke(app, ["stats", "--json"]).stdout)["rows"]:
        for key in ("overlap", "coverage"):
            assert f"{row['sampler']}, {row['frames']} frames: {100 * row[key]:.1f} %" in marks
    for told, *box in seen["circles"]:
        paint = crop(shot, box).reshape(-1, 3)
        assert np.ptp(np.median(paint, axis=0)) > 60, f"nothing is drawn at {told or 'the legend'}"


def drawn(page: Path, *words: str) -> Path:
    """The page that `smx samples WORDS PAGE` writes."""
    result = CliRunner().invoke(app, [*words, str(page)])
    assert result.exit_code == 0, result.output
    return page


def opened(browser: list[str], page: Path) -> tuple[Any, np.ndarray]:
    """(what the page tells of itself, its screenshot [H, W, 3]); whatever it draws stands inside it."""
    probed = page.with_name(f"probed-{page.name}")
    text = page.read_text(encoding="utf-8")
    probed.write_text(text.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    dom = run(browser, "--dump-dom", probed)
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found, dom[:2000]
    seen = json.loads(html.unescape(found[1]))
    left, top, right, bottom = seen["drawing"]
    assert right <= WIDE, "wider than the window"
    for what in ("images", "rects", "circles", "words"):
        for name, x0, y0, x1, y1 in seen[what]:
            assert x1 > x0, f"{what}: {name!r} is not on the page"
            assert y1 > y0, f"{what}: {name!r} is not on the page"
            assert min(x0 - left, y0 - top, right - x1, bottom - y1) > -1, f"{what}: {name!r} is cut off"
    picture = page.with_suffix(".png")
    run(browser, f"--screenshot={picture}", page)
    with Image.open(picture) as image:
        shot = np.asarray(image.convert("RGB"))
    assert shot.shape == (HIGH, WIDE, 3)
    assert shot.std() > 5, "blank"
    return seen, shot


def run(browser: list[str], what: str, page: Path) -> str:
    command = [*browser, f"--window-size={WIDE},{HIGH}", what, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def crop(shot: np.ndarray, box: list[float]) -> np.ndarray:
    """The pixels wholly inside a box of the page."""
    left, top, right, bottom = (round(side) for side in box)
    return shot[top + 1 : bottom - 1, left + 1 : right - 1].astype(np.float64)
