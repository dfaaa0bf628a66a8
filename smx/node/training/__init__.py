"""Our own training loop: data in a fixed order, an objective that knows the whole step, checkpoints that are verified.

`loop` does the steps; the other modules are what it is made of. Sources: AdamW as in "Decoupled Weight Decay
Regularization" (torch's), and what transformers' Trainer 5.23 does around it: which weights decay, schedules, clipping.
"""
