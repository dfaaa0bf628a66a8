"""What kind of run it is, read from its spec: the columns of `runs` by which tables tell runs apart."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any

# Keys that specs have got since digests of them are kept, and what all runs did before: those stay alike.
_SINCE = {"decoding": "greedy"}


@lru_cache(maxsize=256)
def spec_columns(spec: str) -> dict[str, Any]:
    """Columns of `runs` that follow from a spec, canonical JSON. Only its own keys count, not those of plugins.

    `where_filter` is canonical JSON; `seedless` is the digest (64 hex digits) of the spec without its seed, equal
    for runs that only their seed tells apart.
    """
    content = json.loads(spec)
    bench_options = content.get("bench_options") or {}
    asks = content.get("kind") == "eval"
    where = bench_options.get("where")
    return {
        "blind": bool(content.get("blind")),
        # Specs of before these keys: what all runs did then.
        "input": content.get("input", "video") if asks else None,
        "frame_order": content.get("frame_order", "given") if asks else None,
        "imported": bool(content.get("imported")),
        "base": _text((content.get("variant") or {}).get("base")),
        "subset": _text(bench_options.get("subset")),
        "where_filter": _canonical(where) if where else None,
        "question_file": _text(bench_options.get("file")),
        "seedless": seedless(content),
    }


def seedless(content: dict[str, Any]) -> str:
    """Digest of a spec without its own seed."""
    rest = {key: value for key, value in content.items() if key != "seed" and _SINCE.get(key) != value}
    return hashlib.sha256(_canonical(rest).encode()).hexdigest()


def _text(value: object) -> str | None:
    """A bench of somebody's own may mean anything by an option of that name."""
    return value if value is None or isinstance(value, str) else _canonical(value)


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
