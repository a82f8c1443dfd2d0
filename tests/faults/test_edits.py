"""Runs that are edited, suspended, refused, or upgraded under way: what is sealed stays, and what is not affected goes on."""

import pytest

import rehearsal
from rehearsal.api.status import State
from tests.faults.connection import Connection
from tests.faults.world import NAME, NAMESPACE, World, created, deleted, outcome, stage_of, story
from tests.unit.worlds import a_platform

FASTER = {"training": {"learningRate": 2e-6}}
AFFECTED = {"train", "report"}


def stages_by_job(*worlds: World) -> dict[str, str]:
    return {job["metadata"]["name"]: stage_of(job) for world in worlds for job in world.jobs()}


@pytest.mark.fault(18)
async def test_an_edit_at_any_moment_stops_and_repeats_exactly_the_stages_that_it_affects(moments):
    end = (await story(**FASTER))[-1]
    for moment in moments[::3]:
        world = moment.fork()
        world.cluster.edit(NAMESPACE, NAME, **FASTER)
        await world.finish()
        stages = stages_by_job(moment, world)
        assert {stages[name] for name in deleted(world)} <= AFFECTED | {"preflight"}
        assert outcome(world).seals == outcome(end).seals
        assert outcome(world).true == outcome(end).true
        assert not world.live()
        assert set(world.store.work.values()) == {1}
        assert {stage for stage, _, _ in world.store.work.keys() - end.store.work.keys()} <= AFFECTED


@pytest.mark.fault(18)
async def test_a_job_of_a_stage_that_an_edit_changed_is_stopped_at_once_and_the_others_go_on(moments):
    world = next(moment for moment in moments if moment.live() and moment.live() == moment.jobs(stage="train")).fork()
    (train,) = world.live()
    world.store.slow.add("train")
    world.cluster.edit(NAMESPACE, NAME, **FASTER)
    for _ in range(5):
        await world.tick()
    assert deleted(world) == [train["metadata"]["name"]]
    (new,) = world.jobs(stage="train")
    assert new["metadata"]["name"] != train["metadata"]["name"]


@pytest.mark.fault(18)
async def test_an_edit_that_is_taken_back_finds_everything_sealed(moments):
    end = moments[-1].fork()
    end.cluster.edit(NAMESPACE, NAME, **FASTER)
    await end.finish()
    work = dict(end.store.work)
    end.cluster.edit(NAMESPACE, NAME, training={})
    await end.finish()
    assert outcome(end).seals == outcome(moments[-1]).seals
    assert dict(end.store.work) == work
    assert end.status().stage("train").state is State.REUSED


@pytest.mark.fault(18)
async def test_a_run_suspended_at_any_moment_stops_its_jobs_keeps_its_seals_and_goes_on_when_asked(moments):
    for moment in moments[1::3]:
        world = moment.fork()
        world.cluster.edit(NAMESPACE, NAME, suspend=True)
        await world.finish()
        assert not world.live()
        assert world.is_true("Suspended")
        for stage in moment.status().stages:
            if stage.sealed:
                assert world.status().stage(stage.name).sealed == stage.sealed
        world.cluster.edit(NAMESPACE, NAME, suspend=False)
        await world.look()
        await world.finish()
        assert set(world.store.work.values()) == {1}
        assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(19)
async def test_a_spec_that_got_past_the_schema_is_refused_once_and_other_runs_go_on():
    world = World()
    await world.submit(trainign={})
    await world.submit("other")
    await world.look()
    assert world.is_true("Stalled")
    assert world.status().condition("Stalled").reason == "Refused"
    assert "spec.trainign" in world.status().condition("Stalled").message
    again = Connection(world.cluster)
    await world.look(through=again)
    assert again.writes == 0
    await world.finish("other")
    assert world.is_true("Complete", "other")
    assert not world.jobs(NAME)


@pytest.mark.fault(19)
@pytest.mark.parametrize("spec", [None, {}, {"baseModel": 7}, {"rehearsal": []}, {"domain": None}])
async def test_no_spec_whatever_makes_the_operator_fall_over(spec):
    world = World()
    await world.submit()
    run = world.run()
    world.cluster.objects.replace(run | {"spec": spec if not spec else run["spec"] | spec})
    await world.look()
    assert world.status().condition("Failed").reason == "Refused"
    assert not world.jobs()


@pytest.mark.fault(23)
async def test_an_upgrade_at_any_moment_rewrites_no_job_and_repeats_no_stage_and_a_label_tells_the_versions_apart(
    moments, monkeypatch
):
    for moment in moments[::4]:
        world = moment.fork()
        old = {job["metadata"]["name"]: job["metadata"] for job in world.jobs()}
        monkeypatch.setattr(rehearsal, "__version__", "99.0")
        world.platform = a_platform(device=world.platform.device.wire(), images={"operator": "registry/operator:99"})
        await world.finish()
        monkeypatch.undo()
        assert not deleted(world)
        assert outcome(world) == outcome(moments[-1])
        assert sorted(created(world)) == sorted(created(moments[-1]))
        for job in world.jobs():
            before = old.get(job["metadata"]["name"])
            version = job["metadata"]["labels"]["app.kubernetes.io/version"]
            assert version == (rehearsal.__version__ if before else "99.0")
            if before:
                assert before["uid"] == job["metadata"]["uid"]
