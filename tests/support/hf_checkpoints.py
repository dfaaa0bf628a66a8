"""Checkpoints of other architectures: transformers' own config, model and processor classes, a few thousand weights.

What of them is not the real thing: sizes, weights, and the tokenizer's words (smx's own tiny one, with the special
tokens of each family added). Chat templates are in the shape of the published ones, written for these tests.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from smx.models.tiny import TOKENIZER

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.2,
    "max_position_embeddings": 4096,
}
SIGHT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}


def template(picture: str, video: str = "") -> str:
    """A chat template in the published shape: turns, and in them what stands for each part."""
    shown = f"{{% elif part['type'] == 'video' %}}{video}" if video else ""
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% for part in message['content'] %}"
        f"{{% if part['type'] == 'image' %}}{picture}{shown}"
        "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
        "{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def tokenizer(tokens: tuple[str, ...] = (), **named: str) -> Any:
    """The tiny model's, with special `tokens` added; `named` ones are its attributes as well."""
    from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(
        tokenizer_file=str(TOKENIZER),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named,
    )
    made.add_special_tokens({"additional_special_tokens": list(tokens)}) if tokens else None
    return made


def qwen2_vl(folder: Path) -> None:
    """Qwen2-VL: video or pictures; positions from its own grid."""
    from transformers.models.qwen2_vl import configuration_qwen2_vl as c
    from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as i
    from transformers.models.qwen2_vl import processing_qwen2_vl as p
    from transformers.models.qwen2_vl import video_processing_qwen2_vl as v

    words = tokenizer()
    size = {"shortest_edge": 56 * 56, "longest_edge": 56 * 56}
    processor = p.Qwen2VLProcessor(
        i.Qwen2VLImageProcessorPil(size=size),
        words,
        v.Qwen2VLVideoProcessor(size=size),
        chat_template=template(
            "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>"
        ),
    )
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [1, 1, 2]}
    ids = {name: words.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start")}
    config = c.Qwen2VLConfig(
        text_config=TEXT | {"vocab_size": len(words), "rope_parameters": rope},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2},
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=words.convert_tokens_to_ids("<|vision_end|>"),
    )
    _write(folder, config, processor)


def internvl(folder: Path) -> None:
    """InternVL3: a video's frames are pictures with a name each."""
    from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor
    from transformers.models.internvl import configuration_internvl as c
    from transformers.models.internvl import processing_internvl as p
    from transformers.models.internvl import video_processing_internvl as v

    words = tokenizer(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    size = {"height": 56, "width": 56}
    processor = p.InternVLProcessor(
        GotOcr2ImageProcessor(size=size, crop_to_patches=False),
        words,
        v.InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=template("<IMG_CONTEXT>\n", "<video>\n"),
    )
    config = c.InternVLConfig(
        vision_config=SIGHT | {"image_size": [56, 56], "patch_size": [14, 14]},
        text_config=TEXT | {"model_type": "qwen2", "vocab_size": len(words)},
        image_token_id=words.context_image_token_id,
        image_seq_length=4,
    )
    _write(folder, config, processor)


def llava_onevision(folder: Path) -> None:
    """LLaVA-OneVision: a video is pooled frame by frame."""
    from transformers.models.llava_onevision import configuration_llava_onevision as c
    from transformers.models.llava_onevision import image_processing_llava_onevision as i
    from transformers.models.llava_onevision import processing_llava_onevision as p
    from transformers.models.llava_onevision import video_processing_llava_onevision as v

    words = tokenizer(image_token="<image>", video_token="<video>")
    size = {"height": 56, "width": 56}
    processor = p.LlavaOnevisionProcessor(
        i.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[56, 56], [56, 112]]),
        words,
        v.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=template("<image>\n", "<video>\n"),
    )
    config = c.LlavaOnevisionConfig(
        vision_config=SIGHT | {"model_type": "siglip_vision_model", "image_size": 56, "patch_size": 14},
        text_config=TEXT | {"model_type": "qwen2", "vocab_size": len(words)},
        image_token_index=words.image_token_id,
        video_token_index=words.video_token_id,
        image_grid_pinpoints=[[56, 56], [56, 112]],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    _write(folder, config, processor)


def llava_next_video(folder: Path) -> None:
    """LLaVA-NeXT-Video: pooled video frames of a CLIP."""
    from transformers.models.llava_next import image_processing_llava_next as i
    from transformers.models.llava_next_video import configuration_llava_next_video as c
    from transformers.models.llava_next_video import processing_llava_next_video as p
    from transformers.models.llava_next_video import video_processing_llava_next_video as v

    words = tokenizer(image_token="<image>", video_token="<video>")
    size = {"shortest_edge": 56}
    crop = {"height": 56, "width": 56}
    processor = p.LlavaNextVideoProcessor(
        v.LlavaNextVideoVideoProcessor(size=size, crop_size=crop),
        i.LlavaNextImageProcessor(size=size, crop_size=crop, image_grid_pinpoints=[[56, 112]]),
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>\n", "<video>\n"),
    )
    config = c.LlavaNextVideoConfig(
        vision_config=SIGHT | {"model_type": "clip_vision_model", "image_size": 56, "patch_size": 14},
        text_config=TEXT | {"model_type": "llama", "vocab_size": len(words)},
        image_token_index=words.image_token_id,
        video_token_index=words.video_token_id,
        image_grid_pinpoints=[[56, 112]],
    )
    _write(folder, config, processor)


def smolvlm(folder: Path) -> None:
    """SmolVLM2: times of frames are words of the prompt."""
    from transformers.models.smolvlm import configuration_smolvlm as c
    from transformers.models.smolvlm import image_processing_smolvlm as i
    from transformers.models.smolvlm import processing_smolvlm as p
    from transformers.models.smolvlm import video_processing_smolvlm as v

    words = tokenizer(
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
        video_token="<video>",
    )
    edges = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 56}}
    processor = p.SmolVLMProcessor(
        i.SmolVLMImageProcessor(**edges, do_image_splitting=False),
        words,
        v.SmolVLMVideoProcessor(**edges),
        image_seq_len=4,
        chat_template=template("<image>", "<video>"),
    )
    config = c.SmolVLMConfig(
        vision_config=SIGHT | {"image_size": 56, "patch_size": 14},
        text_config=TEXT | {"model_type": "llama", "vocab_size": len(words), "pad_token_id": 0},
        image_token_id=words.image_token_id,
        scale_factor=2,
    )
    _write(folder, config, processor)


def gemma3(folder: Path) -> None:
    """Gemma 3: pictures alone, attended to in both directions."""
    from transformers.models.gemma3 import configuration_gemma3 as c
    from transformers.models.gemma3 import processing_gemma3 as p
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    words = tokenizer(image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>")
    processor = p.Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": 56, "width": 56}),
        words,
        chat_template=template("<start_of_image>"),
        image_seq_length=4,
    )
    config = c.Gemma3Config(
        vision_config=SIGHT | {"image_size": 56, "patch_size": 14, "vision_use_head": False},
        text_config=TEXT | {"vocab_size": len(words), "sliding_window": 64, "query_pre_attn_scalar": 8},
        mm_tokens_per_image=4,
        image_token_index=words.image_token_id,
        boi_token_index=words.boi_token_id,
        eoi_token_index=words.eoi_token_id,
    )
    _write(folder, config, processor)


def llava(folder: Path) -> None:
    """LLaVA 1.5: pictures alone."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.llava import configuration_llava as c
    from transformers.models.llava import processing_llava as p

    words = tokenizer(image_token="<image>")
    processor = p.LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}),
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>\n"),
    )
    config = c.LlavaConfig(
        vision_config=SIGHT | {"model_type": "clip_vision_model", "image_size": 56, "patch_size": 14},
        text_config=TEXT | {"model_type": "llama", "vocab_size": len(words)},
        image_token_index=words.image_token_id,
        image_seq_length=16,
    )
    _write(folder, config, processor)


VIDEO: dict[str, Callable[[Path], None]] = {
    make.__name__: make for make in (qwen2_vl, internvl, llava_onevision, llava_next_video, smolvlm)
}  # their processors need torchvision
PICTURES: dict[str, Callable[[Path], None]] = {make.__name__: make for make in (gemma3, llava)}


def _write(folder: Path, config: Any, processor: Any) -> None:
    from transformers.models.auto.modeling_auto import AutoModelForImageTextToText

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(config)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
