"""JSON for programs: what holds for a whole table, and a record for each of its cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from smx.report.page import Style
from smx.report.records import plain, records
from smx.report.table import Table

ENDINGS = (".json",)


def write(tables: Sequence[Table], style: Style) -> str:
    """`{"tables": […]}`, also for none."""
    return json.dumps({"tables": [_table(table) for table in tables]}, indent=2, ensure_ascii=False) + "\n"


def _table(table: Table) -> dict[str, Any]:
    named = {axis: plain(axis, value) for axis, value in table.fixed.items()}
    cells = [{**place, **record} for place, record in records(table)]
    origin = {"imported": table.imported, "sources": table.sources}
    return {**named, "rows": table.rows, "cols": table.cols, **origin, "cells": cells}
