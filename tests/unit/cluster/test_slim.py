"""What is kept of an object is what the controller reads of it, and little else."""

from rehearsal.cluster.slim import pack, slim, unpack

MANAGED = [{"manager": "kube-controller-manager", "fieldsV1": {"f:status": {}}}]
TASK = {"rehearsal.dev/task": "t" * 10_000}


def test_of_a_job_stay_its_names_what_we_wrote_on_it_and_its_status():
    metadata = {"name": "j", "namespace": "a", "uid": "u", "resourceVersion": "7", "labels": {"any": "label"}}
    ours = {"rehearsal.dev/attempt": "0"}
    owners = [{"kind": "ReconstructionRun", "uid": "r"}]
    full = {"managedFields": MANAGED, "annotations": ours | {"kubectl.kubernetes.io/x": "y"}, "ownerReferences": owners}
    status = {"conditions": [{"type": "Complete", "status": "True"}], "startTime": "2026-01-01T00:00:00Z"}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata | full, "status": status}
    spec = {"suspend": True, "completions": 2, "backoffLimitPerIndex": 6}
    kept = slim(job | {"spec": spec | {"template": {"metadata": {"annotations": TASK}}}})
    assert kept["metadata"] == metadata | {"annotations": ours, "ownerReferences": owners}
    assert kept["spec"] == spec
    assert kept["status"] == status


def test_of_a_pod_stay_where_it_is_and_how_its_containers_do():
    container = {"name": "main", "restartCount": 0, "state": {"running": {}}, "lastState": {}}
    started = {"startTime": "2026-01-01T00:00:00Z"}
    status = {
        "phase": "Running",
        "conditions": [],
        **started,
        "containerStatuses": [container],
        "initContainerStatuses": [container],
    }
    bulk = {"image": "registry/image:tag", "imageID": "sha256:0", "volumeMounts": []}
    metadata = {"name": "p", "namespace": "a", "uid": "u", "resourceVersion": "7", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata | {"annotations": TASK, "managedFields": MANAGED}}
    pod["spec"] = {"nodeName": "n", "containers": [{"name": "main"}]}
    pod["status"] = status | {"hostIP": "10.0.0.1", "containerStatuses": [container | bulk]}
    assert slim(pod) == {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n"}, "status": status}


def test_of_a_run_stays_all_but_what_others_keep_on_it():
    run = {"apiVersion": "rehearsal.dev/v1alpha1", "kind": "ReconstructionRun", "spec": {"seed": 1}, "status": {"rounds": 3}}
    asked = {"rehearsal.dev/requestedAt": "1"}
    metadata = {
        "name": "r",
        "managedFields": MANAGED,
        "annotations": asked | {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    assert slim(run | {"metadata": metadata}) == run | {"metadata": {"name": "r", "annotations": asked}}


def test_what_is_packed_comes_back_whatever_it_says():
    item = {"kind": "Pod", "status": {"message": 'naïve \U0001f9ea "quoted" ' * 5_000, "phase": None}, "n": [1, 0.5, True]}
    assert unpack(pack(item)) == item


def test_a_job_takes_less_than_a_quarter_of_what_it_says():
    labels = {"app.kubernetes.io/managed-by": "rehearsal", "rehearsal.dev/stage": "elicit", "rehearsal.dev/store": "default"}
    metadata = {"name": "j", "namespace": "a", "uid": "0b9c1d3e", "resourceVersion": "7", "generation": 1, "labels": labels}
    done = {"type": "Complete", "status": "True", "reason": "CompletionsReached"}
    done |= {"message": "Reached expected number of succeeded pods", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"suspend": False},
        "status": {"conditions": [done]},
    }
    assert len(pack(job)) < len(str(job)) / 4
