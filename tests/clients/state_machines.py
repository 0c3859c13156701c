"""State machines: boto3's Step Functions client, from a definition to its history."""

import http.server
import json
import threading
import time

from window_runs import _ended as _window_ended
from window_runs import _soon
from windows import _target


def _machine(world, **states):
    definition = {"StartAt": next(iter(states)), "States": states}
    name = world.name("Machine")
    return world.states.create_state_machine(
        name=name, definition=json.dumps(definition), roleArn="arn:aws:iam::000000000000:role/any")["stateMachineArn"]


def _ended(world, execution):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = world.states.describe_execution(executionArn=execution)
        if found["status"] != "RUNNING":
            return found
        time.sleep(0.1)
    raise AssertionError(f"{execution} has not ended: {world.states.get_execution_history(executionArn=execution)}")


def an_execution_runs_to_its_output_and_tells_its_history(world):
    machine = _machine(world, Add={"Type": "Pass", "Parameters": {"sum.$": "States.MathAdd($.a, $.b)"}, "Next": "Wait"},
                       Wait={"Type": "Wait", "Seconds": 1, "Next": "Done"}, Done={"Type": "Succeed"})
    started = world.states.start_execution(stateMachineArn=machine, name="one", input='{"a": 2, "b": 3}')
    again = world.states.start_execution(stateMachineArn=machine, name="one", input='{"a": 2, "b": 3}')
    assert again["executionArn"] == started["executionArn"], again
    found = _ended(world, started["executionArn"])
    assert found["status"] == "SUCCEEDED" and json.loads(found["output"]) == {"sum": 5}, found
    events = world.states.get_execution_history(executionArn=started["executionArn"])["events"]
    types = [event["type"] for event in events]
    assert types[0] == "ExecutionStarted" and types[-1] == "ExecutionSucceeded", types
    newest = world.states.get_execution_history(executionArn=started["executionArn"], reverseOrder=True, maxResults=1)
    assert newest["events"][0]["type"] == "ExecutionSucceeded" and newest["nextToken"], newest
    listed = world.states.list_executions(stateMachineArn=machine)["executions"]
    assert [one["name"] for one in listed] == ["one"], listed
    world.refused("ExecutionAlreadyExists", world.states.start_execution, stateMachineArn=machine, name="one", input="{}")


def a_machine_patches_nodes_by_a_command_and_waits_for_it(world):
    machine = _machine(world, Run={
        "Type": "Task", "Resource": "patchwave:command.sync", "End": True,
        "Parameters": {"DocumentName": "AWS-RunShellScript", "InstanceIds.$": "States.Array($.node)",
                       "Parameters": {"commands": ["echo from a machine"]}}})
    execution = world.states.start_execution(stateMachineArn=machine, input=json.dumps({"node": world.real}))
    found = _ended(world, execution["executionArn"])
    assert found["status"] == "SUCCEEDED", found
    output = json.loads(found["output"])
    assert output["Status"] == "Success" and output["TargetCount"] == 1, output
    invocation = world.ssm.get_command_invocation(CommandId=output["CommandId"], InstanceId=world.real)
    assert invocation["StandardOutputContent"].strip() == "from a machine", invocation


def a_machine_asks_our_own_operations_and_starts_another_machine(world):
    inner = _machine(world, P={"Type": "Pass", "Parameters": {"n.$": "$.InstanceInformationList[0].InstanceId"}, "End": True})
    outer = _machine(
        world,
        Ask={"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:ssm:describeInstanceInformation",
             "Parameters": {"MaxResults": 5}, "Next": "Inner"},
        Inner={"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2", "End": True,
               "Parameters": {"StateMachineArn": inner, "Input.$": "$"}, "OutputPath": "$.Output"})
    found = _ended(world, world.states.start_execution(stateMachineArn=outer)["executionArn"])
    assert found["status"] == "SUCCEEDED", found
    assert json.loads(found["output"])["n"].startswith("mi-"), found


def a_task_waits_for_its_token_with_signs_of_life(world):
    machine = _machine(world, T={"Type": "Task", "Resource": "arn:aws:states:local:000000000000:activity:any",
                                 "HeartbeatSeconds": 60, "TimeoutSeconds": 120, "End": True},)
    execution = world.states.start_execution(stateMachineArn=machine)["executionArn"]
    # The token follows from the execution; whoever is called is told it by `$$.Task.Token`.
    world.refused("TaskDoesNotExist", world.states.send_task_success, taskToken="none", output="{}")
    stopped = world.states.stop_execution(executionArn=execution, error="Enough", cause="it takes too long")
    assert stopped["stopDate"], stopped
    found = _ended(world, execution)
    assert found["status"] == "ABORTED" and found["error"] == "Enough", found


def a_failure_is_told_and_map_and_parallel_come_to_their_outputs(world):
    failing = _machine(world, F={"Type": "Fail", "Error": "Broken", "Cause": "on purpose"})
    found = _ended(world, world.states.start_execution(stateMachineArn=failing)["executionArn"])
    assert (found["status"], found["error"], found["cause"]) == ("FAILED", "Broken", "on purpose"), found
    both = _machine(world, M={
        "Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 2, "Next": "P",
        "ItemProcessor": {"StartAt": "D", "States": {
            "D": {"Type": "Pass", "Parameters": {"twice.$": "States.MathAdd($, $)"}, "OutputPath": "$.twice", "End": True}}}},
        P={"Type": "Parallel", "End": True, "Branches": [
            {"StartAt": "L", "States": {"L": {"Type": "Pass", "Parameters": {"length.$": "States.ArrayLength($)"}, "End": True}}},
            {"StartAt": "S", "States": {"S": {"Type": "Pass", "End": True}}}]})
    found = _ended(world, world.states.start_execution(stateMachineArn=both, input=json.dumps({"items": list(range(50))}))["executionArn"])
    assert json.loads(found["output"]) == [{"length": 50}, [2 * n for n in range(50)]], found


def definitions_are_validated_described_changed_and_deleted(world):
    world.refused("InvalidDefinition", world.states.create_state_machine, name=world.name("Bad"),
                  definition='{"StartAt": "A", "States": {}}', roleArn="arn:aws:iam::000000000000:role/any")
    checked = world.states.validate_state_machine_definition(definition='{"StartAt": "A", "States": {}}')
    assert checked["result"] == "FAIL" and checked["diagnostics"][0]["code"], checked
    machine = _machine(world, A={"Type": "Succeed"})
    described = world.states.describe_state_machine(stateMachineArn=machine)
    assert described["status"] == "ACTIVE" and json.loads(described["definition"])["StartAt"] == "A", described
    changed = world.states.update_state_machine(stateMachineArn=machine, definition='{"StartAt": "B", "States": {"B": {"Type": "Succeed"}}}')
    assert changed["revisionId"] == "2", changed
    assert machine in [one["stateMachineArn"] for one in world.states.list_state_machines()["stateMachines"]]
    execution = world.states.start_execution(stateMachineArn=machine)["executionArn"]
    _ended(world, execution)
    began = world.states.describe_state_machine_for_execution(executionArn=execution)
    assert json.loads(began["definition"])["StartAt"] == "B", began
    world.states.delete_state_machine(stateMachineArn=machine)
    world.refused("StateMachineDoesNotExist", world.states.start_execution, stateMachineArn=machine)


def a_window_starts_an_execution_for_each_target_and_one_for_a_task_without(world):
    machine = _machine(world, P={"Type": "Pass", "End": True})
    window = _soon(world)
    target = _target(world, window)
    register = world.ssm.register_task_with_maintenance_window
    told = {"Input": '{"node": "{{TARGET_ID}}", "run": "{{WINDOW_EXECUTION_ID}}"}'}
    each = register(WindowId=window, TaskType="STEP_FUNCTIONS", TaskArn=machine, MaxConcurrency="3", MaxErrors="0",
                    Targets=[{"Key": "WindowTargetIds", "Values": [target]}],
                    TaskInvocationParameters={"StepFunctions": told})["WindowTaskId"]
    once = register(WindowId=window, TaskType="STEP_FUNCTIONS", TaskArn=machine, Priority=5,
                    TaskInvocationParameters={"StepFunctions": {"Input": '{"once": "{{TARGET_ID}}"}'}})["WindowTaskId"]
    found = world.ssm.get_maintenance_window_task(WindowId=window, WindowTaskId=each)
    assert found["TaskInvocationParameters"]["StepFunctions"] == told, found
    found = world.ssm.get_maintenance_window_task(WindowId=window, WindowTaskId=once)
    assert (found["MaxConcurrency"], found["MaxErrors"]) == ("1", "1"), found
    world.refused("ValidationException", register, WindowId=window, TaskType="STEP_FUNCTIONS", TaskArn=machine,
                  MaxConcurrency="3", MaxErrors="0")

    execution = _window_ended(world, window)
    assert execution["Status"] == "SUCCESS", execution
    id = execution["WindowExecutionId"]
    tasks = world.ssm.describe_maintenance_window_execution_tasks(WindowExecutionId=id)["WindowExecutionTaskIdentities"]
    assert [task["Status"] for task in tasks] == ["SUCCESS", "SUCCESS"], tasks
    inputs = []
    for task in tasks:
        named = {"WindowExecutionId": id, "TaskId": task["TaskExecutionId"]}
        listed = world.ssm.describe_maintenance_window_execution_task_invocations(**named, MaxResults=100)
        for invocation in listed["WindowExecutionTaskInvocationIdentities"]:
            assert invocation["Status"] == "SUCCESS" and invocation["TaskType"] == "STEP_FUNCTIONS", invocation
            ran = world.states.describe_execution(executionArn=invocation["ExecutionId"])
            inputs.append(json.loads(ran["input"]))
            same = world.ssm.get_maintenance_window_execution_task_invocation(**named, InvocationId=invocation["InvocationId"])
            assert same["ExecutionId"] == invocation["ExecutionId"], same
    assert {"once": ""} in inputs, inputs
    nodes = sorted(one["node"] for one in inputs if "node" in one)
    assert nodes == world.group("canary") and all(one["run"] == id for one in inputs if "node" in one), inputs


class _Function(http.server.BaseHTTPRequestHandler):
    """A function behind Lambda's Invoke interface: says what it was given."""

    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        broken = "broken" in given
        body = json.dumps({"errorType": "Broken", "errorMessage": "on purpose"} if broken else {"given": given}).encode()
        self.send_response(200)
        if broken:
            self.send_header("X-Amz-Function-Error", "Unhandled")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def functions_are_called_by_machines_and_by_a_window_for_each_target(world):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Function)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        name = world.name("says")
        put = world.patchwave("PutFunction", Name=name, Url=f"http://127.0.0.1:{server.server_port}")
        assert put["TimeoutSeconds"] == 60, put
        assert name in [one["Name"] for one in world.patchwave("ListFunctions")["Functions"]]
        machine = _machine(
            world,
            A={"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "OutputPath": "$.Payload",
               "Parameters": {"FunctionName": name, "Payload": {"n": 1}}, "Next": "B"},
            B={"Type": "Task", "Resource": f"patchwave:function:{name}", "Parameters": {"broken": True}, "End": True,
               "Catch": [{"ErrorEquals": ["Broken"], "ResultPath": "$.error", "Next": "C"}]},
            C={"Type": "Pass", "Parameters": {"given.$": "$.given", "error.$": "$.error.Error"}, "End": True})
        found = _ended(world, world.states.start_execution(stateMachineArn=machine)["executionArn"])
        assert json.loads(found["output"]) == {"given": {"n": 1}, "error": "Broken"}, found

        window = _soon(world)
        target = _target(world, window)
        payload = json.dumps({"node": "{{ TARGET_ID }}"}).encode()
        world.ssm.register_task_with_maintenance_window(
            WindowId=window, TaskType="LAMBDA", TaskArn=name, MaxConcurrency="2", MaxErrors="0",
            Targets=[{"Key": "WindowTargetIds", "Values": [target]}],
            TaskInvocationParameters={"Lambda": {"Payload": payload}})
        (task,) = world.ssm.describe_maintenance_window_tasks(WindowId=window)["Tasks"]
        found = world.ssm.get_maintenance_window_task(WindowId=window, WindowTaskId=task["WindowTaskId"])
        assert found["TaskInvocationParameters"]["Lambda"]["Payload"] == payload, found
        execution = _window_ended(world, window)
        assert execution["Status"] == "SUCCESS", execution
        (task,) = world.ssm.describe_maintenance_window_execution_tasks(
            WindowExecutionId=execution["WindowExecutionId"])["WindowExecutionTaskIdentities"]
        made = world.ssm.describe_maintenance_window_execution_task_invocations(
            WindowExecutionId=execution["WindowExecutionId"], TaskId=task["TaskExecutionId"], MaxResults=100)
        made = made["WindowExecutionTaskInvocationIdentities"]
        assert len(made) == len(world.group("canary")) and {one["Status"] for one in made} == {"SUCCESS"}, made
        world.patchwave("DeleteFunction", Name=name)
    finally:
        server.shutdown()
