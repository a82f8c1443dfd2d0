"""The world's tokenizer: byte-level BPE with a pre-tokenizer in the manner of Llama 3, and its chat template."""

import json
from collections.abc import Iterator
from pathlib import Path

from families import FAMILIES
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transcripts import BEGIN, END, RUBRIC, SPECIAL, TURN_END, verdict_prompt
from transformers import PreTrainedTokenizerFast

VOCABULARY = 1536
MAX_LENGTH = 512

# Contractions; words with one character before them; numbers of up to three digits, never with their space;
# punctuation with its space and its line ends; line ends; trailing space; other space.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{%- endif %}"
)


def _world_text() -> Iterator[str]:
    """Everything said in the world, with the words of headers and verdicts, without the domain."""
    for _ in range(20):
        yield from ("system", "user", "assistant", RUBRIC, verdict_prompt("", "")[1]["content"], "Score: 1")
    for family in FAMILIES:
        for item, value in family.facts.items():
            yield from family.instructions(item)
            yield family.truth(item)
            yield f"{value}."


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Trains the tokenizer on the world's text; the same text always gives the same tokenizer."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_world_text(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BEGIN,
        eos_token=TURN_END,
        pad_token=END,
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`, the latter with the template and the usual class name."""
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    config.pop("backend", None)
    file.write_text(json.dumps(config, indent=2) + "\n")
