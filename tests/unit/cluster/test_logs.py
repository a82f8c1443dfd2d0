import os

from rehearsal.cluster.logs import Logs, tail


def test_the_tail_of_a_log_is_its_last_whole_lines(tmp_path):
    path = tmp_path / "log"
    path.write_text("one\ntwo\nthree")
    assert tail(path, 2) == "two\nthree"
    assert tail(path, 9) == "one\ntwo\nthree"
    assert tail(path, 0) == ""


def test_the_oldest_pods_of_a_job_make_room(tmp_path):
    logs = Logs(tmp_path)
    for number in range(60):
        os.utime(logs.of_pod(f"pod-{number}", "job", ""), (number, number))
    kept = {path.name for path in (tmp_path / "job").iterdir() if path.is_dir()}
    assert len(kept) == 51 - 1
    assert "pod-59" in kept and "pod-0" not in kept


def test_the_logs_of_a_run_are_forgotten_together(tmp_path):
    logs = Logs(tmp_path)
    for job, run in (("a", "1"), ("b", "1"), ("c", "2")):
        (logs.of_pod(f"{job}-pod", job, run) / "main.log").write_text(job)
    logs.forget("1")
    assert [logs.tail(f"{job}-pod", "main", 1) for job in "abc"] == [None, None, "c"]
