"""`smx verify`: does this installation still compute what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from smx.verify import As, Stage, Verdict

app = typer.Typer(name="verify", no_args_is_help=True, help="Does this installation still compute what was recorded.")

Checkpoint = Annotated[Path, typer.Argument(help="Folder with config.json and weights.", show_default=False)]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda.")]
Dtype = Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="Precision to compute in.")]
Attention = Annotated[
    Literal["sdpa", "eager", "flash_attention_2"], typer.Option(help="Attention of the language model.")
]


@app.callback()
def verify() -> None:
    """Does this installation still compute what was recorded."""


@app.command()
def record(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(help="Folder to make: the record.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option(
            help="Variant to run it as: smx list models.", show_default="as it was trained, else its base's defaults"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the pictures, words and cameras it is fed.")] = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    attention: Attention = "sdpa",
) -> None:
    """Record what a checkpoint computes, stage by stage.

    Pictures, words and, for a variant with poses, cameras drawn from the seed
    go through the model; inputs, what every stage gave, the variant's options
    and the versions it was made with are kept in OUT.

    Example: smx verify record ~/checkpoints/Spatial-MLLM-v1.1 records/prope --model prope
    """
    from smx.cli._common import print_tables, say
    from smx.verify import record as make

    _refuse_device(device)
    variant = None if model is None else _as(model)
    stages = make(checkpoint, out, variant=variant, seed=seed, device=device, dtype=dtype, attention=attention)
    print_tables(_recorded(stages))
    say(f"recorded in {out}. Compare later, or on another machine: smx verify check {checkpoint} {out}")


@app.command()
def check(
    checkpoint: Checkpoint,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="record", help="The record's folder.", show_default="the checkpoint's own"),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(help="Largest difference, in standard deviations of a stage.", show_default="2e-4"),
    ] = None,
    device: Device = "cpu",
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="Precision to compute in.", show_default="the record's, else float32"),
    ] = None,
    attention: Annotated[
        Literal["sdpa", "eager", "flash_attention_2"] | None,
        typer.Option(help="Attention of the language model.", show_default="the record's, else sdpa"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare what a checkpoint computes here with a record, stage by stage.

    Says how far every stage moved, in standard deviations of what was
    recorded, and names the first that is off. Position ids and generated ids
    must be equal. Exit code 1 where a stage is off.

    Example: smx verify check ~/checkpoints/Spatial-MLLM-v1.1 records/spatialmllm
    """
    from smx.cli._common import out_json, print_tables
    from smx.verify import LIMIT
    from smx.verify import check as compare

    _refuse_device(device)
    verdict = compare(
        checkpoint, folder, limit=LIMIT if limit is None else limit, device=device, dtype=dtype, attention=attention
    )
    if as_json:
        out_json(verdict.as_json())
    else:
        print_tables(_compared(verdict.stages))
        _conclude(verdict)
    if verdict.first_off:
        raise typer.Exit(1)


def _as(name: str) -> As:
    from smx.cli._common import variant
    from smx.verify import As

    found = variant(name)
    return As(name, found.base, found.options().model_dump(mode="json"))


def _recorded(stages: list[Stage]) -> Table:
    from rich.table import Table

    table = Table("stage", "shape")
    table.add_column("scale", justify="right")
    for stage in stages:
        table.add_row(stage.name, _shape(stage), _number(stage.scale))
    return table


def _compared(stages: list[Stage]) -> Table:
    from rich.table import Table

    table = Table("stage", "shape")
    for name in ("max |difference|", "of its scale", "limit"):
        table.add_column(name, justify="right")
    table.add_column("")
    for stage in stages:
        limit = "equal" if stage.scale is None and not stage.limit else _number(stage.limit)
        verdict = "same" if stage.same else f"OFF {stage.note}".rstrip()
        table.add_row(stage.name, _shape(stage), _number(stage.difference), _number(stage.relative), limit, verdict)
    return table


def _conclude(verdict: Verdict) -> None:
    from smx.cli._common import out

    made = verdict.made
    if made is None:
        out("The record does not say what it was made with.")
    else:
        packages = made.get("packages", {})
        known = [f"smx {made.get('smx')}", *(f"{name} {packages.get(name)}" for name in ("torch", "transformers"))]
        changed = "; ".join(verdict.changed())
        variant = f" as {verdict.model}" if verdict.model else ""
        out(f"Recorded{variant} with {', '.join(known)}. " + (f"Since: {changed}." if changed else "Nothing changed."))
    if verdict.first_off is None:
        out(f"All {len(verdict.stages)} stages are as recorded.")
    else:
        off = sum(not stage.same for stage in verdict.stages)
        out(f"{off} of {len(verdict.stages)} stages are off; the first is {verdict.first_off}.")


def _shape(stage: Stage) -> str:
    return "x".join(map(str, stage.shape))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _refuse_device(device: str) -> None:
    from smx.errors import UserError
    from smx.verify import devices

    if device not in (known := devices()):
        raise UserError(f"there is no device {device!r} here", f"devices: {', '.join(known)}")
