"""A model of transformers at work: its own processor makes the prompt, its own `generate` the answer. Needs torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from smx.errors import SceneError, UserError
from smx.models import AnswerCost, Query, Reply, Runner, SceneInput
from smx.models._vlm.device_memory import Watch
from smx.models._vlm.loading import named_dtype
from smx.models._vlm.runner import without_progress_bars

if TYPE_CHECKING:
    from smx.models._hf.options import HFOptions

TICKS = 1000  # a second has as many, where frames are numbered for a processor: it knows whole numbers only


class HFRunner(Runner):
    """A loaded model. Questions are asked one by one, each with its frames."""

    def __init__(self, model: Any, processor: Any, options: HFOptions, info: dict[str, Any]) -> None:
        self.model, self.processor, self.options = model, processor, options
        self._take_over_decoding()
        self.shows_video = _shows_video(processor, options)
        self.reads_times = self.shows_video and _reads_times(self)
        self.info = info | {
            "shown": "a video" if self.shows_video else "pictures",
            "reads_times": self.reads_times,
            "questions": "one by one",
        }

    def answer(self, scene: SceneInput | None, queries: Sequence[Query], max_new_tokens: int) -> Iterator[Reply]:
        """Greedy answers, in order."""
        watch = Watch(self.model.device)
        for query in queries:
            started = time.perf_counter()
            prompt, ids = self.generated(scene, query, max_new_tokens)
            text = self.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
            cost = AnswerCost(time.perf_counter() - started, 1, watch.peak())
            yield Reply(text, prompt, len(ids), cost)

    @torch.inference_mode()
    def generated(self, scene: SceneInput | None, query: Query, limit: int) -> tuple[int, list[int]]:
        """(tokens of the prompt, ids of the answer without the one that ends it)."""
        inputs = self.inputs(scene, query.text)
        prompt = int(inputs["input_ids"].shape[1])
        stops = self._stops if self.decoding.stops is None else self.decoding.stops
        out = self.model.generate(
            **inputs,
            max_new_tokens=limit,
            repetition_penalty=self.decoding.repetition_penalty,
            eos_token_id=sorted(stops) or None,
        )
        ids = out[0, prompt:].tolist()
        ends = [place for place, token in enumerate(ids) if token in stops]
        return prompt, ids[: ends[0]] if ends else ids

    def inputs(self, scene: SceneInput | None, text: str) -> Any:
        """The processor's tensors for one question about a scene (None: without frames), on the model's device."""
        content: list[dict[str, Any]] = []
        arguments = dict(self.options.processor)
        if scene is not None and self.shows_video:
            content.append({"type": "video", "video": scene.frames})
            arguments |= {"do_sample_frames": False, "video_metadata": [[self._metadata(scene)]]}
        elif scene is not None:
            content += [{"type": "image", "image": _picture(frame)} for frame in scene.frames]
        content.append({"type": "text", "text": text})
        inputs = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            sanitize_control_tokens=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs=arguments,
        )
        kept = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
        return {
            name: value.to(self.model.device, self.model.dtype if value.is_floating_point() else value.dtype)
            for name, value in kept.items()
        }

    def _take_over_decoding(self) -> None:
        """Leave of generation_config.json how an answer ends, and nothing else that `generate` would apply unasked."""
        from transformers.generation.configuration_utils import GenerationConfig

        before, tokenizer = self.model.generation_config, self.processor.tokenizer
        ends = tokenizer.eos_token_id if before.eos_token_id is None else before.eos_token_id
        self._stops = frozenset(ends if isinstance(ends, list | tuple) else () if ends is None else (ends,))
        pad = tokenizer.pad_token_id
        if pad is None:  # only ever stands behind an answer that has ended
            pad = min(self._stops, default=0)
        self.model.generation_config = GenerationConfig(
            do_sample=False, num_beams=1, pad_token_id=pad, cache_implementation=before.cache_implementation
        )

    def _metadata(self, scene: SceneInput) -> Any:
        """When each frame was taken, as processors want it. `SceneError` where that is read and nothing tells."""
        times = np.asarray(scene.timestamps, np.float64)
        if np.isnan(times).any():
            if self.reads_times:
                raise SceneError(
                    f"{scene.scene}: the model is told when its frames were taken, which nothing tells of them; "
                    "--input frames shows a list of pictures, two a second"
                )
            times = np.arange(len(times)) / 2
        return metadata(times, scene.duration, scene.frames.shape[1:3])


def metadata(times: np.ndarray, duration: float | None, size: tuple[int, ...]) -> Any:
    """transformers' `VideoMetadata` of frames at `times` seconds [n], of a clip that lasts `duration`; size (H, W)."""
    from transformers.video_utils import VideoMetadata

    numbers = np.round((times - min(float(times.min()), 0.0)) * TICKS).astype(int)
    lasts = duration
    if lasts is None:
        lasts = float(np.ptp(times)) * len(times) / max(len(times) - 1, 1) or len(times) / 2
    total = max(round(lasts * TICKS), int(numbers.max()) + 1)
    return VideoMetadata(total, TICKS, size[1], size[0], lasts, None, numbers.tolist())


def from_folder(folder: Path, options: HFOptions, *, device: str, dtype: str) -> HFRunner:
    """A runner with the weights and the processor of `folder`, which `check` has looked at."""
    from transformers.models.auto.modeling_auto import AutoModelForImageTextToText

    processor = processor_of(folder)
    attention = None if options.attention == "auto" else options.attention
    try:
        with without_progress_bars():
            model, report = AutoModelForImageTextToText.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=named_dtype(dtype),
                attn_implementation=attention,
                output_loading_info=True,
            )
    except (ImportError, ValueError) as error:
        raise UserError(
            f"{folder} cannot be built: {_first_line(error)}", "try another attention:, or mend it"
        ) from None
    for kind in ("missing_keys", "mismatched_keys"):
        if report[kind]:
            raise UserError(f"{folder}: {kind.replace('_', ' ')} on loading, first {sorted(map(str, report[kind]))[0]}")
    model = model.to(device).eval()
    weights = list(model.parameters())
    info = {
        "architecture": type(model).__name__,
        "processor": type(processor).__name__,
        "attention": model.config._attn_implementation or "eager",
        "attention_reason": "auto: transformers' choice" if attention is None else "as the variant says",
        "dtype": str(weights[0].dtype).removeprefix("torch."),
        "device": str(weights[0].device),
        "parameters": sum(weight.numel() for weight in weights),
        **({"unread_tensors": len(report["unexpected_keys"])} if report["unexpected_keys"] else {}),
    }
    return HFRunner(model, processor, options, info)


def processor_of(folder: Path) -> Any:
    """The checkpoint's own processor. `UserError` where a package that it needs is not installed."""
    from transformers.models.auto.processing_auto import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ImportError, OSError, ValueError) as error:
        raise UserError(
            f"the processor of {folder} cannot be built: {_first_line(error)}",
            "most processors of videos need torchvision, some more: pip install 'smx[hf]'",
        ) from None
    if not hasattr(processor, "tokenizer"):
        raise UserError(f"{folder} has a tokenizer and no processor of pictures", "copy preprocessor_config.json to it")
    return processor


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _shows_video(processor: Any, options: HFOptions) -> bool:
    """Whether frames go in as a video. `UserError` where that is asked for and cannot be."""
    template = str(processor.chat_template or processor.tokenizer.chat_template or "")
    can = getattr(processor, "video_processor", None) is not None and "video" in template
    if options.show == "video" and not can:
        raise UserError(f"{type(processor).__name__} takes no video", "show: pictures, or auto")
    return can and options.show != "pictures"


def _reads_times(runner: HFRunner) -> bool:
    """Whether a prompt or its other inputs change with the times of the frames: tried, on four black frames."""
    frames = np.zeros((4, 56, 56, 3), np.uint8)

    def shown(apart: float) -> dict[str, torch.Tensor]:
        runner.reads_times = False
        return dict(runner.inputs(SceneInput("", frames, np.arange(4) * apart, duration=4 * apart), "?"))

    slow, fast = shown(30.0), shown(1.0)
    return any(slow[name].shape != fast[name].shape or not torch.equal(slow[name], fast[name]) for name in slow)


def _picture(frame: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(frame)
