"""Makes the tiny model's tokenizer, `_tiny_tokenizer.json`: byte-level BPE with Qwen's special tokens.

Run once, by hand: `python -m smx.models._tiny_tokenizer`. The file it writes travels with the package, so the
ids of a trained tiny model keep their meaning. Digits stay single tokens (numbers are most of the answers).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smx.models._vlm.prompt import SPECIAL, SYSTEM

FILE = Path(__file__).with_name("_tiny_tokenizer.json")
VOCABULARY = 1280
SENTENCES = 6000
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"  # Qwen's, without 's

_THINGS = """
chair table sofa bed desk lamp door window cabinet shelf bookshelf plant television monitor stool bin
fridge fridges boxes stools plants lamps shelves sofas beds cabinets desks tables
pillow backpack box rug picture mirror sink toilet bathtub refrigerator stove microwave washer printer keyboard
curtain bench wardrobe dresser nightstand fireplace ball cube cylinder cone pyramid sphere column crate barrel
"""
THINGS = _THINGS.split()
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "brown", "black", "white", "grey")
SIDES = ("left", "right", "back", "front", "front-left", "front-right", "back-left", "back-right")
TURNS = ("Go forward until", "Turn Left", "Turn Right", "Turn Back", "Turn Around")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def train(file: Path = FILE, seed: int = 0) -> None:
    """Train on templated questions about rooms and write `file`. The same seed writes the same bytes."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    steps: list[Any] = [
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(random.Random(seed)), trainer)
    tokenizer.save(str(file))


def _sentences(rng: random.Random) -> Iterator[str]:
    for _ in range(SENTENCES):
        a, b, c, d = rng.sample(THINGS, 4)
        if rng.random() < 0.3:
            a, b = f"{rng.choice(COLOURS)} {a}", f"{rng.choice(COLOURS)} {b}"
        number, share = rng.randint(0, 400), rng.random()
        options = "\n".join(f"{letter}. {thing}" for letter, thing in zip("ABCD", (a, b, c, d), strict=True))
        sides = "\n".join(f"{x}. {side}" for x, side in zip("ABCD", rng.sample(SIDES, 4), strict=True))
        question = rng.choice(
            (
                f"How many {a}(s) are in this room?",
                f"How many {a}s can be seen in the rooms, and how many are near the {b}?",
                f"Measuring from the closest point of each object, what is the distance between the {a} and the {b} "
                "(in meters)?",
                f"What is the length of the longest dimension (length, width, or height) of the {a}, measured in "
                "centimeters?",
                "What is the size of this room (in square meters)? If multiple rooms are shown, estimate the size of "
                "the combined space.",
                f"Measuring from the closest point of each object, which of these objects ({a}, {b}, {c}, {d}) is the "
                f"closest to the {c}?\nOptions:\n{options}",
                f"If I am standing by the {a} and facing the {b}, is the {c} to my front-left, front-right, back-left, "
                f"or back-right? The directions refer to the quadrants of a Cartesian plane.\nOptions:\n{sides}",
                f"If I am standing by the {a} and facing the {b}, is the {c} to the left or the right of the {b}? An "
                f"object is to my back if I would have to turn at least 135 degrees in order to face it.\n{sides}",
                f"You are a robot beginning at the {a} facing the {b}. You want to navigate to the {c}. You will "
                f"perform the following actions (Note: for each [please fill in], choose either {', '.join(TURNS)}): "
                f"1. Go forward until the {b} 2. [please fill in] 3. Go forward until the {c}. You have reached the "
                "final destination.",
                "What will be the first-time appearance order of the following categories in the video: "
                f"{a}, {b}, {c}, {d}?\nOptions:\nA. {a}, {c}, {b}, {d}\nB. {d}, {b}, {a}, {c}",
                f"The {a} is {number / 10:.1f} meters away from the {b}, and the {c} is {rng.choice(COLOURS)}.",
                f"There are {rng.choice(NUMBERS)} walls, {number} tiles and {share:.2f} of the floor is free.",
                f"I am facing a {a} and there is a {b} behind me. What is on my {rng.choice(SIDES)}?",
                f"How many {a} does the video show, and how large are all of the rooms in it, added up?",
                f"Imagine standing where the {a} stands and looking towards the {b}. Would the {c} be to your left, to "
                "your right, at your back or in front? At that place, look around until you face it.",
                f"Going from the {a} along the wall, do you reach the {b} or the {c} first? It is nearest to the {d}.",
                f"Taking points on each, how far apart are they? What does the {a} measure along its longest side?",
                f"A robot faces the {a} and is to drive to the {b} as follows: turn by 90 degrees or more, then fill "
                f"in what belongs in the place of each [fill in], in order. You would have to pass the {c}.",
                f"In which order do these come into view? In which quarter would the {d} be, where the quarters meet? "
                f"This means that the floor under the {a} counts too.",
                f"Is the {a} the same colour as the {b}? Can you see which object is taller, larger, smaller?",
            )
        )
        ending = rng.choice(
            (
                "Answer with the option's letter from the given choices directly.",
                "Please answer the question using a single word or phrase.",
                "Answer the question using a single word or phrase.",
                "The answer is yes.",
                "The answer is no.",
            )
        )
        yield f"These are frames of a video.\n{question}\n{ending}"
        yield f"{rng.choice(('system', 'user', 'assistant'))}\n{SYSTEM}\n"


if __name__ == "__main__":
    train()
