"""A Qwen2.5-VL of transformers, unmodified, run with our positions and (through hooks) our pose attention."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from smx.models._vlm.decoding import Answers, Rule
from smx.models._vlm.pose_attention import KEYWORD, PoseHooks, token_transforms

IGNORED = -100  # label of tokens that carry no loss
HEAD, EMBEDDING = "vlm.lm_head.weight", "vlm.model.language_model.embed_tokens.weight"


class PositionedVLM(nn.Module):
    """Wraps `Qwen2_5_VLForConditionalGeneration`; every method takes explicit position ids [3, B, L].

    Pixels are [tubelets of the whole batch, 1176] with `grid_thw` [B, 3]; `cameras` (pose variants only) are
    [B, T, slots, 2, 4, 4] float32: P and P⁻¹ of each tubelet, in one or two slots.
    """

    def __init__(self, vlm: Any, video_token: int, hooks: PoseHooks | None) -> None:
        super().__init__()
        self.vlm = vlm
        self.video_token = video_token
        self.hooks = hooks
        self.losses = 0  # training losses so far: weights may have changed after each
        if vlm.lm_head.weight is vlm.model.language_model.embed_tokens.weight:
            self.register_state_dict_post_hook(_leave_out_tied)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_put_back_tied)  # type: ignore[no-untyped-call]

    @property
    def device(self) -> torch.device:
        device: torch.device = self.vlm.lm_head.weight.device
        return device

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        labels: Tensor,
        parts: Tensor,
        pixel_values: Tensor | None = None,
        grid_thw: Tensor | None = None,
        cameras: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> CausalLMOutputWithPast:
        """`.loss`: cross entropy of the tokens whose label is not -100, summed by `weights` [B, L], or their mean.

        `parts` [B, L] says whose a token is: 0 what the examples of a row share, k the k-th example, -1 padding.
        """
        if self.training:
            self.losses += 1
        hidden = self.hidden(input_ids, position_ids, self._mask(parts), pixel_values, grid_thw, cameras)
        targets = labels[:, 1:]
        asked = targets != IGNORED
        logits = self.vlm.lm_head(hidden[:, :-1][asked])
        each = nn.functional.cross_entropy(logits.float(), targets[asked], reduction="none")
        return CausalLMOutputWithPast(loss=each.mean() if weights is None else (each * weights[:, 1:][asked]).sum())

    def logits(self, input_ids: Tensor, position_ids: Tensor, **inputs: Tensor | None) -> Tensor:
        """[B, L, vocabulary], without a cache."""
        logits: Tensor = self.vlm.lm_head(self.hidden(input_ids, position_ids, **inputs))
        return logits

    def next_logits(
        self, input_ids: Tensor, position_ids: Tensor, cache: DynamicCache, **inputs: Tensor | None
    ) -> Tensor:
        """[B, vocabulary] after the last of `input_ids`, which follow what `cache` holds and are added to it."""
        logits: Tensor = self.vlm.lm_head(self.hidden(input_ids, position_ids, cache=cache, **inputs)[:, -1])
        return logits

    @torch.inference_mode()
    def greedy(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        cache: DynamicCache,
        rule: Rule,
        mask: Tensor | None = None,
        **video: Tensor,
    ) -> list[list[int]]:
        """The most likely ids after each row of `input_ids` [B, L], its whole prompt, as `rule` has it.

        Rows are added to `cache`, which is empty. Shorter ones are padded on the left, which `mask` [B, L] says (0:
        padding). Hooks are on for the first step where there is video, and off for all others. `FloatingPointError`
        where logits are not finite.
        """
        kept = torch.ones_like(input_ids, dtype=torch.bool) if mask is None else mask.bool()
        answers = Answers([row[own].tolist() for row, own in zip(input_ids, kept, strict=True)], rule)
        while True:
            with self.hooks if self.hooks is not None and video else nullcontext():
                logits = self.next_logits(input_ids, position_ids, cache, attention_mask=mask, **video)
            going = answers.going
            answers.add(logits[going])
            if not answers.going:
                return answers.said
            newest = logits.argmax(-1)  # those that ended go on with nobody listening
            newest[answers.going] = torch.tensor(answers.last(), device=newest.device)
            input_ids, position_ids, video = newest[:, None], position_ids[..., -1:] + 1, {}
            mask = None if mask is None else torch.cat((mask, mask.new_ones(len(mask), 1)), dim=1)

    def hidden(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor | dict[str, Tensor] | None = None,
        pixel_values: Tensor | None = None,
        grid_thw: Tensor | None = None,
        cameras: Tensor | None = None,
        cache: DynamicCache | None = None,
    ) -> Tensor:
        """[B, L, hidden] out of the language model. Hooks must be attached where there is video."""
        model = self.vlm.model
        embeds = model.language_model.embed_tokens(input_ids)
        extra: dict[str, Any] = {}
        if pixel_values is not None:
            assert grid_thw is not None, "pixels come with their grid"
            video = input_ids == self.video_token
            embeds, extra = self.with_video(embeds, video, pixel_values, grid_thw)
            if self.hooks is not None:
                assert self.hooks.attached, "without hooks the variant's options would be ignored silently"
                if self.hooks.reads_cameras:
                    assert cameras is not None, "a pose variant needs the cameras of its frames"
                    merge = model.visual.spatial_merge_size
                    extra[KEYWORD] = token_transforms(video, grid_thw, cameras, merge)
        hidden: Tensor = model.language_model(
            None,  # no ids: embeddings
            attention_mask,
            position_ids,
            cache,  # by its place: it is called past_key_values before transformers 5.24, and no more from 5.40 on
            inputs_embeds=embeds,
            use_cache=cache is not None,
            **extra,
        ).last_hidden_state
        return hidden

    def with_video(
        self, embeds: Tensor, video: Tensor, pixel_values: Tensor, grid_thw: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        """`embeds` [B, L, hidden] with the vision encoder's tokens where `video` [B, L]; more for the LLM."""
        features = self.vlm.model.visual(pixel_values.to(embeds.dtype), grid_thw=grid_thw).pooler_output
        return _filled(embeds, video, features), {}

    @property
    def packs(self) -> bool:
        """Whether several examples can share a row: flash attention takes no mask but padding."""
        text = self.vlm.config.text_config
        return text._attn_implementation in ("sdpa", "eager") and set(text.layer_types) == {"full_attention"}

    @property
    def takes_block_mask(self) -> bool:
        """Whether attention to what is cached can be said token by token (`block_mask`)."""
        return self.packs

    def block_mask(self, seen: Tensor) -> Any:
        """What `hidden` takes as its mask for one row: `seen` [new tokens, cached and new tokens] bool."""
        return {"full_attention": additive(seen, self.vlm.dtype)}

    def _mask(self, parts: Tensor) -> Tensor | dict[str, Tensor]:
        """Attention to what came before and is shared or of the same example, as the backend wants it."""
        if not self.packs:
            return (parts >= 0).long()
        same = (parts[:, None, :] == 0) | (parts[:, None, :] == parts[:, :, None])
        allowed = same.tril()[:, None]
        if self.vlm.config.text_config._attn_implementation == "eager":  # which adds it to the logits
            allowed = (~allowed).to(self.vlm.dtype) * torch.finfo(self.vlm.dtype).min
        return {"full_attention": allowed}

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """As transformers' Trainer asks for it."""
        self.vlm.activation_checkpointing_enable(**options)


def additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """[1, 1, queries, keys] to add to logits: 0 where `seen` [queries, keys], else the lowest number."""
    return torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)[None, None]


def _filled(embeds: Tensor, video: Tensor, features: Tensor) -> Tensor:
    assert int(video.sum()) == len(features), f"{int(video.sum())} placeholders for {len(features)} tokens"
    return embeds.masked_scatter(video[..., None], features.to(embeds.dtype))


def _leave_out_tied(_: nn.Module, state: dict[str, Any], prefix: str, __: Any) -> None:
    """safetensors refuses a tensor that is there twice, as the tied head of a checkpoint in training would be."""
    state.pop(prefix + HEAD)


def _put_back_tied(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    if prefix + EMBEDDING in state:
        state.setdefault(prefix + HEAD, state[prefix + EMBEDDING])
