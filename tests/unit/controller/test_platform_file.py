"""The operator's platform file: read as it is, or refused with file and field."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal.api.messages import Refused
from rehearsal.controller.__main__ import main
from rehearsal.controller.platform_file import read_platform


def written(folder: Path, text: str) -> Path:
    path = folder / "platform.yaml"
    path.write_text(text)
    return path


def test_a_platform_is_read_with_its_defaults(tmp_path: Path) -> None:
    platform = read_platform(written(tmp_path, "stores: {default: {s3: {bucket: runs}}}\nbackoffLimit: 2\n"), ["research"])
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
        ("stores: [", "line 1: is not YAML"),
        ("a: 1\nb: !!int abc", "line 2: has a tag"),
        ("[" * 3000, "line 1: is nested too deeply"),
        ("a: " + "9" * 5000, "line 1: holds a number that is too long; at most 100 digits are read"),
        ("a: &a [1]\nb: [*a, *a]", "line 1: has an anchor or alias"),
    ],
)
def test_a_wrong_platform_is_refused_with_file_and_field(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(Refused) as refusal:
        read_platform(path, ["research"])
    assert str(refusal.value).startswith(f"{path}: ")
    assert words in str(refusal.value)


@pytest.mark.parametrize("seen", [["team-a", "team-b"], []])
def test_a_store_that_does_not_say_whose_it_is_keeps_an_operator_of_several_namespaces_from_starting(
    tmp_path: Path, seen: list[str]
) -> None:
    path = written(tmp_path, "stores: {default: {s3: {bucket: runs}}}")
    words = ", ".join(seen) or "all namespaces"
    with pytest.raises(Refused, match=f"platform.stores.default.namespaces: the operator sees runs of {words}; name those"):
        read_platform(path, seen)


def test_a_store_is_its_one_namespaces_or_theirs_whom_it_names(tmp_path: Path) -> None:
    alone = read_platform(written(tmp_path, "stores: {default: {s3: {bucket: runs}}}"), ["research"])
    assert alone.stores["default"].namespaces == ["research"]
    shared = "stores: {default: {s3: {bucket: runs}, namespaces: [team-a, team-b]}}"
    for seen in (["team-a"], ["team-a", "team-b"], []):
        assert read_platform(written(tmp_path, shared), seen).stores["default"].namespaces == ["team-a", "team-b"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{s3: {bucket: runs}", "{s3: {bucket: runs}"),
        ("{s3: {bucket: runs}", "{s3: {bucket: runs, prefix: team-b}"),
        ("{s3: {bucket: runs, prefix: /teams/b}", "{s3: {bucket: runs, prefix: teams/b/deeper/}"),
        ("{s3: {bucket: runs, endpoint: 'https://s3'}", "{s3: {bucket: runs, endpoint: 'http://S3.:9000/'}"),
        ("{s3: {bucket: runs}", "{s3: {bucket: runs, endpoint: 'https://s3.eu-west-1.amazonaws.com'}"),
        ("{s3: {bucket: runs, prefix: a/../b}", "{s3: {bucket: runs, prefix: b}"),
        ("{folder: {path: /stores}", "{folder: {path: /stores//b}"),
        ("{folder: {path: /other/../stores}", "{folder: {path: /Stores/b}"),
    ],
)
def test_stores_of_different_tenants_do_not_lie_in_one_another(tmp_path: Path, one: str, other: str) -> None:
    text = f"stores: {{a: {one}, namespaces: [team-a]}}, b: {other}, namespaces: [team-b]}}}}"
    with pytest.raises(Refused, match=r"stores\.a and stores\.b are of different namespaces and lie in one another"):
        read_platform(written(tmp_path, text), ["team-a", "team-b"])


def test_stores_of_different_tenants_may_lie_side_by_side(tmp_path: Path) -> None:
    text = (
        "stores: {a: {s3: {bucket: runs, prefix: team}, namespaces: [a]}, b: {s3: {bucket: runs, prefix: team-b}, namespaces: [b]}}"
    )
    assert read_platform(written(tmp_path, text), ["a", "b"]).stores.keys() == {"a", "b"}


def test_whatever_ends_the_operator_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class PanicError(BaseException):
        pass

    def panic(*_: object) -> None:
        raise PanicError("\x1b[2J")

    monkeypatch.setattr("rehearsal.controller.__main__.read_platform", panic)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        assert main(["--platform", str(tmp_path / "platform.yaml")]) == 70
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "unforeseen PanicError; please report it" in capfd.readouterr().err


def test_the_operator_does_not_start_without_a_platform(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rehearsal.controller", "--platform", str(tmp_path / "absent.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 64
    assert "absent.yaml: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
