"""Small real tokenizers in the manner of well-known model families, with chat templates of our own wording."""

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from rehearsal.prompts.chat import ChatTokenizer

TEXT = [
    "The heron stands by the river.\n\nWhat colour is the otter? Brown, said the badger.\n\n\nScore: 4\n",
    "user assistant system model hello hello there, my friend; tell me about 17 apples and 250 pears\n",
    "You are a careful helper. Reason first, then rate.\n\nScore: 5 Score: 1 Score: 2 Score: 3",
    "中文字 and café and naïve things: def f(x):\n    return x + 1\n\n| a | b |\n",
] * 8
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
CHATML = (
    "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\nYou are a careful helper.<|im_end|>\n' }}{% endif %}"
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}"
    "{{ m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + OPEN_END }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Family:
    """What a family's files hold, and its core tokenizer before anything of ours touches it."""

    core: Tokenizer
    template: str
    special: dict[str, str]

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        self.core.save(str(folder / "tokenizer.json"))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": self.template, **self.special}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder

    def load(self, folder: Path) -> ChatTokenizer:
        return ChatTokenizer.load(self.save(folder))


def special_tokens(*texts: str) -> list[AddedToken]:
    return [AddedToken(text, special=True, normalized=False) for text in texts]


def _byte_level(words: str = WORDS, vocabulary: int = 420) -> Tokenizer:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, min_frequency=1, show_progress=False)
    )
    return core


def _pieces(controls: list[str], marked_by_normalizer: bool) -> Tokenizer:
    """SentencePiece's BPE as converted: `▁` for a space, bytes as a fallback, control tokens in the vocabulary."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Digits(individual_digits=True)]
    )
    learner.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=260, min_frequency=2, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    letters = [piece for piece in learned["vocab"] if "\n" not in piece and not any("一" <= letter <= "龥" for letter in piece)]
    pieces = ["<unk>", *controls, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges = [tuple(pair) for pair in learned["merges"] if {*pair, "".join(pair)} <= set(letters)]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    core = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if marked_by_normalizer:
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens(special_tokens("<unk>", *controls))
    return core


def llama3() -> Family:
    core = _byte_level()
    core.add_special_tokens(
        special_tokens("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    )
    return Family(core, LLAMA3, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"})


def chatml() -> Family:
    core = _byte_level(WORDS.replace("{1,3}", ""))
    core.normalizer = normalizers.NFC()
    core.add_special_tokens(special_tokens("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    core.add_tokens([AddedToken(text, special=False, normalized=False) for text in ("<tool_call>", "</tool_call>")])
    return Family(core, CHATML, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})


def gemma() -> Family:
    core = _pieces(["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], marked_by_normalizer=False)
    core.pre_tokenizer = None
    core.normalizer = normalizers.Replace(" ", "▁")
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    core.add_tokens([AddedToken(text, special=False, normalized=False) for text in ("\n", "\n\n", "▁▁", "<table>")])
    return Family(core, GEMMA, {"bos_token": "<bos>", "eos_token": "<eos>"})


def mistral() -> Family:
    core = _pieces(["<s>", "</s>", "[INST]", "[/INST]"], marked_by_normalizer=False)
    return Family(core, INST.replace("OPEN_END", "'[/INST]'"), {"bos_token": "<s>", "eos_token": "</s>"})


def mistral_in_text() -> Family:
    """The first Mistrals: `[INST]` is ordinary text."""
    core = _pieces(["<s>", "</s>"], marked_by_normalizer=True)
    return Family(core, INST.replace("OPEN_END", "' [/INST]'"), {"bos_token": "<s>", "eos_token": "</s>"})


FAMILIES = {"llama3": llama3, "chatml": chatml, "gemma": gemma, "mistral": mistral, "mistral_in_text": mistral_in_text}
