"""What a judge is asked about one response.

The rubric comes first, then the instruction, then the response, so that an engine computes what candidates share once.
The words are data here: that none of them becomes a control token is the encoder's promise, not this module's.
"""


def judge_messages(rubric: str, instruction: str, response: str) -> list[dict[str, str]]:
    """Return the judge's conversation: the rubric as system turn, the case as user turn, closed by our own last words."""
    case = f"Instruction:\n{instruction}\n\nResponse:\n{response}\n\nEnd of response. Give your verdict."
    return [{"role": "system", "content": rubric}, {"role": "user", "content": case}]
