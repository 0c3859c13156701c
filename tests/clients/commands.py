"""Run Command: sent, followed, waited for, cancelled."""

import uuid

from botocore.exceptions import WaiterError

SCRIPT = "AWS-RunShellScript"


def _script(world, *lines, **changes):
    settings = {"DocumentName": SCRIPT, "InstanceIds": [world.real], "Parameters": {"commands": list(lines)}, **changes}
    return world.ssm.send_command(**settings)["Command"]


def command_by_tag_reaches_every_node_and_lists_agree(world):
    canaries = world.group("canary")
    sent = world.ssm.send_command(
        DocumentName="AWS-RunPatchBaseline",
        Targets=[{"Key": "tag:Patch Group", "Values": ["canary"]}],
        Parameters={"Operation": ["Scan"]},
        MaxConcurrency="50%",
        MaxErrors="1",
        Comment="look at the canaries",
        TimeoutSeconds=60,
    )["Command"]
    assert sent["Status"] == "Pending" and sent["DocumentName"] == "AWS-RunPatchBaseline", sent
    assert sent["MaxConcurrency"] == "50%" and sent["MaxErrors"] == "1" and sent["TimeoutSeconds"] == 60, sent
    assert sent["ExpiresAfter"] > sent["RequestedDateTime"], sent
    command = world.ended(sent["CommandId"])
    assert command["Status"] == "Success" and command["StatusDetails"] == "Success", command
    assert command["TargetCount"] == command["CompletedCount"] == len(canaries), command
    assert command["ErrorCount"] == 0 and command["DeliveryTimedOutCount"] == 0, command

    found = world.ssm.list_command_invocations(CommandId=sent["CommandId"], Details=True)["CommandInvocations"]
    assert sorted(one["InstanceId"] for one in found) == canaries, found
    for one in found:
        assert one["Status"] == "Success" and one["Comment"] == "look at the canaries", one
        (step,) = one["CommandPlugins"]
        assert step["ResponseCode"] == 0 and step["Status"] == "Success", step
        assert step["ResponseFinishDateTime"] >= step["ResponseStartDateTime"], step
    plain = world.ssm.list_command_invocations(CommandId=sent["CommandId"])["CommandInvocations"]
    assert all(one["CommandPlugins"] == [] for one in plain), plain

    by_node = world.ssm.list_commands(InstanceId=canaries[0], MaxResults=50)["Commands"]
    assert sent["CommandId"] in {one["CommandId"] for one in by_node}
    others = world.ssm.list_commands(InstanceId=world.real, MaxResults=50)["Commands"]
    assert sent["CommandId"] not in {one["CommandId"] for one in others}


def waiter_ends_when_the_script_has_and_its_output_is_there(world):
    marker = world.name("hello")
    sent = _script(world, f"echo {marker}", "echo to the other >&2")
    where = {"CommandId": sent["CommandId"], "InstanceId": world.real}
    waiter = world.ssm.get_waiter("command_executed")
    waiter.wait(**where, WaiterConfig={"Delay": 1, "MaxAttempts": 40})
    found = world.ssm.get_command_invocation(**where)
    assert found["Status"] == "Success" and found["ResponseCode"] == 0, found
    assert found["StandardOutputContent"].strip() == marker, found
    assert found["StandardErrorContent"].strip() == "to the other", found
    assert found["ExecutionElapsedTime"].startswith("PT") and found["ExecutionStartDateTime"].endswith("Z"), found
    named = world.ssm.get_command_invocation(**where, PluginName=found["PluginName"])
    assert named["StandardOutputContent"] == found["StandardOutputContent"]
    message = world.refused("InvalidPluginName", world.ssm.get_command_invocation, **where, PluginName="aws:none")
    assert found["PluginName"] in message, message


def waiter_fails_when_the_script_does(world):
    sent = _script(world, "echo before", "exit 7")
    where = {"CommandId": sent["CommandId"], "InstanceId": world.real}
    try:
        world.ssm.get_waiter("command_executed").wait(**where, WaiterConfig={"Delay": 1, "MaxAttempts": 40})
    except WaiterError as error:
        assert error.last_response["Status"] == "Failed", error
        assert error.last_response["ResponseCode"] == 7, error.last_response
    else:
        raise AssertionError("the waiter found success")
    command = world.ended(sent["CommandId"])
    assert command["Status"] == "Failed" and command["ErrorCount"] == 1, command


def cancelled_command_ends_cancelled_and_the_script_with_it(world):
    sent = _script(world, "sleep 60; echo too late")
    where = {"CommandId": sent["CommandId"], "InstanceId": world.real}
    running = lambda: world.ssm.get_command_invocation(**where)["Status"] == "InProgress"  # noqa: E731
    world.eventually("the script runs", running)
    answer = world.ssm.cancel_command(CommandId=sent["CommandId"], InstanceIds=[world.real])
    assert set(answer) == {"ResponseMetadata"}, answer
    command = world.ended(sent["CommandId"])
    assert command["Status"] == "Cancelled", command
    found = world.ssm.get_command_invocation(**where)
    assert found["Status"] == "Cancelled" and "too late" not in found["StandardOutputContent"], found
    # To cancel what has ended is no error.
    world.ssm.cancel_command(CommandId=sent["CommandId"])


def lists_are_filtered_by_status_document_stage_and_time(world):
    document = [{"key": "DocumentName", "value": SCRIPT}]
    sent = _script(world, "true")
    world.ended(sent["CommandId"])

    def listed(*filters, call=world.ssm.list_commands, member="Commands"):
        return {one["CommandId"] for one in call(Filters=list(filters), MaxResults=50)[member]}

    assert sent["CommandId"] in listed(*document)
    assert sent["CommandId"] in listed({"key": "Status", "value": "Success"}, {"key": "ExecutionStage", "value": "Complete"})
    assert sent["CommandId"] not in listed({"key": "ExecutionStage", "value": "Executing"})
    assert sent["CommandId"] not in listed({"key": "Status", "value": "Failed"})
    assert sent["CommandId"] not in listed({"key": "InvokedAfter", "value": "2099-01-01T00:00:00Z"})
    assert sent["CommandId"] in listed({"key": "InvokedAfter", "value": "2020-01-01T00:00:00Z"}, *document)
    assert sent["CommandId"] not in listed({"key": "InvokedBefore", "value": "2020-01-01T00:00:00Z"})
    invocations = {"call": world.ssm.list_command_invocations, "member": "CommandInvocations"}
    assert sent["CommandId"] in listed({"key": "Status", "value": "Success"}, *document, **invocations)
    assert sent["CommandId"] not in listed({"key": "Status", "value": "TimedOut"}, **invocations)


def error_threshold_ends_a_command_with_the_status_of_ssm(world):
    # The first line fails the step: `set -e` is the script's own business.
    sent = world.ssm.send_command(
        DocumentName=SCRIPT, InstanceIds=[world.real], Parameters={"commands": ["false"]}, MaxErrors="0"
    )["Command"]
    command = world.ended(sent["CommandId"])
    assert command["Status"] == "Failed" and command["ErrorCount"] == 1, command


def nodes_that_are_not_there_or_twice_are_refused(world):
    send = world.ssm.send_command
    script = {"DocumentName": SCRIPT, "Parameters": {"commands": ["true"]}}
    unknown = "mi-0123456789abcdef0"
    assert unknown in world.refused("InvalidInstanceId", send, **script, InstanceIds=[unknown])
    world.refused("DuplicateInstanceId", send, **script, InstanceIds=[world.real, world.real])
    world.refused("InvalidDocument", send, DocumentName="AWS-Nothing", InstanceIds=[world.real])
    world.refused("InvalidDocumentVersion", send, **script, InstanceIds=[world.real], DocumentVersion="99")
    wrong = {"DocumentName": SCRIPT, "InstanceIds": [world.real]}
    message = world.refused("InvalidParameters", send, **wrong, Parameters={"nothing": ["x"]})
    assert "nothing" in message, message
    message = world.refused("InvalidParameters", send, **wrong, Parameters={})
    assert "commands" in message, message
    world.refused("ValidationException", send, **script, InstanceIds=[world.real], MaxErrors="101%")


def commands_that_do_not_exist_are_said_not_to(world):
    missing = str(uuid.uuid4())
    world.refused("InvalidCommandId", world.ssm.get_command_invocation, CommandId=missing, InstanceId=world.real)
    world.refused("InvalidCommandId", world.ssm.cancel_command, CommandId=missing)
    sent = _script(world, "true")
    node = world.group("canary")[0]
    where = {"CommandId": sent["CommandId"], "InstanceId": node}
    world.refused("InvocationDoesNotExist", world.ssm.get_command_invocation, **where)
    error = world.ssm.exceptions.InvocationDoesNotExist
    try:
        world.ssm.get_command_invocation(**where)
    except error as caught:
        assert node in caught.response["Error"]["Message"], caught
    world.refused("InvalidInstanceId", world.ssm.cancel_command, CommandId=sent["CommandId"], InstanceIds=[node])
    world.refused("ValidationException", world.raw.list_commands, Filters=[{"key": "Nothing", "value": "x"}])
