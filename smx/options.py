"""The base of everything that is configured: frozen pydantic models whose errors speak plainly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from smx.errors import UserError, nearest


class Options(BaseModel):
    """Frozen, typed options: unknown keys are refused, fields are hashed into fingerprints.

    A plugin class derives from this through its kind's base class. `version` counts changes of
    behaviour: raise it when the same options would give other results, and old runs stay apart. `later` names the
    fields added to a plugin that has been used: at those values, runs of before are found again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    version: ClassVar[int] = 1
    later: ClassVar[Mapping[str, Any]] = {}  # fields that runs did not have at first -> what those did

    def resolved(self) -> dict[str, Any]:
        """What is hashed: every option with its default written out, as plain JSON.

        Of `later`, only what differs from the runs of before: saying the same must not make them other runs.
        """
        content = self.model_dump(mode="json")
        return {key: value for key, value in content.items() if key not in self.later or value != self.later[key]}

    @classmethod
    def parse(cls, values: dict[str, Any], what: str) -> Self:
        """Validate `values`; `what` names the object in messages ("sampler mergeaware_sa").

        Raises `UserError`: a wrong key names the closest valid one, a wrong value what is allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise explain(error, what, cls) from None


def explain(error: ValidationError, what: str, cls: type[BaseModel]) -> UserError:
    """A pydantic error as one `UserError`, a line per problem."""
    lines, hints = [], []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            valid = _fields_at(cls, problem["loc"][:-1])
            lines.append(f"{what}: unknown key {where!r}")
            hints.append(nearest(str(problem["loc"][-1]), valid, "valid keys") if valid else "it has no options")
        elif problem["type"] == "missing":
            lines.append(f"{what}: {where!r} is missing")
        else:
            message = problem["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
            value = f" (got {problem['input']!r})" if where and not isinstance(problem["input"], dict) else ""
            lines.append(f"{what}: {where + ': ' if where else ''}{message}{value}")
    return UserError("\n".join(lines), "\n".join(dict.fromkeys(hints)))


def _fields_at(cls: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        field = cls.model_fields.get(str(part))
        for inner in (field.annotation, *get_args(field.annotation)) if field else ():
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                cls = inner
    return list(cls.model_fields)
