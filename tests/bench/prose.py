"""Text of a natural spread of words, as much as is asked for, and a tokenizer that was trained on it."""

import random
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.unit.prompts.model_families import LLAMA3, Family, special_tokens

SAID, VOCABULARY = 100_000, 32_000
CONTROLS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


@dataclass(frozen=True)
class Prose:
    """So many words of one to five syllables, the n-th most frequent of them 1/n as often as the first."""

    words: int = 20_000

    @cached_property
    def _said(self) -> list[str]:
        chance = random.Random(0)  # noqa: S311 - text, not secrets
        syllables = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "r", "s", "l")]
        words = ["".join(chance.choices(syllables, k=chance.randint(1, 5))) for _ in range(self.words)]
        weights = list(accumulate(1 / rank for rank in range(1, self.words + 1)))
        return chance.choices(words, cum_weights=weights, k=SAID)

    def text(self, number: int, words: int) -> str:
        """Return that many words; another number, other words."""
        start = number * 7919 % (SAID - words)
        return " ".join(self._said[start : start + words])

    def family(self) -> Family:
        """Return a tokenizer of a usual size, with a usual template."""
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
        core.train_from_iterator((self.text(number, 1000) for number in range(SAID // 1000)), trainer)
        core.add_special_tokens(special_tokens(*CONTROLS))
        return Family(core, LLAMA3, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"})
