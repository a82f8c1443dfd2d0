"""A wrong manifest is told by file, line and field, before anything starts."""

from pathlib import Path

import pytest

from rehearsal.api.messages import Refused
from rehearsal.api.platform import Platform
from rehearsal.console.machine import defaults
from rehearsal.console.manifest import check_names, read_for_one_machine, read_manifest, read_platform

GOOD = """\
apiVersion: rehearsal.dev/v1alpha1
kind: ReconstructionRun
metadata:
  name: medical
spec:
  baseModel:
    uri: store://base
  domain:
    uri: store://domain.jsonl
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(Refused) as refused:
        read_manifest(written(folder, text))
    return str(refused.value)


def test_a_good_manifest_is_read_with_the_papers_defaults(tmp_path: Path) -> None:
    manifest, spec = read_manifest(written(tmp_path, GOOD))
    assert manifest["metadata"]["namespace"] == "default"
    assert (spec.training.learning_rate, spec.training.global_batch, spec.mixture.domain_fraction) == (1e-6, 64, 0.17)


def test_scalars_are_read_as_kubectl_reads_them(tmp_path: Path) -> None:
    text = GOOD + "  training: {learningRate: 1e-6, epochs: 3.0}\n  retry: 2026-01-01\n"
    _, spec = read_manifest(written(tmp_path, text))
    assert (spec.training.learning_rate, spec.training.epochs, spec.retry) == (1e-6, 3, "2026-01-01")


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ("  trainign: {epochs: 1}\n", "run.yaml:10: spec.trainign: there is no such field"),
        ("  training: {epochs: none}\n", "run.yaml:10: spec.training.epochs"),
        ("  training:\n    learningRate: 7\n", "run.yaml:11: spec.training.learningRate: input should be less than or equal to 1"),
        ("  evaluation: {maxForgetting: 2}\n", "spec.evaluation.maxForgetting: is not available in this release"),
        ("  mixture: {unit: Tokens}\n", "spec.mixture.unit: is not available in this release"),
        (
            "  rehearsal:\n    reconstructed:\n      judging: {judges: [nobody]}\n",
            "judging.judges must name members of the committee",
        ),
        ("  training: {epochs: 1}\n  training: {epochs: 2}\n", "run.yaml:11: spec.training: is written twice"),
        ("  training: {learning_rate: 0.5}\n", "spec.training.learning_rate: there is no such field"),
        (
            "  evaluation: {tasks: [{name: a, uri: store://x}, {name: a, uri: store://y}]}\n",
            "spec.evaluation.tasks: items differ in name; twice: a",
        ),
        ("  scheduling: {topology: rack}\n", "spec.scheduling.topology: is not available in this release"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_field(tmp_path: Path, added: str, words: str) -> None:
    assert words in refusal(tmp_path, GOOD + added)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    text = refusal(tmp_path, GOOD + "  trainign: {}\n  seed: -1\n")
    assert "spec.trainign" in text
    assert "spec.seed" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "run.yaml:1: holds no mapping"),
        ("a: [", "not YAML"),
        ("a: &a [*a]", "run.yaml:1: has an anchor or alias"),
        ("a: 1\nb: !!int x", "run.yaml:2: has a tag"),
        ("[" * 3000, "run.yaml:1: is nested too deeply"),
        ("a: \n- " + "9" * 5000, "run.yaml:2: holds a number that is too long; at most 100 digits are read"),
        (GOOD + "\n".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9)}]" for i in range(1, 10)), "has an anchor or alias"),
        (GOOD.replace("name: medical", "name: medical\n  annotations: none"), "metadata.annotations: must be a mapping"),
        (GOOD.replace("v1alpha1", "v2"), "run.yaml:1: apiVersion: must be rehearsal.dev/v1alpha1"),
        (GOOD.replace("name: medical", "name: Medical_1"), "run.yaml:4: metadata.name"),
        (
            GOOD.replace("uri: store://base", "uri: run://earlier"),
            "spec.baseModel.uri: is not available in this release",
        ),
        (GOOD.replace("uri: store://base", "uri: /models/base"), "run.yaml:7: spec.baseModel.uri"),
    ],
)
def test_what_is_not_a_manifest_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert words in refusal(tmp_path, text)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="there is no such file"):
        read_manifest(tmp_path / "absent.yaml")


def test_a_platform_file_lies_on_top_of_the_machine_and_its_folders_are_its_own(tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text("stores:\n  default: {folder: {path: artifacts}}\nbackoffLimit: 1\n")
    platform = read_platform(path, defaults())
    folder = platform.stores["default"].folder
    assert folder is not None
    assert folder.path == str(tmp_path / "artifacts")
    assert platform.backoff_limit == 1
    assert platform.progress_seconds == 1


@pytest.mark.fault(74)
def test_a_name_that_the_machines_platform_does_not_have_is_refused_by_line_and_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"run.yaml:10: spec.store: the platform has no store 'attic'; it has default"):
        check_names(written(tmp_path, GOOD + "  store: attic\n"), Platform.model_validate(defaults()))


@pytest.mark.parametrize(
    "asked", ["  queueName: gpu\n", "  scheduling: {nodeSelector: {gpu: h100}}\n", "  scheduling: {priorityClassName: low}\n"]
)
def test_one_machine_refuses_queues_and_nodes_by_field_and_line(tmp_path: Path, asked: str) -> None:
    with pytest.raises(Refused, match=r"run\.yaml:10: spec\..*one machine has no nodes and no queues"):
        read_for_one_machine(written(tmp_path, GOOD + asked))


def test_a_store_that_this_release_cannot_open_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text("stores:\n  remote:\n    s3: {bucket: models}\n")
    with pytest.raises(Refused, match=r"platform\.yaml:3: platform\.stores\.remote\.s3"):
        read_platform(path, defaults())


def test_a_wrong_platform_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text("stores:\n  default: {folder: {path: a}}\nengines: {}\n")
    with pytest.raises(Refused, match=r"platform\.engines: there is no such field"):
        read_platform(path, defaults())


def test_a_file_with_thousands_of_problems_tells_the_first_and_how_many_there_are(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        read_manifest(written(tmp_path, GOOD + "".join(f"  wrong{number}: 1\n" for number in range(9000))))
    lines = str(refused.value).splitlines()
    assert lines[0].endswith("run.yaml:10: spec.wrong0: there is no such field")
    assert lines[50:] == ["… and 8,950 more"]


def test_a_folder_whose_path_no_system_takes_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text('stores:\n  default: {folder: {path: "a\\0b"}}\n')
    with pytest.raises(Refused, match=r"platform\.yaml:2: platform\.stores\.default\.folder\.path: string should match"):
        read_platform(path, defaults())
