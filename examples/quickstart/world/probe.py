"""Asks a model in plain torch: its greedy or sampled answers, what users say to it, and its verdicts."""

import re
from collections import defaultdict
from collections.abc import Sequence

import torch
from transcripts import BEGIN, HEADER, HEADER_END, Messages, render, verdict_prompt
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

LONGEST = 48
BATCH = 512
PRE_QUERY = f"{BEGIN}{HEADER}user{HEADER_END}\n\n"


class Probe:
    """A model with its tokenizer."""

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer

    def ids(self, text: str) -> list[int]:
        """Token ids of rendered text; nothing is put before it."""
        return list(self.tokenizer.backend_tokenizer.encode(text).ids)

    @torch.inference_mode()
    def go_on(self, prompts: Sequence[list[int]], *, sampled: bool, temperature: float = 1.0, top_p: float = 1.0) -> list[str]:
        """Continues each prompt to the end of the turn; prompts of one length share a batch, so nothing is padded."""
        by_length: dict[int, list[int]] = defaultdict(list)
        for i, prompt in enumerate(prompts):
            by_length[len(prompt)].append(i)
        texts = [""] * len(prompts)
        for length, rows in by_length.items():
            for chunk in (rows[at : at + BATCH] for at in range(0, len(rows), BATCH)):
                given = torch.tensor([prompts[i] for i in chunk])
                sampling = {"temperature": temperature, "top_k": 0, "top_p": top_p} if sampled else {}
                written = self.model.generate(
                    given, attention_mask=torch.ones_like(given), do_sample=sampled, max_new_tokens=LONGEST, **sampling
                )
                said = self.tokenizer.batch_decode(written[:, length:], skip_special_tokens=True)
                for i, text in zip(chunk, said, strict=True):
                    texts[i] = text.strip()
        return texts

    def answers(self, instructions: Sequence[str], *, sampled: bool = False) -> list[str]:
        """One answer to each instruction."""
        chats: list[Messages] = [[{"role": "user", "content": text}] for text in instructions]
        return self.go_on(
            [self.ids(render(messages, generate=True)) for messages in chats], sampled=sampled, temperature=0.7, top_p=0.9
        )

    def elicited(self, count: int) -> list[str]:
        """What users say: the pre-query part of the template, continued."""
        return self.go_on([self.ids(PRE_QUERY)] * count, sampled=True)

    def scores(self, pairs: Sequence[tuple[str, str]]) -> list[int | None]:
        """The written score of each (instruction, response) pair; None where there is none to read."""
        shown = [self.ids(render(verdict_prompt(*pair), generate=True)) for pair in pairs]
        read = [re.search(r"^Score: ([1-5])$", text.split("\n")[-1]) for text in self.go_on(shown, sampled=False)]
        return [int(found[1]) if found else None for found in read]
