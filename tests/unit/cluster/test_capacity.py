from rehearsal.cluster.capacity import Capacity, Ledger, requests


def container(name="main", restart=None, **amounts):
    made = {
        "name": name,
        "resources": {"requests": {key.replace("gpu", "nvidia.com/gpu"): value for key, value in amounts.items()}},
    }
    return made | ({"restartPolicy": restart} if restart else {})


def pod(main, *init):
    return {"spec": {"containers": [main], "initContainers": list(init)}}


def test_sidecars_are_added_up_and_init_containers_run_one_at_a_time():
    engine, load = container("engine", "Always", cpu="2", gpu="4"), container("load", cpu="8")
    assert requests(pod(container(cpu="1"), load, engine)) == {"cpu": 8, "nvidia.com/gpu": 4}
    assert requests(pod(container(cpu="1"), engine, load)) == {"cpu": 10, "nvidia.com/gpu": 4}
    assert requests(pod(container(cpu="7"), engine)) == {"cpu": 9, "nvidia.com/gpu": 4}


def test_a_limit_stands_in_for_a_request():
    main = {"name": "main", "resources": {"limits": {"cpu": "3", "memory": "1Gi"}, "requests": {"cpu": "1"}}}
    assert requests(pod(main)) == {"cpu": 1, "memory": 2**30}


def test_what_is_short_is_named_in_the_schedulers_words():
    ledger = Ledger(Capacity(cpu=4, memory=8 << 30, devices={"nvidia.com/gpu": 2}))
    ledger.admit("first", pod(container(cpu="3", gpu="1")))
    asks = pod(container(cpu="2", memory="1Gi", gpu="2"))
    assert ledger.refusal(asks) == "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu."
    ledger.release("first")
    assert ledger.refusal(asks) is None


def test_a_device_that_the_machine_lacks_will_never_come():
    refusal = Ledger(Capacity(cpu=4, memory=1 << 30)).refusal(pod(container(gpu="8")))
    assert refusal.endswith("It can never start on this machine: it asks for nvidia.com/gpu 8 of 0.")


def test_devices_are_held_by_one_pod_and_within_it_by_one_container():
    ledger = Ledger(Capacity(cpu=4, memory=1 << 30, devices={"nvidia.com/gpu": 4}))
    shared = pod(container(gpu="1"), container("engine", "Always", gpu="2"), container("load"))
    assert ledger.admit("first", pod(container(gpu="1"))).environment(pod(container(gpu="1")), "main") == {
        "CUDA_VISIBLE_DEVICES": "0"
    }
    claim = ledger.admit("second", shared)
    seen = {name: claim.environment(shared, name)["CUDA_VISIBLE_DEVICES"] for name in ("engine", "load", "main")}
    assert seen == {"engine": "1,2", "load": "", "main": "3"}
