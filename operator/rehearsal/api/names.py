r"""Names, labels and addresses: strings with a pattern and a bound.

A pattern is read by Rust's engine here and by RE2 in the API server, so it uses only what the two read alike: `^…$` around the
whole, explicit ranges or `\p{…}`, never `\w`, `\s`, `\d` or `.`.
"""

from typing import Annotated

from pydantic import StringConstraints

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_WORD = "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_STORE_PATH = r"store://[^\p{Z}\p{Cc}\p{Cf}\\]+"
_PRINTABLE = r"[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"
PRINTABLE = f"^{_PRINTABLE}+$"
_HUB_COMMIT = "hf://[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+@[0-9a-f]{40}"
_EARLIER_RUN = "run://[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"

Name = Annotated[str, StringConstraints(pattern=f"^{_LABEL}$", max_length=32)]
"""What a run calls its own things; short, because it becomes part of stage and Job names."""

Label = Annotated[str, StringConstraints(pattern=f"^{_LABEL}$", max_length=63)]
"""A namespace's name."""

QueueName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}(\.{_LABEL})*$", max_length=63)]
ClassName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}(\.{_LABEL})*$", max_length=253)]
LabelKey = Annotated[str, StringConstraints(pattern=rf"^({_LABEL}(\.{_LABEL})*/)?{_WORD}$", max_length=317)]
LabelValue = Annotated[str, StringConstraints(pattern=f"^({_WORD})?$", max_length=63)]

StoreUri = Annotated[str, StringConstraints(pattern=f"^{_STORE_PATH}$", max_length=512)]
ModelUri = Annotated[str, StringConstraints(pattern=f"^({_STORE_PATH}|{_HUB_COMMIT}|{_EARLIER_RUN})$", max_length=512)]
Commit = Annotated[str, StringConstraints(pattern="^[0-9a-f]{40}$", max_length=40)]
Language = Annotated[str, StringConstraints(pattern="^[a-z]{2,3}$", max_length=3)]
ModelName = Annotated[str, StringConstraints(pattern=PRINTABLE, max_length=253)]
Salt = Annotated[str, StringConstraints(max_length=32)]
