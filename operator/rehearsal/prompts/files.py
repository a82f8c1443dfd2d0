"""A model's tokenizer files, read and checked: json and jinja only, nothing of them is executed here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rehearsal.api.messages import Refused
from rehearsal.outside.json_text import read_json
from rehearsal.outside.unreadable import Unreadable

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class TokenizerFiles:
    """`core` is tokenizer.json; `variables` are the template's; `declared` are the tokens that the files name special or added."""

    core: dict[str, Any]
    template: str
    variables: dict[str, str]
    declared: frozenset[str]


def read_tokenizer_files(folder: Path) -> TokenizerFiles:
    """Read a model folder's tokenizer files. Raises Refused, naming the file and what to do."""
    core = _json(folder / "tokenizer.json", "save the model's fast tokenizer there (transformers' save_pretrained writes it)")
    config_file = folder / "tokenizer_config.json"
    config = _json(config_file, "copy it from the model's repository, or save the tokenizer anew")
    map_file = folder / "special_tokens_map.json"
    special = {**(_json(map_file, "") if map_file.exists() else {}), **config}
    return TokenizerFiles(
        core=core,
        template=_template(folder, config),
        variables={name: text for name in _NAMED if (text := _token_text(special.get(name)))},
        declared=frozenset(_declared(core, special)),
    )


def _json(file: Path, remedy: str) -> dict[str, Any]:
    try:
        value = read_json(file.read_bytes(), constants=True)
    except FileNotFoundError:
        raise Refused(f"{file}: not there: {remedy}", "TokenizerMissing") from None
    except OSError as error:
        raise Refused(f"{file}: cannot be read ({error.strerror}): copy the file again", "TokenizerInvalid") from error
    except Unreadable as error:
        raise Refused(f"{file}: cannot be read as JSON: {error}: copy the file again", "TokenizerInvalid") from error
    if not isinstance(value, dict):
        raise Refused(f"{file}: holds a {type(value).__name__}, not a JSON object: copy the file again", "TokenizerInvalid")
    return value


def _template(folder: Path, config: dict[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    if file.exists():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise Refused(f"{file}: cannot be read as UTF-8 text ({error}): copy the file again", "TokenizerInvalid") from error
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    if not isinstance(template, str) or not template:
        raise Refused(
            f"{folder / 'tokenizer_config.json'}: has no chat_template, and there is no chat_template.jinja beside it: "
            "use an aligned (instruct or chat) model with its template",
            "NoChatTemplate",
        )
    return template


def _token_text(value: object) -> str:
    """Return a token's text, written plainly or as an object; empty when there is none."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _declared(core: dict[str, Any], special: dict[str, Any]) -> Iterator[str]:
    """Yield the text of every token that the files call special or added, in whichever place they do."""
    values: list[object] = [special.get(name) for name in _NAMED]
    for name in ("additional_special_tokens", "extra_special_tokens"):
        extra = special.get(name)
        values += extra.values() if isinstance(extra, dict) else extra if isinstance(extra, list) else []
    decoder = special.get("added_tokens_decoder")
    values += decoder.values() if isinstance(decoder, dict) else []
    model = core.get("model")
    values.append(model.get("unk_token") if isinstance(model, dict) else None)
    yield from filter(None, map(_token_text, values))
