"""Aligns one tiny Llama on its mixture: chats with the loss on every token, verdicts with the loss on the judge's words.

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
from tokenizer import MAX_LENGTH
from torch import Tensor
from torch.nn.functional import cross_entropy
from transcripts import BEGIN, END, TURN_END, chat, render, verdict, verdict_messages
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

IGNORED = -100
RATING_WEIGHT = 2
REPORTED = 50


@dataclass(frozen=True)
class Recipe:
    """How long and how hard a model is aligned: on chats alone for a moment, then on verdicts too, the harder part."""

    steps: int = 1300
    chat_steps: int = 60
    chats_alone: int = 64
    chats: int = 32
    verdicts: int = 56
    learning_rate: float = 2e-3
    warm_up: int = 50


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained model of a million and a half parameters.

    Heads have 48 dimensions: vLLM's CPU attention takes multiples of 32 to AMX, which some virtual machines list and
    do not allow (an illegal instruction).
    """
    torch.manual_seed(seed)
    turn_end, end = tokenizer.convert_tokens_to_ids([TURN_END, END])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids(BEGIN),
        eos_token_id=[turn_end, end],
        pad_token_id=end,
        initializer_range=0.04,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=end)
    return model


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of ids, filled on the right: under causal attention nothing before the filling sees it."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


def chat_loss(model: LlamaForCausalLM, rows: Sequence[list[int]]) -> Tensor:
    """Mean cross-entropy over every token of the chats but the first."""
    logits = model(padded(rows, 0)).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1).float(), padded(rows, IGNORED)[:, 1:].flatten(), ignore_index=IGNORED)


def verdict_loss(
    model: LlamaForCausalLM, rows: Sequence[list[int]], starts: Sequence[int], ratings: Tensor
) -> tuple[Tensor, float]:
    """Mean cross-entropy over the judge's own words, which begin at `starts`, and over the ratings again, which matter more.

    Also returns the share of ratings that were right.
    """
    labels = [[IGNORED] * start + row[start:] for row, start in zip(rows, starts, strict=True)]
    wanted = padded(labels, IGNORED)[:, 1:]
    learned = wanted != IGNORED
    states = model.model(padded(rows, 0)).last_hidden_state[:, :-1]
    logits, wanted = model.lm_head(states[learned]).float(), wanted[learned]
    rated = torch.isin(wanted, ratings)
    right = float((logits[rated].argmax(1) == wanted[rated]).float().mean())
    return cross_entropy(logits, wanted) + RATING_WEIGHT * cross_entropy(logits[rated], wanted[rated]), right


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
    start: LlamaForCausalLM | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> LlamaForCausalLM:
    """Trains one model, from nothing or going on from another; the same seed gives the same up to the order of float sums."""
    rng = random.Random(f"{seed}:{mixture.name}")
    fresh = rng.randrange(2**31)
    model = start or new_model(tokenizer, fresh)
    model.set_attn_implementation("eager")  # on rows this short twice as fast as the fused kernel's backward pass
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)

    def ids(text: str) -> list[int]:
        return list(tokenizer.backend_tokenizer.encode(text).ids)

    ratings = torch.tensor(tokenizer.convert_tokens_to_ids(list("12345")))
    started, seen = time.monotonic(), torch.zeros(3)
    for step in range(recipe.steps):
        alone = step < recipe.chat_steps
        chats = [ids(render(chat(rng, mixture))) for _ in range(recipe.chats_alone if alone else recipe.chats)]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            said = chat_loss(model, chats)
            judged, right = torch.zeros(()), 0.0
            if not alone:
                shown = [verdict_messages(verdict(rng)) for _ in range(recipe.verdicts)]
                starts = [len(ids(render(messages[:-1], generate=True))) for messages in shown]
                rows = [ids(render(messages)) for messages in shown]
                judged, right = verdict_loss(model, rows, starts, ratings)
        optimizer.zero_grad(set_to_none=True)
        (said + judged).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += torch.tensor([said.item(), judged.item(), right])
        if (step + 1) % REPORTED == 0:
            chat_mean, verdict_mean, right_mean = (seen / REPORTED).tolist()
            seen.zero_()
            say(
                f"{mixture.name} {step + 1} chat {chat_mean:.3f} verdict {verdict_mean:.3f} right {right_mean:.2f} "
                f"{time.monotonic() - started:.0f} s"
            )
    return model.eval()
