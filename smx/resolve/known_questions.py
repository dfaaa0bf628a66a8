"""What a file of predictions answers, as far as it is on this machine: the bench, its questions, its subsets."""

from __future__ import annotations

from pathlib import Path

from smx import plugins
from smx.benches import BaseBench, Question
from smx.benches.table import Bench as Table
from smx.errors import UserError
from smx.resolve import own_benches
from smx.resolve.context import Context
from smx.resolve.data import Data
from smx.workspace import Workspace


def bench_and_questions(
    workspace: Workspace, name: str, root: Path | None
) -> tuple[BaseBench, dict[str, Question], Path | None]:
    """(the bench `name`, its questions by id where they are here, the folder of its questions).

    `root`: that folder. Else it is the site file's, or where a download left it. `UserError` for an unknown bench.
    """
    if own_benches.is_own(workspace, name) and name in own_benches.names(workspace):
        own = own_benches.read(workspace, name)
        table = Table.parse(own.options, f"bench {name}")
        return table, {q.id: q for q in table.questions(own.questions)}, own.questions
    own_benches.require_known(workspace, name)
    bench: BaseBench = plugins.load("benches", name)()
    if not bench.needs_root:
        return bench, {}, None
    try:
        folder = Data(Context(workspace)).root(name, True, str(root) if root else None)
        return bench, {q.id: q for q in bench.questions(folder)}, folder
    except UserError:
        if root is not None:
            raise
        return bench, {}, None


def subset_ids(name: str, subset: str, questions: dict[str, Question], root: Path | None) -> set[str]:
    """Ids of a published subset of a bench: `debiased`, or `pruned`, which is all others."""
    if subset not in ("debiased", "pruned"):
        raise UserError(f"unknown subset {subset!r}", "valid: debiased, pruned; or a file of ids: --ids FILE")
    if not questions:
        raise UserError(f"which questions of {name!r} are {subset}? its files are not here", "--root DIR")
    kept = plugins.load("benches", name).parse({"subset": "debiased"}, f"bench {name}").questions(root)
    debiased = {question.id for question in kept}
    return debiased if subset == "debiased" else questions.keys() - debiased
