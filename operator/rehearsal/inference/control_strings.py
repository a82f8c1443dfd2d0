"""Texts that mean a turn or an end to some model. A service behind an endpoint gets text, not token ids, and might obey them.

Not covered: control strings of models that nobody here has heard of, and strings that a service itself takes for such.
"""

import re
from collections.abc import Iterable

WELL_KNOWN = (
    *("<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|endoftext|>", "<|endofprompt|>"),
    *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>"),
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
    *("<|python_tag|>", "<|header_start|>", "<|header_end|>", "<|eot|>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>", "<|tool|>", "[gMASK]", "<sop>"),
    *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<|turn>", "<turn|>"),
    *("<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    *("<|start_of_role|>", "<|end_of_role|>"),
    *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
    *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "\n\nHuman:", "\n\nAssistant:"),
)


class ControlStrings:
    """The well-known control strings, and the run's own models'."""

    def __init__(self, own: Iterable[str] = ()) -> None:
        known = sorted({*WELL_KNOWN, *filter(str.strip, own)})
        self._any = re.compile("|".join(map(re.escape, known)))

    def within(self, *texts: str) -> bool:
        """Tell whether one of the texts spells one of them."""
        return any(self._any.search(text) for text in texts)
