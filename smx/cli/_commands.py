"""Every command and where it is: a command is a file beside this one and its line here."""

from __future__ import annotations

# name -> (module of smx.cli, attribute: a function, or a typer app where there are subcommands), in help order
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "demo"),
    "init": ("init", "init"),
    "new": ("init", "new"),
    "schema": ("init", "schema"),
    "gen": ("gen", "gen"),
    "train": ("train", "train"),
    "eval": ("eval", "evaluate"),
    "run": ("matrix", "run"),
    "status": ("status", "status"),
    "watch": ("status", "watch"),
    "wait": ("status", "wait"),
    "ls": ("runs", "ls"),
    "show": ("runs", "show"),
    "why": ("inspect", "why"),
    "logs": ("inspect", "logs"),
    "open": ("inspect", "open_"),
    "diff": ("diff", "diff"),
    "retry": ("retry", "retry"),
    "cancel": ("cancel", "cancel"),
    "mark": ("mark", "mark"),
    "report": ("report", "report"),
    "ledger": ("ledger", "app"),
    "note": ("notes", "note"),
    "tag": ("notes", "tag"),
    "score": ("score", "score"),
    "samples": ("samples", "app"),
    "verify": ("verify", "app"),
    "tokens": ("tokens", "tokens"),
    "list": ("listing", "listing"),
    "doctor": ("doctor", "doctor"),
    "gc": ("gc", "gc"),
    "db": ("db", "app"),
}
