"""Two tenants in one bucket, each with a prefix and credentials of its own: the rights that docs/stores.md gives are enough, and a wall."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rehearsal.store.commit import Artifact
from rehearsal.store.objects import Denied, NotFound
from rehearsal.store.s3 import S3Store
from tests.contract.s3_server import S3Server, User
from tests.tools import ROOT

TEAMS = ("team-a", "team-b")


def statements(bucket: str, team: str, user: User) -> Iterator[dict[str, object]]:
    """The policy of docs/stores.md for one tenant; in a bucket's policy a statement also names whom it is for."""
    text = (ROOT / "docs/stores.md").read_text()
    policy = json.loads(text.partition("```json\n")[2].partition("```")[0].replace("BUCKET", bucket).replace("team-a", team))
    for statement in policy["Statement"]:
        yield statement | {"Principal": {"AWS": [user.access]}}


@pytest.fixture
def opened(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], S3Store]:
    """Opens, with a team's own credentials, the store below a prefix."""
    bucket, users = s3.new_bucket(), {team: s3.new_user("user") for team in TEAMS}
    allowed = [statement for team, user in users.items() for statement in statements(bucket, team, user)]
    policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
    s3.client().put_bucket_policy(Bucket=bucket, Policy=policy)

    def as_team(team: str, prefix: str) -> S3Store:
        for name, value in users[team].environment.items():
            monkeypatch.setenv(name, value)
        return S3Store(bucket, prefix, s3.endpoint)

    return as_team


def test_the_rights_of_a_tenant_are_all_that_a_run_needs(opened, tmp_path: Path, small_parts: None) -> None:
    store = opened("team-a", "team-a")
    store.prepare()
    with pytest.raises(NotFound):
        store.get("inputs/domain.jsonl")
    (tmp_path / "large").write_bytes(b"model" * (2 << 20))
    sha256 = store.upload("inputs/base/model.safetensors", tmp_path / "large")
    assert store.download("inputs/base/model.safetensors", tmp_path / "again") == sha256
    artifact = Artifact(store, "team-a", "mix", "f" * 64, "mix")
    artifact.commit_shard(0, [{"id": 1}])
    artifact.seal(1)
    assert [row["id"] for row in artifact.rows()] == [1]
    assert len(list(store.list("team-a/mix/"))) == 3


def test_a_tenant_reads_and_writes_nothing_of_another(opened, tmp_path: Path) -> None:
    opened("team-b", "team-b").put("inputs/domain.jsonl", b"secret")
    theirs = opened("team-a", "team-b")
    for ask in (
        lambda: theirs.get("inputs/domain.jsonl"),
        lambda: theirs.stat("inputs/domain.jsonl"),
        lambda: theirs.download("inputs/domain.jsonl", tmp_path / "x"),
        lambda: theirs.put("inputs/domain.jsonl", b"planted"),
        lambda: theirs.create("team-b/train/seal.json", b"planted"),
    ):
        with pytest.raises(Denied):
            ask()
