"""A maintenance window that runs: from its firing to every node, and what is told of it."""

import datetime

from windows import _target, _task


def _soon(world, **changes):
    """A window that fires in three seconds, once."""
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)
    return world.window(Schedule=at.strftime("at(%Y-%m-%dT%H:%M:%S)"), **changes)


def _ended(world, window):
    """Waits until the window has run once; returns its execution."""

    def look():
        executions = world.ssm.describe_maintenance_window_executions(WindowId=window)["WindowExecutions"]
        assert len(executions) < 2, executions
        return executions and executions[0]["Status"] not in ("PENDING", "IN_PROGRESS", "CANCELLING") and executions[0]

    return world.eventually(f"window {window} has run", look)


def window_fires_by_its_schedule_and_every_level_can_be_followed_down(world):
    window = _soon(world)
    target = _target(world, window)
    scan = _task(world, window, target, Name="look")
    install = {"RunCommand": {"Parameters": {"Operation": ["Install"], "RebootOption": ["NoReboot"]}}}
    _task(world, window, target, Priority=2, Name="patch", TaskInvocationParameters=install)
    canaries = world.group("canary")

    execution = _ended(world, window)
    assert execution["Status"] == "SUCCESS" and execution["WindowId"] == window, execution
    assert execution["EndTime"] >= execution["StartTime"], execution
    id = execution["WindowExecutionId"]
    found = world.ssm.get_maintenance_window_execution(WindowExecutionId=id)
    assert found["Status"] == "SUCCESS" and len(found["TaskIds"]) == 2, found

    tasks = world.ssm.describe_maintenance_window_execution_tasks(WindowExecutionId=id)
    tasks = tasks["WindowExecutionTaskIdentities"]
    assert {task["TaskExecutionId"] for task in tasks} == set(found["TaskIds"]), tasks
    assert {task["Status"] for task in tasks} == {"SUCCESS"} and {task["TaskType"] for task in tasks} == {"RUN_COMMAND"}
    first, second = sorted(tasks, key=lambda task: task["StartTime"])
    assert first["EndTime"] <= second["StartTime"], "priority 2 starts when priority 1 has ended"
    by_status = [{"Key": "STATUS", "Values": ["FAILED"]}]
    none = world.ssm.describe_maintenance_window_execution_tasks(WindowExecutionId=id, Filters=by_status)
    assert none["WindowExecutionTaskIdentities"] == [], none

    operations = []
    for identity in (first, second):
        named = {"WindowExecutionId": id, "TaskId": identity["TaskExecutionId"]}
        task = world.ssm.get_maintenance_window_execution_task(**named)
        assert task["Type"] == "RUN_COMMAND" and task["TaskArn"] == "AWS-RunPatchBaseline", task
        assert task["MaxConcurrency"] == "50%" and task["MaxErrors"] == "1", task
        invocations = world.ssm.describe_maintenance_window_execution_task_invocations(**named)
        (invocation,) = invocations["WindowExecutionTaskInvocationIdentities"]
        assert invocation["Status"] == "SUCCESS" and invocation["WindowTargetId"] == target, invocation
        same = world.ssm.get_maintenance_window_execution_task_invocation(
            **named, InvocationId=invocation["InvocationId"]
        )
        assert same["ExecutionId"] == invocation["ExecutionId"], same

        # What a task runs is a command like any other.
        (command,) = world.ssm.list_commands(CommandId=invocation["ExecutionId"])["Commands"]
        assert command["Status"] == "Success" and command["TargetCount"] == len(canaries), command
        operations.append(command["Parameters"]["Operation"])
        nodes = world.ssm.list_command_invocations(CommandId=command["CommandId"])["CommandInvocations"]
        assert sorted(node["InstanceId"] for node in nodes) == canaries, nodes
        assert {node["Status"] for node in nodes} == {"Success"}, nodes
    assert operations == [["Scan"], ["Install"]], operations
    assert world.ssm.get_maintenance_window_task(WindowId=window, WindowTaskId=scan)["Name"] == "look"

    between = [
        {"Key": "ExecutedAfter", "Values": ["2020-01-01T00:00:00Z"]},
        {"Key": "ExecutedBefore", "Values": ["2020-01-02T00:00:00Z"]},
    ]
    old = world.ssm.describe_maintenance_window_executions(WindowId=window, Filters=between)
    assert old["WindowExecutions"] == [], old


def cancelled_execution_stops_its_tasks_and_says_so(world):
    window = world.window(AllowUnassociatedTargets=True)
    script = {"RunCommand": {"Parameters": {"commands": ["sleep 60"]}}}
    targets = [{"Key": "InstanceIds", "Values": [world.real]}]
    for priority in (1, 2):
        world.ssm.register_task_with_maintenance_window(
            WindowId=window,
            TaskType="RUN_COMMAND",
            TaskArn="AWS-RunShellScript",
            Targets=targets,
            TaskInvocationParameters=script,
            Priority=priority,
            MaxConcurrency="1",
            MaxErrors="0",
        )
    execution = world.patchwave("StartMaintenanceWindow", WindowId=window, Reason="try it")["WindowExecutionId"]

    def running():
        identities = world.ssm.describe_maintenance_window_executions(WindowId=window)["WindowExecutions"]
        if not identities:
            return None
        tasks = world.ssm.describe_maintenance_window_execution_tasks(WindowExecutionId=execution)
        tasks = [task for task in tasks["WindowExecutionTaskIdentities"] if task["Status"] == "IN_PROGRESS"]
        return tasks and tasks[0]["TaskExecutionId"]

    task = world.eventually("the first task runs", running)
    answer = world.ssm.cancel_maintenance_window_execution(WindowExecutionId=execution)
    assert answer["WindowExecutionId"] == execution, answer
    # SSM lets what runs end by itself; so the one command is cancelled by its own name.
    invocations = world.ssm.describe_maintenance_window_execution_task_invocations(
        WindowExecutionId=execution, TaskId=task
    )["WindowExecutionTaskInvocationIdentities"]
    world.ssm.cancel_command(CommandId=invocations[0]["ExecutionId"])
    ended = _ended(world, window)
    assert ended["Status"] == "CANCELLED", ended
    tasks = world.ssm.describe_maintenance_window_execution_tasks(WindowExecutionId=execution)
    assert {task["Status"] for task in tasks["WindowExecutionTaskIdentities"]} == {"CANCELLED"}, tasks
    # Once more is no error.
    world.ssm.cancel_maintenance_window_execution(WindowExecutionId=execution)


def executions_that_do_not_exist_are_said_not_to(world):
    missing = "00000000-0000-4000-8000-000000000000"
    named = {"WindowExecutionId": missing}
    task = {**named, "TaskId": missing}
    for call, arguments in [
        (world.ssm.get_maintenance_window_execution, named),
        (world.ssm.describe_maintenance_window_execution_tasks, named),
        (world.ssm.cancel_maintenance_window_execution, named),
        (world.ssm.get_maintenance_window_execution_task, task),
        (world.ssm.describe_maintenance_window_execution_task_invocations, task),
        (world.ssm.get_maintenance_window_execution_task_invocation, {**task, "InvocationId": missing}),
    ]:
        assert missing in world.refused("DoesNotExistException", call, **arguments)
