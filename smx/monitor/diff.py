"""What differs between two runs: spec, inputs, code, scores, and the items that came out differently."""

from __future__ import annotations

from typing import Any

from smx.dotted import flat
from smx.errors import UserError
from smx.monitor.status import clip_end
from smx.runfolder import RunFolder

MOST_ITEMS = 10
_NO_RESULT = ("prompt_tokens", "new_tokens", "seconds")


def compare(a: RunFolder, b: RunFolder, without: tuple[frozenset[int], frozenset[int]]) -> dict[str, Any]:
    """Everything that differs, as plain data; pairs are (a, b). `without`: excluded attempts of each.

    `UserError` for runs of different kinds.
    """
    kinds = a.spec["kind"], b.spec["kind"]
    if kinds[0] != kinds[1]:
        raise UserError(f"{a.path.name} is {kinds[0]}, {b.path.name} is {kinds[1]}", "compare runs of one kind")
    results = a.result() or {}, b.result() or {}
    done = a.outcome(without[0]).done, b.outcome(without[1]).done
    shared = sorted(done[0].keys() & done[1].keys())
    changed = [item for item in shared if _said(done[0][item]["data"]) != _said(done[1][item]["data"])]
    return {
        "kind": kinds[0],
        "runs": [a.path.name, b.path.name],
        "spec": _pairs(flat(a.spec["spec"]), flat(b.spec["spec"])),
        "data": _pairs(a.spec["inputs"], b.spec["inputs"]),
        "plugins": _pairs(a.spec["plugins"], b.spec["plugins"]),
        "code": [_code(results[0]), _code(results[1])],
        "packages": _pairs(_packages(a), _packages(b)),
        "scores": _scores(*results),
        "items": {
            "shared": len(shared),
            "only": [sorted(done[0].keys() - done[1].keys()), sorted(done[1].keys() - done[0].keys())],
            "differ": [_item(item, done[0][item]["data"], done[1][item]["data"]) for item in changed],
        },
    }


def lines(found: dict[str, Any], width: int = 100) -> list[str]:
    """The same as text."""
    text = [f"a  {found['runs'][0]}", f"b  {found['runs'][1]}"]
    for part in ("spec", "data", "plugins", "packages"):
        if found[part]:
            text.append(part)
            text += [clip_end(f"  {key}: {_short(x)} → {_short(y)}", width) for key, (x, y) in found[part].items()]
        elif part in ("spec", "data"):
            text.append(f"{part}: the same")
    x, y = (", ".join(code) or "?" for code in found["code"])
    text.append(f"code: the same ({x})" if x == y else f"code: {x} → {y}")
    if found["scores"]:
        text.append("scores")
        first = next(iter(found["scores"])).split(" ")[0]  # of the other scorers, the averages are enough
        shown = {k: v for k, v in found["scores"].items() if k.startswith(f"{first} ") or " all." in k}
        wide = max(map(len, shown))
        for name, (x, y) in shown.items():
            delta = f"  {100 * (y - x):+.2f}" if x is not None and y is not None else ""
            text.append(f"  {name:<{wide}}  {_percent(x)} → {_percent(y)}{delta}")
    return text + _items(found["items"], width)


def _items(items: dict[str, Any], width: int) -> list[str]:
    text = [f"items: {items['shared']} in both, {len(items['differ'])} of them differ"]
    for label, only in zip("ab", items["only"], strict=True):
        if only:
            text.append(clip_end(f"  only in {label}: {len(only)} ({', '.join(only[:MOST_ITEMS])})", width))
    better = sum(entry["gain"] > 0 for entry in items["differ"])
    worse = sum(entry["gain"] < 0 for entry in items["differ"])
    if better or worse:
        text.append(f"  {better} better in b, {worse} worse")
    telling = sorted(items["differ"], key=lambda entry: (-abs(entry["gain"]), entry["item"]))
    for entry in telling[:MOST_ITEMS]:
        text.append(clip_end(f"  {entry['item']}: {_short(entry['a'])} → {_short(entry['b'])}{entry['truth']}", width))
    if len(telling) > MOST_ITEMS:
        text.append(f"  … and {len(telling) - MOST_ITEMS} more: --json")
    return text


def _item(item: str, a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """One item that came out differently; `gain`: how much better b's answer scores."""
    if "text" in a and "text" in b:
        scorer = next(iter(a["scores"].keys() & b["scores"].keys()), None)
        gain = (b["scores"][scorer]["score"] or 0) - (a["scores"][scorer]["score"] or 0) if scorer else 0.0
        return {"item": item, "a": a["text"], "b": b["text"], "truth": f"  (truth: {a['truth']})", "gain": gain}
    pairs = _pairs(flat(a), flat(b))
    sides = [", ".join(f"{key} {_short(pair[side])}" for key, pair in list(pairs.items())[:3]) for side in (0, 1)]
    return {"item": item, "a": sides[0], "b": sides[1], "truth": "", "gain": 0.0}


def _said(data: dict[str, Any]) -> Any:
    """What an item came out as: for a question the answer, for a scene or training step all it recorded."""
    return data["text"] if "text" in data else {k: v for k, v in data.items() if k not in _NO_RESULT}


def _pairs(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = [*a, *(key for key in b if key not in a)]
    return {key: (a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)}


def _code(result: dict[str, Any]) -> list[str]:
    return list(result.get("code", ()))


def _packages(run: RunFolder) -> dict[str, Any]:
    attempts = run.attempts()
    origin = attempts[-1].plan["provenance"] if attempts else {}
    return {"smx": origin.get("smx"), "python": origin.get("python"), **origin.get("packages", {})}


def _scores(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[float | None, float | None]]:
    def numbers(result: dict[str, Any]) -> dict[str, float]:
        found: dict[str, float] = {}
        for scorer, summary in (result.get("scores") or {}).items():
            for name in ("all", "acc", "mra"):
                found |= {f"{scorer} {name}.{k}": v for k, v in summary.get(name, {}).items() if v is not None}
            found |= {f"{scorer} {k}": entry["score"] for k, entry in summary["types"].items()}
        return found

    x, y = numbers(a), numbers(b)
    return {key: (x.get(key), y.get(key)) for key in dict.fromkeys((*x, *y))}


def _percent(value: float | None) -> str:
    return "     –" if value is None else f"{100 * value:6.2f}"


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 36 else text[:35] + "…"
