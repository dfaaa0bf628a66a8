"""Answers and training examples of a Qwen-VL: one scene's video computed once, shared by all its questions."""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache
from transformers.utils import logging as transformers_logging

from smx.models import AnswerCost, Query, Reply, SceneInput, TrainableRunner
from smx.models._vlm.batching import fork, packed, padded
from smx.models._vlm.checkpoint_json import MEMORY
from smx.models._vlm.decoding import Rule
from smx.models._vlm.device_memory import Watch, out_of_memory
from smx.models._vlm.model import IGNORED, PositionedVLM
from smx.models._vlm.options import QwenOptions, VisionOptions
from smx.models._vlm.parts import module_parts
from smx.models._vlm.pose_attention import hooks_for, scene_cameras
from smx.models._vlm.position_ids import prompt_positions, temporal_stride, text_positions
from smx.models._vlm.preprocess import MEAN, STD, prepare
from smx.models._vlm.prompt import CHAT_TEMPLATE, Prompts
from smx.tokens import TEMPORAL_PATCH
from smx.workspace import open_weights

log = logging.getLogger(__name__)

PACK = 4096  # tokens of questions that are answered at once: what they take beside the video stays bounded


@dataclass(frozen=True)
class Clip:
    """What of a prompt is the same for every question: ids and positions up to the question, and the video."""

    ids: list[int]
    positions: np.ndarray  # [3, len(ids)]
    next_position: int
    video: dict[str, Tensor]  # pixel_values, grid_thw [1, 3], cameras [1, T, …]; empty without video


class VideoRunner(TrainableRunner):
    """A loaded model."""

    def __init__(
        self,
        model: PositionedVLM,
        prompts: Prompts,
        options: VisionOptions,
        *,
        base: str,
        untrained: bool,
        info: dict[str, Any],
    ) -> None:
        self.model, self.prompts, self.options, self.base, self.info = model, prompts, options, base, info
        self.info["questions"] = "packed" if model.takes_block_mask else "padded"
        self._built = untrained
        self._clip: tuple[SceneInput, Clip] | None = None
        self._ahead: tuple[SceneInput, Clip] | None = None  # as `_clip_of` made it on another thread
        self._prefix: tuple[SceneInput | None, int, DynamicCache, Clip] | None = None
        self._most: int | None = None  # questions that fit into memory at once, once that has been met
        self._halved = 0

    def has_trained(self, steps: int) -> None:
        self.model.losses += steps

    @property
    def untrained(self) -> bool:  # type: ignore[override]  # read-only here: the model knows
        """Weights are as the seed left them."""
        return self._built and not self.model.losses

    def answer(self, scene: SceneInput | None, queries: Sequence[Query], max_new_tokens: int) -> Iterator[Reply]:
        """Greedy answers, in order. The video's keys and values are computed once and kept for the next call."""
        for outcome in self.outcomes(scene, queries, max_new_tokens):
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    def outcomes(
        self, scene: SceneInput | None, queries: Sequence[Query], max_new_tokens: int
    ) -> Iterator[Reply | Exception]:
        """As many questions at once as `PACK` and memory allow; by half as many where memory is not enough."""
        self.model.eval()
        watch = Watch(self.model.device)
        broken = self._broken(scene) if self.share_prefix else None
        if broken is not None:
            watch.make_room()
            yield from [broken] * len(queries)
            return
        video = watch.lap() / max(len(queries), 1)
        left = list(queries)
        while left:
            batch = self._fitting(left)
            found = self._tried(scene, batch, max_new_tokens)
            if found is None:
                self._most = len(batch) // 2
                self._halved += 1
                watch.make_room()
                continue
            left = left[len(batch) :]
            cost = AnswerCost(video + watch.lap() / len(batch), len(batch), watch.peak(), self._halved)
            yield from [replace(each, cost=cost) if isinstance(each, Reply) else each for each in found]

    def adapt(self, adapter: Path) -> None:
        """Merge a LoRA adapter into the language model and the vision encoder."""
        from smx.models._vlm.adapter import merge

        self.info |= merge(self.model.vlm, adapter)

    def prepare(self, scene: SceneInput) -> None:
        """Pixels, ids and positions of a scene's video, kept for `clip`."""
        self._ahead = scene, self._clip_of(scene)

    def answer_together(self, asked: Sequence[tuple[SceneInput | None, Query]], max_new_tokens: int) -> list[Reply]:
        """Greedy answers to questions about several scenes (or about none) in one batch, padded on the left.

        In float32 word for word what `answer` says one by one; in lower precision padding may change the last bits.
        """
        self.model.eval()
        assert len({scene is None for scene, _ in asked}) == 1, "all with frames or all without"
        clips = [self.clip(scene) for scene, _ in asked]
        questions = [self.prompts.question(query.text) for _, query in asked]
        lengths = [len(clip.ids) + len(ids) for clip, ids in zip(clips, questions, strict=True)]
        width = max(lengths)
        ids = torch.full((len(asked), width), self.prompts.pad)
        where = torch.zeros(3, len(asked), width, dtype=torch.long)
        for row, (clip, question) in enumerate(zip(clips, questions, strict=True)):
            ids[row, -lengths[row] :] = torch.tensor([*clip.ids, *question])
            after = text_positions(clip.next_position, len(question))
            where[:, row, -lengths[row] :] = torch.from_numpy(np.concatenate((clip.positions, after), axis=1))
        mask = (torch.arange(width) >= width - torch.tensor(lengths)[:, None]).long()
        video = _together([clip.video for clip in clips])
        said = self.model.greedy(
            ids.to(self.model.device),
            where.to(self.model.device),
            DynamicCache(config=self.model.vlm.config.text_config),
            self._rule(max_new_tokens),
            mask.to(self.model.device),
            **{key: value.to(self.model.device) for key, value in video.items()},
        )
        return [self._reply(n, new) for new, n in zip(said, lengths, strict=True)]

    def parts(self) -> dict[str, list[torch.nn.Parameter]]:
        """By the names of the tensors."""
        return module_parts(self.model)

    def module(self) -> PositionedVLM:
        """The trainable module, its hooks attached for good: a checkpointed backward recomputes through them."""
        if self.model.hooks is not None and not self.model.hooks.attached:
            self.model.hooks.__enter__()
        return self.model.train()

    def example(self, scene: SceneInput, query: Query, answer: str) -> dict[str, Tensor]:
        """`input_ids, labels` [L], `position_ids` [3, L], the length of what a scene's examples share, its video."""
        clip = self.clip(scene)
        question, reply = self.prompts.question(query.text), self.prompts.answer(answer)
        ids = [*clip.ids, *question, *reply]
        labels = [IGNORED] * (len(ids) - len(reply)) + reply
        after = text_positions(clip.next_position, len(question) + len(reply))
        return {
            "input_ids": torch.tensor(ids),
            "labels": torch.tensor(labels),
            "position_ids": torch.from_numpy(np.concatenate((clip.positions, after), axis=1)),
            "shared": torch.tensor(len(clip.ids)),
            **clip.video,
        }

    def collate(self, examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Examples of one clip as one row, so that its video is computed once; rows padded on the right.

        `input_ids, labels, parts` [B, L], `position_ids` [3, B, L], videos in a row, and `weights` [B, L] of labels
        where examples have them [L]. Each example sees what it
        would see alone (`PositionedVLM.forward`).
        """
        clips: dict[int, list[dict[str, Tensor]]] = {}
        for number, example in enumerate(examples):
            clips.setdefault(id(example["pixel_values"]) if self.model.packs else number, []).append(example)
        rows = [_row(members) for members in clips.values()]

        def pad(key: str, value: int) -> Tensor:
            longest = max(row[key].shape[-1] for row in rows)
            padded = [torch.nn.functional.pad(r[key], (0, longest - r[key].shape[-1]), value=value) for r in rows]
            return torch.stack(padded)

        weights = {"weights": pad("weights", 0)} if "weights" in examples[0] else {}
        batch = weights | {
            "input_ids": pad("input_ids", self.prompts.pad),
            "labels": pad("labels", IGNORED),
            "position_ids": pad("position_ids", 0).transpose(0, 1).contiguous(),
            "parts": pad("parts", -1),
        }
        return batch | _together([members[0] for members in clips.values()])

    def save(self, folder: Path) -> None:
        """A folder that transformers opens too, and `smx.json`: the options and positions it was made with."""
        folder.mkdir(parents=True, exist_ok=True)
        self._save_weights(folder)
        open_weights(folder)
        self.prompts.tokenizer.save(str(folder / "tokenizer.json"))
        _write(folder / "tokenizer_config.json", _tokenizer_config())
        for name, content in self._processor_files().items():
            _write(folder / name, content)
        (folder / "chat_template.jinja").write_text(self._chat_template(), encoding="utf-8")
        memory = {
            "base": self.base,
            "options": self.options.model_dump(mode="json"),
            "positions": self.options.positions(),
            "untrained": self.untrained,
        }
        _write(folder / MEMORY, memory)

    def _processor_files(self) -> dict[str, Any]:
        """Configurations that other tools prepare frames by."""
        return {"preprocessor_config.json": _processor_config(self.options.pixels)}

    def _chat_template(self) -> str:
        return CHAT_TEMPLATE

    def _save_weights(self, folder: Path) -> None:
        """Weights and config.json."""
        with without_progress_bars():
            self.model.vlm.save_pretrained(folder)

    def clip(self, scene: SceneInput | None) -> Clip:
        """Prompt up to the question. The last scene's is kept: questions and examples come scene by scene."""
        if scene is None:
            ids = self.prompts.before(0)
            return Clip(ids, text_positions(0, len(ids)), len(ids), {})
        if self._clip is None or self._clip[0] is not scene:
            ahead = self._ahead
            made = ahead[1] if ahead is not None and ahead[0] is scene else self._clip_of(scene)
            self._clip = scene, self._completed(scene, made)
        return self._clip[1]

    @abstractmethod
    def _clip_of(self, scene: SceneInput) -> Clip:
        """The prompt of a scene up to the question, as far as it can be made without the device."""

    def _completed(self, scene: SceneInput, clip: Clip) -> Clip:
        """`clip` with what only the model can say."""
        return clip

    def _broken(self, scene: SceneInput | None) -> Exception | None:
        """What the scene's video raises, which is the outcome of each of its questions."""
        try:
            self._prefix_of(scene)
        except Exception as error:  # noqa: BLE001 - recorded for each question
            return error
        return None

    def _fitting(self, queries: Sequence[Query]) -> list[Query]:
        """The first of `queries` that are answered at once: one at least."""
        if not self.share_prefix:
            return list(queries[:1])
        lengths = np.cumsum([self._length(query) for query in queries])
        return list(queries[: max(1, min(int((lengths <= PACK).sum()), self._most or len(queries)))])

    def _length(self, query: Query) -> int:
        try:
            return len(self.prompts.question(query.text))
        except Exception:  # noqa: BLE001 - what is no text raises again where it is asked
            return 0

    def _tried(self, scene: SceneInput | None, batch: Sequence[Query], limit: int) -> list[Reply | Exception] | None:
        """An outcome each; None where memory was not enough for all of them at once.

        Anything else that is raised for several is found out one by one: only the question it is about fails.
        """
        try:
            return self._at_once(scene, batch, limit)
        except Exception as error:  # noqa: BLE001 - a question's outcome
            if len(batch) == 1:
                return [error]
            if out_of_memory(error):
                return None
        alone = [self._tried(scene, [query], limit) for query in batch]
        return [outcome for found in alone for outcome in found or ()]

    def _at_once(self, scene: SceneInput | None, batch: Sequence[Query], limit: int) -> list[Reply | Exception]:
        if not self.share_prefix:
            self._clip = self._ahead = None
            return list(self.answer_together([(scene, query) for query in batch], limit))
        cache, clip = self._prefix_of(scene)
        questions = [self.prompts.question(query.text) for query in batch]
        asked = (self.model, cache, clip.next_position, questions, self._rule(limit), clip.ids)
        said = packed(*asked) if self.model.takes_block_mask else padded(*asked, self.prompts.pad)
        return [self._reply(len(clip.ids) + len(ids), each) for ids, each in zip(questions, said, strict=True)]

    def _rule(self, limit: int) -> Rule:
        stops = self.prompts.stops if self.decoding.stops is None else self.decoding.stops
        return Rule(limit, stops, self.decoding.repetition_penalty)

    def _reply(self, prompt: int, said: list[int]) -> Reply:
        return Reply(self.prompts.decode(said), prompt, len(said))

    @torch.inference_mode()
    def _prefix_of(self, scene: SceneInput | None) -> tuple[DynamicCache, Clip]:
        """A cache to go on from. What is kept is never written to: a layer's update makes new tensors."""
        now = scene, self.model.losses
        if self._prefix is None or self._prefix[0] is not scene or self._prefix[1] != now[1]:
            self._prefix = None  # the last scene's make room first
            clip, cache = self.clip(scene), DynamicCache(config=self.model.vlm.config.text_config)
            video = {key: value.to(self.model.device) for key, value in clip.video.items()}
            where = torch.from_numpy(clip.positions)[:, None].to(self.model.device)
            hooks = self.model.hooks
            if hooks is not None and video:
                with hooks:
                    self.model.hidden(self._tensor([clip.ids]), where, cache=cache, **video)
            else:
                self.model.hidden(self._tensor([clip.ids]), where, cache=cache, **video)
            self._prefix = *now, cache, clip
        return fork(self._prefix[2]), self._prefix[3]

    def _tensor(self, ids: list[list[int]]) -> Tensor:
        return torch.tensor(ids, device=self.model.device)


class QwenRunner(VideoRunner):
    """A loaded Qwen2.5-VL."""

    options: QwenOptions
    _told_of_spacing = False

    def __init__(
        self, vlm: Any, prompts: Prompts, options: QwenOptions, *, base: str, untrained: bool, info: dict[str, Any]
    ) -> None:
        model = PositionedVLM(vlm, prompts.video, hooks_for(vlm.model.language_model, options))
        super().__init__(model, prompts, options, base=base, untrained=untrained, info=info)

    def _stride(self, scene: SceneInput) -> float:
        """Step in time between two tubelets' positions."""
        options = self.options
        if options.rope.fixed_stride() is None and scene.duration is None and not self._told_of_spacing:
            self._told_of_spacing = True
            log.warning("%s: no duration is known, so seconds per grid come from the frames' mean spacing", scene.scene)
        each = 1 if options.tubelets == "repeat" else TEMPORAL_PATCH
        return temporal_stride(options.rope, scene.timestamps, each, scene.duration)

    def _clip_of(self, scene: SceneInput) -> Clip:
        options, repeat = self.options, self.options.tubelets == "repeat"
        pixels, layout = prepare(scene.frames, options.pixels, repeat=repeat)
        stride = self._stride(scene)
        ids = self.prompts.before(layout.tokens)
        start = ids.index(self.prompts.video)
        positions, after = prompt_positions(len(ids), start, layout.merged, stride, options.rope.text_start)
        video = {"pixel_values": torch.from_numpy(pixels), "grid_thw": torch.tensor([layout.grid])}
        if options.wants_cameras():
            video["cameras"] = scene_cameras(scene, options.pose, repeat)[None]
        return Clip(ids, positions, after, video)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """transformers draws bars on stderr by default; a run has its own progress."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _row(examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Examples of one clip behind each other, what they share only once; `parts` says whose each token is."""
    shared = int(examples[0]["shared"])
    row = {
        key: torch.cat((examples[0][key][..., :shared], *(example[key][..., shared:] for example in examples)), dim=-1)
        for key in ("input_ids", "labels", "position_ids", "weights")
        if key in examples[0]
    }
    lengths = torch.tensor([shared, *(len(example["input_ids"]) - shared for example in examples)])
    return row | {"parts": torch.repeat_interleave(torch.arange(len(lengths)), lengths)}


def _together(videos: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The video of each row, one after the other; clips may differ in length."""
    shared = [key for key in videos[0] if key in ("pixel_values", "grid_thw")]
    batch = {key: torch.cat([each[key] for each in videos]) for key in shared}
    if "cameras" in videos[0]:
        batch["cameras"] = _stack_cameras([each["cameras"] for each in videos])
    return batch


def _stack_cameras(cameras: list[Tensor]) -> Tensor:
    longest = max(camera.shape[1] for camera in cameras)
    out = cameras[0].new_zeros(len(cameras), longest, *cameras[0].shape[2:])
    for row, camera in zip(out, cameras, strict=True):
        row[: camera.shape[1]] = camera[0]
    return out


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 32768,
    }


def _processor_config(pixels: tuple[int, int]) -> dict[str, Any]:
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "image_mean": MEAN.tolist(),
        "image_std": STD.tolist(),
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": pixels[0], "longest_edge": pixels[1]},
    }


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
