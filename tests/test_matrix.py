"""Experiment files: a lab's matrix must expand to exactly the runs it means, and every slip be named where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.commands import data, smx

from smx.errors import UserError
from smx.resolve.matrix import Group, read, requests


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def matrix(text: str) -> Path:
    path = Path("m.yaml")
    path.write_text(text, encoding="utf-8")
    return path


def expanded(text: str, *groups: str) -> list[dict[str, Any]]:
    return [request for _, request in requests(read(matrix(text)), groups)]


def refused(text: str, *groups: str) -> UserError:
    with pytest.raises(UserError) as caught:
        expanded(text, *groups)
    return caught.value


def test_a_grid_is_every_combination_in_reading_order() -> None:
    runs = expanded("groups: {a: {grid: {model: [tiny, chance], frames: [8, 16]}}}")
    assert runs == [
        {"model": "tiny", "frames": 8},
        {"model": "tiny", "frames": 16},
        {"model": "chance", "frames": 8},
        {"model": "chance", "frames": 16},
    ]


def test_a_list_beside_a_grid_adds_its_runs() -> None:
    runs = expanded("groups: {a: {grid: {frames: [8]}, list: [{model: chance}, {model: frequency}]}}")
    assert runs == [{"frames": 8}, {"model": "chance"}, {"model": "frequency"}]


def test_what_is_shared_is_said_once_and_the_nearest_word_counts() -> None:
    runs = expanded(
        """
        common: {bench: rooms, frames: 8, seed: 1}
        groups:
          a:
            common: {frames: 16}
            grid: {model: [tiny]}
            list: [{model: chance, seed: 2}]
        """
    )
    assert runs == [
        {"bench": "rooms", "frames": 16, "seed": 1, "model": "tiny"},
        {"bench": "rooms", "frames": 16, "seed": 2, "model": "chance"},
    ]


def test_exclude_drops_only_what_matches_every_key() -> None:
    text = "groups: {{a: {{grid: {{model: [tiny, chance], frames: [8, 16]}}, exclude: [{}]}}}}"
    left = expanded(text.format("{model: chance, frames: 16}"))
    assert {"model": "chance", "frames": 16} not in left
    assert len(left) == 3
    assert expanded(text.format("{model: chance}, {frames: 16}")) == [{"model": "tiny", "frames": 8}]


def test_exclude_also_sees_what_is_shared_and_what_is_nested() -> None:
    runs = expanded(
        """
        common: {seed: 1}
        groups:
          a:
            kind: gen
            grid: {sampler: [mergeaware_sa], sampler_options.window: [10, 20]}
            exclude: [{seed: 1, sampler_options.window: 20}]
        """
    )
    assert runs == [{"seed": 1, "sampler": "mergeaware_sa", "sampler_options": {"window": 10}}]


def test_seeds_are_a_dimension_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    matrix("groups: {a: {kind: gen, common: {dataset: rooms}, grid: {sampler: [random, sa], seed: [0, 1, 2]}}}")
    planned = data(capsys, "run", "m.yaml", "--dry-run")
    # Nothing in `sa` is drawn, so its three seeds are one run and are computed once.
    assert [row["run"].rsplit("-", 1)[0] for row in planned] == ["random-16f-rooms"] * 3 + ["sa-16f-rooms"]


def test_dotted_keys_and_whole_mappings_mix() -> None:
    runs = expanded(
        """
        groups:
          a:
            kind: gen
            common: {sampler: mergeaware_sa, sampler_options: {min_overlap: 0.2}}
            grid: {sampler_options.window: [5, 10]}
        """
    )
    assert [r["sampler_options"] for r in runs] == [
        {"min_overlap": 0.2, "window": 5},
        {"min_overlap": 0.2, "window": 10},
    ]


GROUPS = """
groups:
  first: {kind: gen, list: [{sampler: sa}]}
  second: {list: [{model: chance}]}
  third: {list: [{model: frequency}]}
"""


def test_named_groups_run_alone_and_in_the_order_asked() -> None:
    assert expanded(GROUPS) == [{"sampler": "sa"}, {"model": "chance"}, {"model": "frequency"}]
    assert expanded(GROUPS, "third") == [{"model": "frequency"}]
    assert expanded(GROUPS, "third", "first") == [{"model": "frequency"}, {"sampler": "sa"}]
    assert [group.kind for group, _ in requests(read(Path("m.yaml")))] == ["gen", "eval", "eval"]


def test_an_unknown_group_names_the_closest() -> None:
    error = refused(GROUPS, "secnd")
    assert error.message == "unknown group 'secnd'"
    assert "did you mean second?" in error.hint


def test_a_train_block_trains_each_model_first_and_evaluates_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    matrix(
        """
        groups:
          a:
            train: {data: [rooms], recipe.steps: 4, data_options: {rooms: {train_scenes: 1, frames: 24}}}
            common: {bench_options: {scenes: 1, frames: 24}}
            grid: {model: [tiny, chance], sampler: [uniform, sa], frames: [4]}
        """
    )
    planned = data(capsys, "run", "m.yaml", "--dry-run")
    names = [row["run"].rsplit("-", 1)[0] for row in planned]
    assert names == [
        "uniform-4f-rooms",  # of the training scenes
        "tiny-rooms-uniform-4f",
        "uniform-4f-rooms",  # of the test scenes
        "tiny-rooms-uniform-4f",
        "sa-4f-rooms",
        "tiny-rooms-sa-4f",
        "sa-4f-rooms",
        "tiny-rooms-sa-4f",
        "chance-rooms",  # nothing in it to train, and no frames to choose: one run
    ]
    assert [row["kind"] for row in planned] == ["gen", "train", "gen", "eval"] * 2 + ["eval"]
    assert all(row["action"] == "run" for row in planned)


def test_what_trains_alike_is_trained_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The train block's sampler and frames win, so that one training serves every way of looking."""
    matrix(
        """
        groups:
          a:
            train: {data: [rooms], sampler: uniform, frames: 4, recipe.steps: 4, data_options.rooms.train_scenes: 1}
            common: {bench_options: {scenes: 1, frames: 24}, model: tiny}
            grid: {sampler: [uniform, sa], frames: [4, 8]}
        """
    )
    kinds = [row["kind"] for row in data(capsys, "run", "m.yaml", "--dry-run")]
    assert kinds.count("train") == 1
    assert kinds.count("eval") == 4


@pytest.mark.parametrize(
    "text",
    [
        "groups: {}",
        "groups: {a: {}}",
        "groups: {a: {grid: {frames: []}}}",
        "groups: {a: {list: []}}",
        "groups: {a: {list: [{model: tiny}], exclude: [{model: tiny}]}}",
    ],
)
def test_a_matrix_without_runs_is_no_success(text: str) -> None:
    error = refused(text)
    assert "no runs" in error.message
    assert "grid" in error.hint
    assert "exclude" in error.hint


def test_a_group_without_runs_is_named() -> None:
    assert "(empty)" in refused("groups: {empty: {}, full: {list: [{model: chance}]}}", "empty").message
    assert len(expanded("groups: {empty: {}, full: {list: [{model: chance}]}}")) == 1


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("groups:\n  a:\n    list: [{model: tiny}\n  b: 1\n", "line 4, column 3"),
        ("groups:\n\ta: 1\n", "line 2, column 1"),
        ("groups: {a: *nothing}", "line 1, column 13"),
        ("groups:\n  a: {list: []}\n  a: {list: []}\n", "line 3, column 3: the key 'a' appears twice"),
        ("groups: {a: {grid: {seed: [0], model: [tiny], seed: [1]}}}", "the key 'seed' appears twice"),
        ("? [a, b]\n: c\n", "line 1, column 3"),
        ("a: !!python/object/apply:os.system ['true']", "line 1, column 4"),
    ],
)
def test_broken_yaml_is_named_by_line_and_column(text: str, where: str) -> None:
    message = refused(text).message
    assert message.startswith("m.yaml, line ")
    assert where in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'groups' is missing"),
        ("- a", "found a list"),
        ("descripton: x\ngroups: {}", "did you mean description?"),
        ("groups: {a: {gird: {model: [tiny]}}}", "did you mean grid?"),
        ("groups: {a: {grid: {modle: [tiny]}}}", "did you mean model?"),
        ("groups: {a: {grid: {sampler_option.window: [1]}}}", "did you mean sampler_options?"),
        ("groups: {a: {list: [{modle: tiny}]}}", "did you mean model?"),
        ("groups: {a: {list: [{model: tiny}], exclude: [{fraems: 8}]}}", "did you mean frames?"),
        ("common: {sampel: 1}\ngroups: {a: {}}", "did you mean sampler?"),
        ("groups: {a: {list: [{model: tiny}], train: {setps: 1}}}", "group 'a': train: unknown key 'setps'"),
        ("groups: {a: {kind: gen, list: [{bench: rooms}]}}", "unknown key 'bench'"),
        ("groups: {a: {kind: gen, list: [{sampler: sa}], train: {}}}", "only a group of kind eval can train first"),
        ("groups: {a: {kind: evla, list: []}}", "'gen', 'train' or 'eval'"),
        ("groups: {a: {grid: {frames: 8}}}", "groups.a.grid.frames: Input should be a valid list (got 8)"),
        ("groups: {a: {list: [tiny]}}", "groups.a.list.0: Input should be a valid dictionary"),
        ("groups: {a: {list: [{model: tiny, variant: {}}]}}", "unknown key 'variant'"),
    ],
)
def test_a_slip_in_a_matrix_is_named_with_the_closest_valid_key(text: str, said: str) -> None:
    error = refused(text)
    assert "m.yaml" in error.message
    assert said in str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: {a: {list: [{model: tinny}]}}", "did you mean tiny?"),
        ("groups: {a: {list: [{model: 5}]}}", "valid string"),
        ("groups: {a: {list: [{bench: [rooms]}]}}", "valid string"),
        ("groups: {a: {kind: gen, grid: {frames: [8, 15]}}}", "use 14 or 16 frames"),
        ("groups: {a: {kind: gen, grid: {frames: [8, eight]}}}", "valid integer"),
        ("groups: {a: {list: [{model: tiny}], train: {model: chance}}}", "no weights to train"),
    ],
)
def test_one_wrong_run_of_a_matrix_stops_it_before_any_is_made(
    text: str, said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix(text)
    assert smx("run", "m.yaml") == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in place.iterdir()] == ["m.yaml"]


def test_a_file_that_is_not_text_is_said_so() -> None:
    Path("m.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        read(Path("m.yaml"))
    with pytest.raises(UserError, match=r"cannot read gone\.yaml"):
        read(Path("gone.yaml"))


def test_set_overrides_every_run_of_a_matrix(capsys: pytest.CaptureFixture[str]) -> None:
    matrix("groups: {a: {kind: gen, common: {dataset: rooms}, grid: {sampler: [uniform, sa], frames: [8]}}}")
    runs = data(capsys, "run", "m.yaml", "--dry-run", "--set", "frames=4", "--set", "scenes=[test-001]")
    assert [(row["run"].rsplit("-", 1)[0], row["items"]) for row in runs] == [
        ("uniform-4f-rooms", 1),
        ("sa-4f-rooms", 1),
    ]
    assert smx("run", "m.yaml", "--set", "fraems=4") == 2
    assert "did you mean frames?" in capsys.readouterr().err


def test_an_experiment_is_found_by_name_and_listed_with_its_runs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("experiments").mkdir()
    Path("experiments/mine.yaml").write_text("description: my own\ngroups: {a: {list: [{model: chance}]}}")
    assert len(data(capsys, "run", "mine", "--dry-run")) == 1
    assert smx("list", "experiments") == 0
    assert "mine  my own" in capsys.readouterr().out
    assert data(capsys, "list", "experiments", "mine") == [{"model": "chance"}]
    assert smx("run", "mien") == 2
    assert "did you mean mine?" in capsys.readouterr().err


def test_the_shipped_experiments_and_templates_expand() -> None:
    """What a newcomer copies must run as it is."""
    root = Path(__file__).parents[1]
    files = [
        *sorted((root / "experiments").glob("*.yaml")),
        *sorted((root / "templates" / "experiments").glob("*.yaml")),
    ]
    assert files
    for file in files:
        if file.name != "site.yaml":
            assert list(requests(read(file))), file


def test_a_group_may_not_carry_what_no_group_has() -> None:
    with pytest.raises(UserError, match="unknown key 'excludes'"):
        Group.parse({"excludes": []}, "group")
