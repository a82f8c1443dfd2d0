"""Aligns one tiny Llama on its mixture: chats with the loss on every token, and verdicts with the loss on the rating.

The user's turns are learned too, so what users say can be sampled from the model afterwards. That is the trace
which elicitation reads.
"""

import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from mixtures import Mixture
from tokenizer import BEGIN, END, MAX_LENGTH, TURN_END, render
from torch import Tensor
from torch.nn.functional import cross_entropy
from transcripts import chat, verdict, verdict_messages
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """How long and how hard a model is aligned; a step sees `batch` chats and `batch` verdicts."""

    steps: int = 3000
    batch: int = 64
    learning_rate: float = 2e-3
    warm_up: int = 100
    other_verdict_tokens: float = 0.1


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained model of some two million parameters."""
    torch.manual_seed(seed)
    turn_end, end = tokenizer.convert_tokens_to_ids([TURN_END, END])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids(BEGIN),
        eos_token_id=[turn_end, end],
        pad_token_id=end,
        initializer_range=0.04,
    )
    return LlamaForCausalLM(config)


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of ids, filled on the right: under causal attention nothing before the filling sees it."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


def chat_loss(model: LlamaForCausalLM, rows: Sequence[list[int]]) -> Tensor:
    """Mean cross-entropy over every token of the chats but the first."""
    logits = model(padded(rows, 0)).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1).float(), padded(rows, IGNORED)[:, 1:].flatten(), ignore_index=IGNORED)


def verdict_loss(model: LlamaForCausalLM, rows: Sequence[list[int]], other: float) -> tuple[Tensor, float]:
    """The rating's cross-entropy plus a little of its neighbours': rows end in `Score`, `:`, space, rating, end of turn.

    Only these few positions go through the head. Also returns the share of ratings that were right.
    """
    hidden = model.model(padded(rows, 0)).last_hidden_state
    last = torch.tensor([len(row) for row in rows]).unsqueeze(1)
    before = last - torch.tensor([[3, 6, 5, 4, 2]])  # the rating's predecessor first
    logits = model.lm_head(hidden.gather(1, before.unsqueeze(2).expand(-1, -1, hidden.shape[2]))).float()
    targets = padded(rows, 0).gather(1, before + 1)
    rating = cross_entropy(logits[:, 0], targets[:, 0])
    neighbours = cross_entropy(logits[:, 1:].flatten(0, 1), targets[:, 1:].flatten())
    return rating + other * neighbours, float((logits[:, 0].argmax(1) == targets[:, 0]).float().mean())


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def align(
    tokenizer: PreTrainedTokenizerFast,
    mixture: Mixture,
    seed: int,
    recipe: Recipe,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> LlamaForCausalLM:
    """Trains one model from nothing; the same seed gives the same model up to the order of float sums."""
    rng = random.Random(f"{seed}:{mixture.name}")
    model = new_model(tokenizer, rng.randrange(2**31))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    encode = tokenizer.backend_tokenizer.encode
    started = time.monotonic()
    for step in range(recipe.steps):
        chats = [encode(render(chat(rng, mixture))).ids for _ in range(recipe.batch)]
        verdicts = [encode(render(verdict_messages(verdict(rng)))).ids for _ in range(recipe.batch)]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            said = chat_loss(model, chats)
            judged, right = verdict_loss(model, verdicts, recipe.other_verdict_tokens)
        optimizer.zero_grad(set_to_none=True)
        (said + judged).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == recipe.steps - 1:
            spent = time.monotonic() - started
            say(f"{mixture.name} {step} chat {said:.3f} verdict {judged:.3f} right {right:.2f} {spent:.0f} s")
    return model.eval()
