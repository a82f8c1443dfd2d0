"""The command with bad input: one clear line, the agreed exit code, no traceback, and no engine is ever started."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "examples" / "quickstart"
REHEARSAL = Path(sys.executable).parent / "rehearsal"

Edit = Callable[[Path], None]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    shutil.copytree(QUICKSTART / "store" / "inputs", tmp_path / "store" / "inputs")
    for name in ("run.yaml", "platform.yaml"):
        shutil.copy(QUICKSTART / name, tmp_path)
    return tmp_path


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([REHEARSAL, *words], cwd=folder, capture_output=True, text=True, timeout=400, check=False)


def replaced(old: str, new: str) -> Edit:
    def edit(folder: Path) -> None:
        manifest = folder / "run.yaml"
        assert old in manifest.read_text()
        manifest.write_text(manifest.read_text().replace(old, new))

    return edit


def broken_line_17(folder: Path) -> None:
    path = folder / "store" / "inputs" / "domain.jsonl"
    lines = path.read_text().splitlines()
    lines[16] = '{"messages": ['
    path.write_text("\n".join(lines) + "\n")


def pickled_peer(folder: Path) -> None:
    (folder / "store" / "inputs" / "peer" / "pytorch_model.bin").write_bytes(b"\x80\x04")


def no_weights(folder: Path) -> None:
    (folder / "store" / "inputs" / "base" / "model.safetensors").unlink()


def store_is_a_file(folder: Path) -> None:
    shutil.rmtree(folder / "store")
    (folder / "store").write_text("not a folder")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (replaced("learningRate", "learningrate"), ["run.yaml:", "spec.training.learningrate: there is no such field"]),
        (replaced("mode: Justify", "judges: [stranger]"), ["judging.judges must name members of the committee"]),
        (replaced("store://inputs/base", "store://inputs/absent"), ["spec.baseModel.uri", "store://inputs/absent", "upload it"]),
        (replaced("store://inputs/domain.jsonl", "store://inputs/none.jsonl"), ["spec.domain.uri", "none.jsonl"]),
        (replaced("domainFraction: 0.17", "domainFraction: 0.5"), ["domain rows", "too few"]),
        (replaced("processesPerNode: 2", "processesPerNode: 16"), ["spec.training.processesPerNode"]),
        (broken_line_17, ["domain.jsonl, line 17"]),
        (pickled_peer, ["committee.members[1].model.uri", "pytorch_model.bin", "pickle"]),
        (no_weights, ["spec.baseModel.uri", "safetensors"]),
        (store_is_a_file, ["store"]),
    ],
)
def test_bad_input_is_told_in_words_before_anything_starts(workplace: Path, edit: Edit, words: list[str]) -> None:
    edit(workplace)
    done = command(workplace, "run", "run.yaml")
    said = done.stdout + done.stderr
    assert done.returncode == 64, said
    assert all(word in said for word in words), said
    assert "Traceback" not in said
    assert "engine" not in done.stdout
    assert not list(workplace.glob("store/default/*/*/manifest.json"))


def test_a_mended_file_is_seen_by_the_same_command(workplace: Path) -> None:
    before = (workplace / "store" / "inputs" / "domain.jsonl").read_text()
    broken_line_17(workplace)
    assert command(workplace, "plan", "run.yaml").returncode == 64
    (workplace / "store" / "inputs" / "domain.jsonl").write_text(before)
    done = command(workplace, "plan", "run.yaml")
    assert done.returncode == 0, done.stderr
    assert "elicit" in done.stdout


def test_a_plan_names_every_stage_its_fingerprint_and_why_and_leaves_nothing_behind(workplace: Path) -> None:
    done = command(workplace, "plan", "run.yaml")
    for stage in ("elicit", "filter", "respond-peer", "judge-base", "select", "mix", "train", "evaluate-tuned", "report"):
        assert stage in done.stdout
    assert "not done before" in done.stdout
    assert not (workplace / ".rehearsal").exists()
    assert not list(workplace.glob("store/default/*/*/manifest.json"))


def test_a_report_of_a_run_that_is_not_finished_is_refused_by_name(workplace: Path) -> None:
    done = command(workplace, "report", "run.yaml")
    assert (done.returncode, "quickstart has no report yet" in done.stderr) == (64, True)


def test_a_manifest_that_is_not_there_is_refused(workplace: Path) -> None:
    done = command(workplace, "run", "absent.yaml")
    assert (done.returncode, "there is no such file" in done.stderr) == (64, True)
