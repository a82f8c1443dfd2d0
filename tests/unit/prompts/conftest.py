"""One tokenizer of each model family, loaded from files."""

import pytest

from rehearsal.prompts.chat import ChatTokenizer
from tests.unit.prompts.model_families import FAMILIES


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory) -> dict[str, ChatTokenizer]:
    folder = tmp_path_factory.mktemp("families")
    return {name: make().load(folder / name) for name, make in FAMILIES.items()}


@pytest.fixture(params=FAMILIES)
def tokenizer(request, tokenizers) -> ChatTokenizer:
    return tokenizers[request.param]


@pytest.fixture
def ids_of(tokenizer):
    """Ids of tokens by their text, so that tests can name them."""

    def look_up(*texts: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode_template(text)[0][0] for text in texts)

    return look_up
