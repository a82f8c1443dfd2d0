import json

import pytest

from rehearsal.cluster.objects import Objects
from rehearsal.cluster.port import Unavailable


def run(name="first"):
    return {
        "apiVersion": "rehearsal.dev/v1alpha1",
        "kind": "ReconstructionRun",
        "metadata": {"name": name, "namespace": "research"},
        "spec": {},
    }


def test_objects_are_read_back_in_the_order_they_were_made(tmp_path):
    objects = Objects(tmp_path)
    made = [objects.create(run(name)) for name in ("c", "a", "b")]
    assert Objects(tmp_path).list("ReconstructionRun") == made


def test_versions_go_on_where_they_were(tmp_path):
    version = Objects(tmp_path).create(run())["metadata"]["resourceVersion"]
    again = Objects(tmp_path).create(run("second"))["metadata"]["resourceVersion"]
    assert int(again) > int(version)


def test_writing_what_is_there_already_makes_no_new_version(tmp_path):
    objects = Objects(tmp_path)
    created = objects.create(run())
    objects.changed.clear()
    assert objects.replace(created) == created
    assert not objects.changed.is_set()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"kind": "Pod"}', json.dumps({"kind": "Pod", "metadata": {"name": "x", "namespace": "y"}})]
)
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "pods" / "research" / "x.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(Unavailable, match=r"x\.json cannot be read"):
        Objects(tmp_path)


def test_a_file_half_written_when_the_command_was_killed_does_not_count(tmp_path):
    Objects(tmp_path).create(run())
    (tmp_path / "reconstructionruns" / "research" / "first.new").write_text("{")
    assert len(Objects(tmp_path).list("ReconstructionRun")) == 1
