"""`smx run FILE --set`: what is set is changed, and nothing beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smx.cli import run

MATRIX = """
groups:
  main:
    list:
      - {model: frequency, bench_options: {scenes: 1, train_scenes: 1, where: {question_type: object_counting}}}
"""


def test_one_option_set_leaves_the_others_of_its_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: `--set bench_options.prompt=…` drops the file's filter, and other questions are asked."""
    (tmp_path / "m.yaml").write_text(MATRIX)
    command = ["-w", str(tmp_path), "run", str(tmp_path / "m.yaml"), "--dry-run", "--json"]
    asked = []
    for more in ([], ["--set", "bench_options.prompt=spatial-mllm"]):
        assert run([*command, *more]) == 0
        asked.append(json.loads(capsys.readouterr().out))
    (plain,), (changed,) = asked
    assert plain["fingerprint"] != changed["fingerprint"]
    assert plain["items"] == changed["items"] > 0
