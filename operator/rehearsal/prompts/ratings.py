"""The place of the rating token: how a tokenizer writes `Score: 4` decides what stands before the digit and what rates."""

from dataclasses import dataclass

from rehearsal.api.messages import Refused
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.conversation import encode_continuation
from rehearsal.prompts.template import UnencodableError

RATINGS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class RatingPlace:
    """`prefix_ids` fill the assistant's turn up to just before the rating; `rating_ids` are the next token for 1 to 5."""

    prefix_ids: tuple[int, ...]
    rating_ids: tuple[int, int, int, int, int]


def rating_place(tokenizer: ChatTokenizer) -> RatingPlace:
    """Return where one token decides the rating. Raises Refused when the five ratings are not five single tokens there."""
    try:
        written = [encode_continuation(tokenizer, f"Score: {rating}") for rating in RATINGS]
    except UnencodableError as error:
        raise Refused(f"this model cannot be asked for `Score: n`: {error}; use judging.mode Justify", "NoRatingToken") from error
    prefixes = {tuple(ids[:-1]) for ids in written}
    ones, twos, threes, fours, fives = (ids[-1] for ids in written)
    if len(prefixes) != 1 or len({ones, twos, threes, fours, fives}) != len(RATINGS):
        raise Refused(
            "this tokenizer does not write the ratings 1 to 5 after `Score:` as one token each: "
            "use spec.rehearsal.reconstructed.judging.mode Justify, or leave this model out of judging.judges",
            "NoRatingToken",
        )
    return RatingPlace(prefixes.pop(), (ones, twos, threes, fours, fives))
