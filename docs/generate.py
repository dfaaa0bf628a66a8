"""Keeps what the pages show true: `make docs` writes it again, tests/test_docs.py compares.

In any Markdown file of the repository:

    <!-- help: smx gen -->       the fenced block below is what `smx gen --help` prints
    <!-- file: PATH -->          the fenced block below is written to PATH in the page's workspace
    <!-- python -->              each `>>> …` of the fenced block below is run in the page's Python, in order, and
                                 followed by what it printed
    <!-- run -->                 each line `$ smx …` of the fenced block below is run there, in order, and
                                 followed by what it printed

A page's workspace is a scratch folder that `smx init` made, shown as `~/lab`. In the shown output `…` stands
for anything (times, progress); where a command's output no longer fits, it is written anew.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

REPOSITORY = Path(__file__).resolve().parent.parent
IMPORTS = REPOSITORY / "docs" / "imports.svg"
WIDTH = 100
SHOWN_AS = "~/lab"
BLOCK = re.compile(
    r"^<!-- (?P<mark>help|file|run|python)(?:: (?P<what>[^\n]+?))? -->\n\n?(?P<open>```\w*)\n(?P<body>.*?)^```$",
    re.M | re.S,
)
COMMAND = re.compile(r"^(\$ [^\n]+\n)((?:(?!\$ )[^\n]*\n)*)", re.M)  # a line that is typed, and what it prints


def main() -> None:
    """Write every page again; the names of those that changed go to standard output."""
    for page in pages():
        old = page.read_text(encoding="utf-8")
        new = refreshed(old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{page.relative_to(REPOSITORY)}\n")
    if not IMPORTS.exists() or IMPORTS.read_text(encoding="utf-8") != import_graph():
        IMPORTS.write_text(import_graph(), encoding="utf-8")
        sys.stdout.write(f"{IMPORTS.relative_to(REPOSITORY)}\n")


def import_graph() -> str:
    """The picture in docs/architecture.md: the package as it is now, in the layers of tests/test_layers.py."""
    picture = _module(REPOSITORY / "docs" / "import_picture.py")
    rules = _module(REPOSITORY / "tests" / "test_layers.py")
    edges: dict[str, set[str]] = {unit: set() for layer in rules.LAYERS for unit in layer}
    for each in rules.imports_of(rules.PACKAGE):
        source, target = rules.unit(each.source), rules.unit(each.target)
        if source in edges and target in edges and source != target:
            edges[source].add(target)
    return str(picture.picture(rules.LAYERS, edges))


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def pages() -> list[Path]:
    """Every Markdown file of the repository; hidden folders and what runs leave behind are none of it."""
    left_behind = ("runs", "samples", "cache", "demo")
    tops = [p for p in REPOSITORY.iterdir() if not p.name.startswith(".") and p.name not in left_behind]
    return sorted(page for top in tops for page in ([top] if top.suffix == ".md" else top.rglob("*.md")))


def refreshed(text: str) -> str:
    """The page with every marked block as it is today."""

    names: dict[str, object] = {}  # of the page's Python

    def block(match: re.Match[str]) -> str:
        body = match["body"]
        if match["mark"] == "help":
            body = help_text(match["what"].split()[1:])
        elif match["mark"] == "file":
            path = Path(match["what"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
        elif match["mark"] == "python":
            body = "".join(session(body, names))
        else:
            body = "".join(command + output(command, shown) for command, shown in COMMAND.findall(body))
        return match[0][: match.start("body") - match.start()] + body + "```"

    if not BLOCK.search(text):
        return text
    with workspace():
        return BLOCK.sub(block, text)


def help_text(command: list[str]) -> str:
    """What `smx <command> --help` prints, `WIDTH` characters wide and without colour."""
    return typed(f"smx {' '.join([*command, '--help'])}").strip("\n") + "\n"


def session(text: str, names: dict[str, object]) -> Iterator[str]:
    """Each example of a Python session, followed by what it prints now."""
    for example in doctest.DocTestParser().get_examples(text):
        stream = io.StringIO()
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(io.StringIO()):
            exec(compile(example.source, "<page>", "single"), names)
        prompts = [f"{'>>>' if not k else '...'} {line}".rstrip() for k, line in enumerate(example.source.splitlines())]
        yield "\n".join(prompts) + "\n" + either(example.want, as_shown(stream.getvalue()))


def output(command: str, shown: str) -> str:
    """What a line `$ …` prints now; `shown`, where that is the same with `…` standing for anything."""
    return either(shown, typed(command.removeprefix("$ ").strip()))


def either(shown: str, printed: str) -> str:
    """`shown`, where `printed` is the same with `…` standing for anything."""
    same = re.fullmatch(".*?".join(map(re.escape, shown.split("…"))), printed, re.S)
    return shown if same else printed


def typed(line: str) -> str:
    """Output of one command line, both streams as a terminal mixes them; `|| echo "exit $?"` works as in a shell."""
    from smx.cli import run

    command, _, after = line.partition(" || ")
    assert after in ("", 'echo "exit $?"'), f"not a line that can be run here: {line}"
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        code = run(shlex.split(command)[1:])
    assert after or not code, f"{line}: exit code {code}\n{stream.getvalue()}"
    return as_shown(stream.getvalue() + (f"exit {code}\n" if code else ""))


def as_shown(text: str) -> str:
    """What was printed, with this machine's folders and times as a page has them."""
    text = text.replace(str(Path.cwd()), SHOWN_AS).replace(str(Path.home()), "~")
    return "".join(f"{shown.rstrip()}\n" for shown in steady(text).splitlines())


def steady(text: str) -> str:
    """`…` for what the clock decides: today's date and time, and lines of progress."""
    today = datetime.now(UTC).date()
    text = re.sub(rf"{today}(?:T[\d:]+| {today:%A})?|\b\d\d:\d\d(?::\d\d)?\b", "…", text)
    ends = r"(?:done|failed|cancelled|preempted) \d+/\d+[^\n]*"
    progress = rf"(?:gen|train|eval) +\S+: (?:running|attention [^\n]*|{ends})\n"
    return re.sub(rf"(?:^{progress})+", "…\n", text, flags=re.M)


@contextlib.contextmanager
def workspace() -> Iterator[None]:
    """A scratch workspace as the current folder; nothing of it stays, in the process either."""
    from typer import rich_utils

    from smx import plugins
    from smx.cli.init import make_workspace

    before = set(sys.modules)
    plain = {name: value for name, value in os.environ.items() if name not in ("SMX_WORKSPACE", "FORCE_COLOR")}
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {**plain, "COLUMNS": str(WIDTH), "NO_COLOR": "1"}, clear=True),
        patch.multiple(rich_utils, MAX_WIDTH=WIDTH, COLOR_SYSTEM=None, FORCE_TERMINAL=False),
        patch.object(plugins, "_extra_folders", []),
        contextlib.chdir(folder),
    ):
        make_workspace(Path())
        try:
            yield
        finally:
            for name in set(sys.modules) - before:
                if name.startswith("smx_workspace_"):
                    del sys.modules[name]


if __name__ == "__main__":
    main()
