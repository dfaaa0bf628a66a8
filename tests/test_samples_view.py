"""`smx samples view`, `diff` and `stats --plot`: what a reader sees is what the samples hold."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from support.walks import Walk
from typer.testing import CliRunner, Result

from smx import plugins, sampleset
from smx.cli.samples import app
from smx.errors import UserError
from smx.geometry.align import agreement
from smx.geometry.cameras import axis_angle_to_rotation
from smx.geometry.view import GeometryOptions
from smx.node.sampling import make_sample
from smx.samples.contact_sheet import HIGH, LEAST, LOW, UNKNOWN, overlaps_between, pair_colour
from smx.samples.drawing import Svg, legible, mixed
from smx.samples.top_view import floor_of

NAMESPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two sets of two scenes and one without cameras."""
    root = tmp_path_factory.mktemp("space")
    for name in ("sa", "mergeaware_sa"):
        for frames in (8, 16):
            for scene in ("one", "two"):
                put(root, name, frames, scene, Walk(60 if scene == "one" else 90))
    put(root, "uniform", 8, "bare", Walk(40, without="cameras"))
    put(root, "uniform", 8, "blind", Walk(40, without="depth"))
    return root


def put(root: Path, sampler: str, n: int, scene: str, walk: Walk, fingerprint: str = "0123abcd") -> Path:
    folder = sampleset.folder(root / "samples", sampler, n, fingerprint, "walks", scene)
    walk.id = scene
    make_sample(
        walk,
        sampler_name=sampler,
        sampler=plugins.load("samplers", sampler)(),
        n=n,
        seed=0,
        geometry=GeometryOptions(),
        folder=folder,
        extra={"dataset": "walks"},
    )
    return folder


@pytest.fixture
def here(space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with `space` as the workspace."""
    monkeypatch.setenv("SMX_WORKSPACE", str(space))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def refused(*words: str) -> UserError:
    error = run(*words).exception
    assert isinstance(error, UserError)
    return error


# --- view ---------------------------------------------------------------------------------------------------


def test_a_sheet_is_a_picture_of_every_frame_in_order(here: Path, space: Path) -> None:
    """Lost otherwise: a sheet that shows other frames, or another order, than the model gets."""
    result = run("view", "mergeaware_sa/16", "one", "-o", "sheet.png")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == "sheet.png"
    image = Image.open(here / "sheet.png")
    pixels = np.asarray(image.convert("RGB"))
    sample = sampleset.read(space / "samples/mergeaware_sa/16f-0123abcd/walks/one")
    # every frame of a walk is one grey that tells its id; a patch of it stands in the sheet, row by row
    greys = [i % 251 for i in sample.ids]
    plain = pixels[(pixels[..., 0] == pixels[..., 1]) & (pixels[..., 1] == pixels[..., 2])][:, 0]
    often = set(np.flatnonzero(np.bincount(plain, minlength=256) > 20_000).tolist())
    assert set(greys) <= often


def test_a_page_holds_everything_in_itself_and_says_what_the_sample_says(here: Path, space: Path) -> None:
    """Lost otherwise: a page that is empty once it is mailed, or numbers that disagree with sample.json."""
    assert run("view", "sa/8", "walks/one", "-o", "sheet.html").exit_code == 0
    text = (here / "sheet.html").read_text(encoding="utf-8")
    page = Page(text)
    sample = sampleset.read(space / "samples/sa/8f-0123abcd/walks/one")
    pictures = [link for link in page.links if link.startswith("data:image/jpeg;base64,")]
    assert len(pictures) == 8
    assert page.links == pictures, "a link out of the page"
    assert not page.open, f"never closed: {page.open}"
    for i, frame_id in enumerate(sample.ids):
        assert any(about.startswith(f"{i + 1}: frame {frame_id},") for about in page.titles)
    for pair in sample.pairs:
        assert f"overlap {100 * pair['overlap']:.0f} %" in page.words
    assert any("coverage" in words and f"{100 * (sample.coverage or 0):.0f} %" in words for words in page.words)


def test_names_cannot_break_the_page(here: Path, space: Path, tmp_path: Path) -> None:
    """Scene names come from folders: markup in one is text in the page."""
    folder = put(tmp_path, "uniform", 8, "<img src=x onerror=alert(1)>", Walk(40))
    assert run("view", str(folder.parents[1]), folder.name, "-o", "sheet.html").exit_code == 0
    page = Page((here / "sheet.html").read_text(encoding="utf-8"))
    assert "img" not in page.tags
    assert any("<img src=x" in words for words in page.words)


def test_the_default_name_tells_what_was_drawn(here: Path) -> None:
    assert run("view", "sa/8", "two").stdout.strip() == "sa-8f-two.png"
    assert (here / "sa-8f-two.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("scene", "why"), [("bare", "the cameras of this sample are unknown"), ("blind", "scene has no depth")]
)
def test_a_sample_without_cameras_or_depth_is_drawn_without_what_it_lacks(here: Path, scene: str, why: str) -> None:
    """Lost otherwise: plain videos cannot be looked at."""
    assert run("view", "uniform/8", scene, "-o", "sheet.html").exit_code == 0
    page = Page((here / "sheet.html").read_text(encoding="utf-8"))
    assert any(why in words for words in page.words), page.words
    assert "overlap unknown" in page.words
    assert run("view", "uniform/8", scene, "-o", "sheet.png").exit_code == 0


def test_what_cannot_be_drawn_says_what_can(here: Path, space: Path) -> None:
    assert "did you mean sa/16" in refused("view", "sa/17", "one").hint
    assert "valid: one, two" in refused("view", "sa/8", "oen").hint
    assert "png or .html" in refused("view", "sa/8", "one", "-o", "sheet.gif").hint
    put(space, "sa", 8, "one", Walk(30), fingerprint="fedc9876")
    both = refused("view", "sa/8", "one")
    assert "2 samples are 'one' of 'sa/8'" in both.message
    assert "sa/8f-fedc9876/walks/one" in both.message
    assert run("view", "sa/8f-fedc", "one", "-o", "x.png").exit_code == 0
    place = space / "samples/sa/8f-fedc9876"
    sampleset.record_failed(place, "walks", "gone", ValueError("gone.mp4: truncated"))
    assert "could not be sampled: gone.mp4: truncated" in refused("view", "sa/8f-fedc", "gone").message
    next((place / "walks/one").glob("frame_*")).unlink()
    assert "damaged" in refused("view", "sa/8f-fedc", "one").message


def test_colours_follow_the_overlap() -> None:
    assert [pair_colour(x, 0.5) for x in (0, 0.5, 1)] == [LOW, LEAST, HIGH]
    assert pair_colour(None, 0.5) == UNKNOWN
    assert pair_colour(0.7, 1.0) != pair_colour(0.2, 1.0)
    assert mixed("#000000", "#ffffff", 0.5) == "#808080"
    assert legible("#000000") != legible("#ffffff")


def test_the_map_stands_in_the_world(space: Path) -> None:
    """Cameras where they stood, to scale, and voxels counted: the walk goes 4 m along x in a room of 6 x 4 m."""
    sample = sampleset.read(space / "samples/sa/16f-0123abcd/walks/one")
    floor, _ = floor_of(sample)
    assert floor is not None
    apart = np.linalg.norm(np.diff(floor.places, axis=0), axis=1)
    ids = np.array(sample.ids)
    np.testing.assert_allclose(apart, 4 * np.abs(np.diff(ids)) / 59, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(floor.looks, axis=1), 1, atol=1e-6)
    sides = (floor.columns.max(axis=0) - floor.columns.min(axis=0) + 1) * floor.edge
    assert sorted(sides.tolist()) == pytest.approx([4, 6], abs=2 * floor.edge)
    assert ((floor.share >= 0) & (floor.share <= 1)).all()
    voxels = sample.voxels
    assert voxels is not None
    seen = np.unpackbits(voxels["seen"], axis=1, count=len(voxels["cells"])).astype(bool)
    known = np.unpackbits(voxels["candidate"], count=len(voxels["cells"])).astype(bool)
    assert (seen.any(axis=0) & known).sum() / known.sum() == pytest.approx(sample.coverage, abs=1e-6)
    between = overlaps_between(sample)
    assert between is not None
    recorded = [pair["overlap"] for pair in sample.pairs]
    assert [between[2 * k, 2 * k + 1] for k in range(8)] == pytest.approx(recorded, abs=1e-5)


# --- stats --plot and --cameras -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_the_plot_is_of_the_table(suffix: str, here: Path) -> None:
    """Lost otherwise: a figure in a paper that the numbers do not bear out."""
    result = run("stats", "--sampler", "sa,mergeaware_sa", "--plot", f"overlap.{suffix}")
    assert result.exit_code == 0
    assert f"Drawn: overlap.{suffix}" in result.stderr
    rows = json.loads(run("stats", "--sampler", "sa,mergeaware_sa", "--json").stdout)["rows"]
    data = (here / f"overlap.{suffix}").read_bytes()
    if suffix == "png":
        assert Image.open(io.BytesIO(data)).size[0] > 1500
        return
    text = data.decode()
    drawing = ElementTree.fromstring(text if suffix == "svg" else text[text.index("<svg") : text.index("</svg>") + 6])
    abouts = [about.text or "" for about in drawing.iter(f"{NAMESPACE}title")]
    for row in rows:
        for key in ("overlap", "coverage"):
            assert f"{row['sampler']}, {row['frames']} frames: {100 * row[key]:.1f} %" in abouts
    if suffix == "html":
        assert f"<td>{100 * rows[0]['overlap']:.1f}</td>" in text


def test_points_stand_at_their_values(here: Path) -> None:
    """Twice the share is twice as high."""
    run("stats", "--sampler", "sa", "--plot", "o.svg")
    drawing = ElementTree.fromstring((here / "o.svg").read_text(encoding="utf-8"))
    height = {}
    for circle in drawing.iter(f"{NAMESPACE}circle"):
        about = circle.find(f"{NAMESPACE}title")
        if about is not None and about.text:
            height[float(re.findall(r"([\d.]+) %", about.text)[0])] = float(circle.get("cy") or "nan")
    assert len(height) >= 3
    (a, y_a), (b, y_b), *others = height.items()
    for share, y in others:
        assert y == pytest.approx(y_a + (y_b - y_a) * (share - a) / (b - a), abs=0.6)


def test_a_mark_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tma_sa` covers what `sa` covers. Lost otherwise: a curve of the legend that is nowhere in the figure."""
    for name in ("sa", "tma_sa"):
        for n in (8, 16):
            put(tmp_path, name, n, "one", Walk(60))
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run("stats", "--plot", "o.svg")
    drawing = ElementTree.fromstring((tmp_path / "o.svg").read_text(encoding="utf-8"))
    spots: dict[tuple[str, str], list[float]] = {}
    for circle in drawing.iter(f"{NAMESPACE}circle"):
        if circle.find(f"{NAMESPACE}title") is not None:
            spots.setdefault((circle.get("cx", ""), circle.get("cy", "")), []).append(float(circle.get("r", "")))
    shared = [radii for radii in spots.values() if len(radii) > 1]
    assert len(shared) >= 2
    assert all(a > b for radii in shared for a, b in pairwise(radii)), "drawn under one of the same size"


def test_a_map_lies_along_its_longer_side(space: Path) -> None:
    """Lost otherwise: a long flat is drawn as a thin strip beside an empty page."""
    for n in (8, 16):
        floor, _ = floor_of(sampleset.read(space / f"samples/sa/{n}f-0123abcd/walks/one"))
        assert floor is not None
        drawn = np.concatenate([floor.places, floor.origin + floor.columns * floor.edge])
        wide, high = np.ptp(drawn, axis=0)
        assert wide >= high


def test_a_plot_with_another_ending_or_of_nothing_is_refused(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ".png, .svg, .html" in refused("stats", "--plot", "o.pdf").hint
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))
    assert "no samples to plot" in refused("stats", "--plot", "o.png").message
    assert not (here / "o.png").exists()


@pytest.mark.parametrize(("bend", "degrees"), [(1.0, 2.0), (0.0, 0.0)])
def test_cameras_of_another_source_are_held_against_the_datasets(
    bend: float, degrees: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known errors come back: another world and scale cost nothing, a turn and a longer lens are found.

    A walk along a straight line (bend 0) says nothing of the turn about it: the cameras' axes do.
    """
    place = put(tmp_path, "uniform", 16, "one", Walk(60))
    other = put(tmp_path, "uniform", 16, "one", Walk(60), fingerprint="99999999")
    sample = sampleset.read(place)
    assert sample.w2c is not None
    assert sample.K is not None
    true = np.linalg.inv(sample.w2c)
    true[:, 1:3, 3] += bend * np.random.default_rng(0).normal(size=(16, 2))
    turn = axis_angle_to_rotation(np.array([0.3, -1.0, 0.4]))
    made = true.copy()
    made[:, :3, 3] = (true[:, :3, 3] @ turn.T) / 2.5 + [3, 1, -2]
    made[:, :3, :3] = turn @ true[:, :3, :3] @ axis_angle_to_rotation(np.radians([0, degrees, 0]))
    longer = sample.K * np.array([[1.1], [1.1], [1]])
    for folder, c2w, K in ((place, true, sample.K), (other, made, longer)):
        np.savez(folder / "cameras.npz", w2c=np.linalg.inv(c2w), K=K, metric=np.array(True))
    record = json.loads((other / "sample.json").read_text())
    record["geometry"]["source"] = "vggt"
    for folder, about in ((place, json.loads((place / "sample.json").read_text())), (other, record)):
        about.pop("written")  # these cameras are ours, and no damage
        (folder / "sample.json").write_text(json.dumps(about))
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))
    (row,) = json.loads(run("stats", "--cameras", "--json").stdout)["rows"]
    assert (row["source"], row["dataset"], row["scenes"], row["frames"]) == ("vggt", "walks", 1, 16)
    assert row["scale"] == pytest.approx(2.5)
    assert row["rotation"] == pytest.approx(degrees, abs=1e-5)
    assert row["translation"] == pytest.approx(0, abs=1e-9)
    assert row["focal"] == pytest.approx(0.1)
    assert "vggt" in run("stats", "--cameras").stdout


def test_no_similarity_follows_from_too_little() -> None:
    poses = np.tile(np.eye(4), (5, 1, 1))
    K = np.tile(np.eye(3), (5, 1, 1))
    assert agreement(poses, K, poses, K) is None, "all in one place"
    poses[:, 0, 3] = np.arange(5)
    lost = poses.copy()
    lost[:3] = np.nan
    assert agreement(lost, K, poses, K) is None, "two frames"


# --- diff ---------------------------------------------------------------------------------------------------


def test_a_diff_says_which_frames_differ(here: Path, space: Path) -> None:
    found = json.loads(run("diff", "sa/16", "mergeaware_sa/16", "--json").stdout)
    assert [row["scene"] for row in found["rows"]] == ["walks/one", "walks/two"]
    a, b = (sampleset.read(space / f"samples/{name}/16f-0123abcd/walks/one") for name in ("sa", "mergeaware_sa"))
    row = found["rows"][0]
    assert set(row["only_a"]) == set(a.ids) - set(b.ids)
    assert set(row["only_b"]) == set(b.ids) - set(a.ids)
    assert row["shared"] == len(set(a.ids) & set(b.ids))
    assert row["coverage"] == [a.coverage, b.coverage]
    assert row["overlap"][0] == pytest.approx(np.mean([pair["overlap"] for pair in a.pairs]))
    assert found["mean"]["coverage"][0] == pytest.approx(np.mean([row["coverage"][0] for row in found["rows"]]))
    table = run("diff", "sa/16", "mergeaware_sa/16", "--scenes", "one").stdout
    assert "walks/one" in table
    assert "two" not in table


def test_the_same_set_differs_in_nothing_and_no_shared_scene_is_said(here: Path) -> None:
    (row, _) = json.loads(run("diff", "sa/16", "sa/16", "--json").stdout)["rows"]
    assert (row["only_a"], row["only_b"], row["same_pairs"], row["same_order"]) == ([], [], 8, True)
    assert "share no scene" in refused("diff", "sa/16", "uniform/8").message
    assert "share no scene that fits 'x*'" in refused("diff", "sa/16", "sa/16", "--scenes", "x*").message
    assert "unknown sample set 'nope/8'" in refused("diff", "sa/16", "nope/8").message


class Page(HTMLParser):
    """What a page is made of: tags, words, links, titles; `open` are tags never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.titles: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            (self.titles if self.open and self.open[-1] == "title" else self.words).append(data.strip())


def test_svg_text_is_text() -> None:
    canvas = Svg(10, 10)
    canvas.text(0, 5, "a < b & c", 5)
    canvas.rect(0, 0, 1, 1, "#000000", "<script>")
    ElementTree.fromstring(canvas.render())
    assert "<script>" not in canvas.render()
