"""What a report needs beside runs and scores, in one query each: what runs were made from, and where they are weak."""

from __future__ import annotations

from smx.registry.store import Registry


def table_inputs(registry: Registry) -> dict[str, tuple[str, str]]:
    """Run -> the digests of its questions and frames, separated by spaces, and its weights; "" for what it has not."""
    rows = registry.query(
        """select fingerprint, group_concat(case when role in ('bench', 'frames') then input end, ' '),
                  max(case when role = 'checkpoint' then input end)
           from (select fingerprint, role, input from run_inputs
                 where role in ('bench', 'frames', 'checkpoint') order by fingerprint, role)
           group by fingerprint"""
    )
    return {fingerprint: (data or "", weights or "") for fingerprint, data, weights in rows}


def weak_types(registry: Registry) -> dict[str, dict[str, list[str]]]:
    """Run -> scorer -> question types at which always giving the most frequent answer would do as well."""
    weak: dict[str, dict[str, list[str]]] = {}
    for run, scorer, kind in registry.query(
        "select fingerprint, scorer, task from scores where metric = 'type' and majority_gain_low <= 0"
    ):
        weak.setdefault(run, {}).setdefault(scorer, []).append(kind)
    return weak
