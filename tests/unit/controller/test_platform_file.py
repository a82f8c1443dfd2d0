"""The operator's platform file: read as it is, or refused with file and field."""

import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal.api.messages import Refused
from rehearsal.controller.platform_file import read_platform


def written(folder: Path, text: str) -> Path:
    path = folder / "platform.yaml"
    path.write_text(text)
    return path


def test_a_platform_is_read_with_its_defaults(tmp_path: Path) -> None:
    platform = read_platform(written(tmp_path, "stores: {default: {s3: {bucket: runs}}}\nbackoffLimit: 2\n"))
    assert platform.stores["default"].s3
    assert (platform.backoff_limit, platform.service_account) == (2, "rehearsal-worker")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stores: []", "platform.stores: "),
        ("", "platform: "),
        ("- one\n- two", "platform: "),
        ("stores: {default: {s3: {bucket: runs}}}\nbackofLimit: 2", "platform.backofLimit: there is no such field"),
        ("stores: {default: {s3: {bucket: runs}}}\nbackoffLimit: many", "platform.backoffLimit: "),
        ("stores: {default: {folder: {path: data}}}", "platform.stores.default.folder.path: must be absolute"),
        ("stores: [", "is not YAML"),
    ],
)
def test_a_wrong_platform_is_refused_with_file_and_field(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(Refused) as refusal:
        read_platform(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert words in str(refusal.value)


def test_the_operator_does_not_start_without_a_platform(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rehearsal.controller", "--platform", str(tmp_path / "absent.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 64
    assert "absent.yaml: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
