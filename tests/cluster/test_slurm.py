"""The environment of the tasks of a SLURM job step."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.cluster.slurm import expand_hosts, read_slurm

STEP = {
    "SLURM_JOB_ID": 4711,
    "SLURM_STEP_ID": 0,
    "SLURM_NTASKS": 8,
    "SLURM_STEP_NUM_TASKS": 8,
    "SLURM_PROCID": 5,
    "SLURM_LOCALID": 1,
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}


def test_the_place_of_a_task(environment):
    assert read_slurm() is None
    environment(STEP)
    plan = read_slurm()
    assert (plan.rank, plan.local_rank, plan.world_size, plan.local_world_size) == (5, 1, 8, 4)
    assert (plan.init_method, plan.source) == ("tcp://gpu07:19711", "SLURM")


def test_steps_of_a_job_and_jobs_meet_at_different_ports(environment):
    methods = set()
    for job, step in ((4711, 0), (4711, 1), (4713, 0), (10**9, 0)):
        environment(STEP | {"SLURM_JOB_ID": job, "SLURM_STEP_ID": step})
        methods.add(read_slurm().init_method)
    assert len(methods) == 4
    assert all(15000 <= int(method.rpartition(":")[2]) < 30000 for method in methods)


def test_the_job_script_may_choose_the_meeting_place(environment):
    environment(STEP | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": 1234})
    assert read_slurm().init_method == "tcp://10.0.0.1:1234"


@pytest.mark.parametrize(("tasks", "here"), [("4", 4), ("3,1", None), ("2(x2),1", None), ("", None)])
def test_tasks_per_machine(environment, tasks, here):
    environment(STEP | {"SLURM_STEP_TASKS_PER_NODE": tasks})
    assert read_slurm().local_world_size == here


def test_a_batch_script_itself_is_one_process(environment, caplog):
    environment({name: value for name, value in STEP.items() if "STEP" not in name} | {"SLURM_PROCID": 0})
    assert read_slurm() is None
    (record,) = caplog.records
    assert "Write: srun python script.py" in record.getMessage()


def test_an_interactive_shell_in_a_large_allocation_is_one_process(environment):
    environment(STEP | {"SLURM_STEP_NUM_TASKS": 1, "SLURM_PROCID": 0})
    assert read_slurm() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SLURM_PROCID": ""}, "SLURM_PROCID is not set"),
        ({"SLURM_PROCID": 8}, "contradict each other: of 8 processes, the last is 7. Received: SLURM_PROCID=8"),
        ({"SLURM_LOCALID": ""}, "SLURM_LOCALID is not set"),
        ({"SLURM_JOB_ID": ""}, "SLURM_JOB_ID is not set"),
        ({"SLURM_STEP_NUM_TASKS": "many"}, "must be a whole number"),
        ({"SLURM_STEP_NODELIST": ""}, "one of SLURM_STEP_NODELIST, SLURM_JOB_NODELIST, SLURM_NODELIST must be set"),
        ({"SLURM_STEP_NODELIST": "gpu[1-"}, "can't be read"),
    ],
)
def test_what_can_not_be_is_refused(environment, changes, message):
    environment(STEP | changes)
    with pytest.raises(ValueError, match=message):
        read_slurm()


@pytest.mark.parametrize(
    ("node_list", "hosts"),
    [
        ("login", ["login"]),
        ("a.b.org,c-1", ["a.b.org", "c-1"]),
        ("gpu[01-03,7],login", ["gpu01", "gpu02", "gpu03", "gpu7", "login"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("rack[1-2]-node[3,5-6]x", [f"rack{rack}-node{node}x" for rack in (1, 2) for node in (3, 5, 6)]),
        ("[1-2]", ["1", "2"]),
        (" a , b[1] ", ["a", "b1"]),
    ],
)
def test_node_lists(node_list, hosts):
    assert expand_hosts(node_list) == hosts


@pytest.mark.parametrize(
    "node_list", ["", "a,", "a[", "a]", "a[]", "a[1-]", "a[3-1]", "a[b]", "a[1-2", "a[[1]]", "a b"]
)
def test_what_is_no_node_list_is_refused(node_list):
    with pytest.raises(ValueError, match="A SLURM node list can't be read"):
        expand_hosts(node_list)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 99), st.integers(0, 12), st.integers(1, 4)), min_size=1)
)
def test_ranges_expand_to_their_numbers_in_their_width(ranges):
    names = [f"{name}[{first:0{width}d}-{first + more:0{width}d}]" for name, first, more, width in ranges]
    expected = [
        name + str(number).zfill(max(width, len(str(first))))
        for name, first, more, width in ranges
        for number in range(first, first + more + 1)
    ]
    assert expand_hosts(",".join(names)) == expected
