"""Qwen's chat prompt as token ids: a video, a question, an answer; special tokens only where we put them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smx.errors import UserError

SYSTEM = "You are a helpful assistant."
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)  # Qwen2.5-VL's, in its order
KEYS = {
    "<|endoftext|>": "pad_token_id",
    "<|im_start|>": "bos_token_id",
    "<|im_end|>": "eos_token_id",
    "<|vision_start|>": "vision_start_token_id",
    "<|vision_end|>": "vision_end_token_id",
    "<|image_pad|>": "image_token_id",
    "<|video_pad|>": "video_token_id",
}  # where a config.json says their ids
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n" + SYSTEM + "<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)  # for other tools that open a folder smx saved; smx itself uses the methods below


@dataclass(frozen=True)
class Prompts:
    """Turns text into ids with one tokenizer. Text never becomes a special token, whatever it says."""

    tokenizer: Any  # tokenizers.Tokenizer
    ids: dict[str, int]  # the special tokens

    @classmethod
    def read(cls, file: Path) -> Prompts:
        """From a `tokenizer.json`. `UserError` where it is missing or lacks a token the prompt needs."""
        from tokenizers import Tokenizer

        if not file.is_file():
            raise UserError(f"no tokenizer at {file}", "a checkpoint folder holds tokenizer.json beside its weights")
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.encode_special_tokens = True
        ids = {token: tokenizer.token_to_id(token) for token in SPECIAL}
        needed = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>", "<|endoftext|>")
        missing = [token for token in needed if ids[token] is None]
        if missing:
            raise UserError(f"{file} has no {', '.join(missing)}", "it is not a Qwen2.5-VL tokenizer")
        return cls(tokenizer, {token: number for token, number in ids.items() if number is not None})

    @classmethod
    def of_bytes(cls, config: dict[str, Any]) -> Prompts:
        """For a checkpoint of a few thousand ids that has no tokenizer: a byte is a token, special ones by `config`."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        ids = {token: config[key] for token, key in KEYS.items()}
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        free = [number for number in range(len(letters) + len(ids)) if number not in ids.values()]
        vocabulary = dict(zip(letters, free, strict=False))
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        return cls(tokenizer, ids)

    @property
    def video(self) -> int:
        return self.ids["<|video_pad|>"]

    @property
    def pad(self) -> int:
        return self.ids["<|endoftext|>"]

    @property
    def stops(self) -> frozenset[int]:
        """Ids that end an answer."""
        return frozenset((self.ids["<|im_end|>"], self.ids["<|endoftext|>"]))

    def before(self, video_tokens: int, cameras: int = 0) -> list[int]:
        """Everything before the question: system turn, start of the user's, the video's placeholders (0: none).

        `cameras` more, of another id, follow the video's: one for each of VGGT's camera tokens that is read.
        """
        start = self.ids["<|im_start|>"]
        head = [start, *self.text(f"system\n{SYSTEM}"), self.ids["<|im_end|>"], *self.text("\n")]
        head += [start, *self.text("user\n")]
        if video_tokens:
            seen = [self.video] * video_tokens + [self.ids["<|image_pad|>"]] * cameras
            head += [self.ids["<|vision_start|>"], *seen, self.ids["<|vision_end|>"]]
        return head

    def question(self, text: str) -> list[int]:
        """The question and the opening of the assistant's turn."""
        opening = [self.ids["<|im_end|>"], *self.text("\n"), self.ids["<|im_start|>"], *self.text("assistant\n")]
        return [*self.text(text), *opening]

    def answer(self, text: str) -> list[int]:
        """A training answer, with the token that ends it."""
        return [*self.text(text), self.ids["<|im_end|>"]]

    def text(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """The words of an answer, without special tokens and outer blanks."""
        words: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return words.strip()
