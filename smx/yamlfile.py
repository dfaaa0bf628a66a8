"""Read YAML safely, with errors that name file, line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smx.errors import UserError


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping. `UserError` with line and column where it is broken, or has a key twice."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text") from None
    try:
        content = yaml.load(text, Loader=_strict_loader())  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context or "not valid YAML"
        raise UserError(
            f"{path}{where}: {problem}", "mend the YAML there; strings with ':' or '#' need quotes"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        found = "a list" if isinstance(content, list) else "none"
        raise UserError(f"{path}: expected `key: value` lines at the top, found {found}")
    return content


def _strict_loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Safe, and refuses a key given twice (YAML would silently keep the last)."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key_node, _ in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    continue  # refused below
                key = key_node.value
                if key in seen and key != "<<":
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} appears twice", key_node.start_mark
                    )
                seen.add(key)
            return super().construct_mapping(node, deep)

    return Loader
