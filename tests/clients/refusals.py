"""Requests that the clients themselves would not send: the server says what is wrong with them."""

import json


def _faults(message):
    """The faults that a message of SSM's form tells of."""
    head, _, rest = message.partition(" detected: ")
    count, *words = head.split()
    assert words in (["validation", "error"], ["validation", "errors"]), message
    faults = rest.split("; Value ")
    assert len(faults) == int(count), f"{count} faults are announced and {len(faults)} told: {message}"
    return faults


def members_that_break_a_constraint_are_named_with_value_and_what_is_allowed(world):
    window = {"Name": "ok-name", "Schedule": "rate(1 day)", "Duration": 2, "Cutoff": 1, "AllowUnassociatedTargets": True}
    for changes, wanted in [
        ({"Name": "a b"}, ["'a b'", "'name'", "regular expression pattern"]),
        ({"Duration": 25}, ["'25'", "'duration'", "less than or equal to 24"]),
        ({"Duration": 0}, ["'0'", "'duration'", "greater than or equal to 1"]),
        ({"Cutoff": 24}, ["'24'", "'cutoff'", "less than or equal to 23"]),
        ({"ScheduleOffset": 7}, ["'7'", "'scheduleOffset'", "less than or equal to 6"]),
        ({"Description": "x" * 129}, ["'description'", "less than or equal to 128"]),
        ({"ClientToken": "x" * 65}, ["'clientToken'", "less than or equal to 64"]),
    ]:
        message = world.refused("ValidationException", world.raw.create_maintenance_window, **{**window, **changes})
        assert _faults(message) and all(part in message for part in wanted), f"{changes}: {message}"


def required_members_that_are_missing_are_named(world):
    for call, members in [
        (world.raw.create_maintenance_window, ["name", "schedule", "duration", "cutoff", "allowUnassociatedTargets"]),
        (world.raw.get_maintenance_window, ["windowId"]),
        (world.raw.create_patch_baseline, ["name"]),
        (world.raw.register_patch_baseline_for_patch_group, ["baselineId", "patchGroup"]),
        (world.raw.send_command, ["documentName"]),
        (world.raw.get_command_invocation, ["commandId", "instanceId"]),
        (world.raw.describe_instance_patches, ["instanceId"]),
        (world.raw.describe_instance_patch_states, ["instanceIds"]),
        (world.raw.add_tags_to_resource, ["resourceType", "resourceId", "tags"]),
    ]:
        message = world.refused("ValidationException", call)
        assert any(f"Value null at '{member}'" in message for member in members), message
        assert "Member must not be null" in message, message


def members_of_another_type_are_refused_with_their_name(world):
    for operation, body, member in [
        ("CreateMaintenanceWindow", {"Name": 7}, "name"),
        ("CreateMaintenanceWindow", {"Duration": "two"}, "duration"),
        ("DescribeMaintenanceWindows", {"MaxResults": "many"}, "maxResults"),
        ("DescribeMaintenanceWindows", {"Filters": {"Key": "Name"}}, "filters"),
        ("SendCommand", {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": "true"}}, "parameters"),
        ("CreatePatchBaseline", {"Name": "name", "ApprovalRules": []}, "approvalRules"),
    ]:
        status, text = world.post(f"AmazonSSM.{operation}", json.dumps(body))
        answer = json.loads(text)
        assert status == 400 and answer["__type"] == "SerializationException", f"{operation} {body}: {answer}"
        assert member in answer["message"].lower() or member in answer["message"], answer


def words_outside_an_enumeration_are_refused_with_those_inside(world):
    message = world.refused("ValidationException", world.raw.create_patch_baseline, Name="name", OperatingSystem="BEOS")
    assert "'BEOS' at 'operatingSystem'" in message and "DEBIAN" in message, message
    message = world.refused(
        "ValidationException", world.raw.describe_maintenance_windows_for_target, ResourceType="X", Targets=[]
    )
    assert "RESOURCE_GROUP" in message or "targets" in message, message


def bodies_that_are_no_json_object_are_refused(world):
    for body in [b"", b"[]", b"{", b"\xff\xfe", b'{"Name": "a"} trailing', b"null", b'"text"']:
        status, text = world.post("AmazonSSM.CreateMaintenanceWindow", body)
        answer = json.loads(text)
        assert status == 400, f"{body}: {status} {text}"
        # An empty body is an empty object, as SDKs may send it.
        code = "ValidationException" if body == b"" else "SerializationException"
        assert answer["__type"] == code and answer["message"], f"{body}: {answer}"


def body_that_is_too_large_is_refused_and_the_next_request_is_not(world):
    status, text = world.post("AmazonSSM.CreateMaintenanceWindow", b'{"Name": "' + b"x" * (2 << 20) + b'"}')
    assert status in (400, 413), f"{status} {text}"
    assert json.loads(text)["__type"], text
    world.ssm.describe_maintenance_windows()


def targets_that_name_no_operation_are_refused(world):
    for target in ["", "AmazonSSM", "AmazonSSM.", "AmazonEC2.DescribeInstances", "Patchwave.Nothing", "AmazonSSM.no"]:
        status, text = world.post(target, b"{}")
        answer = json.loads(text)
        assert status == 400 and answer["__type"] == "UnknownOperationException", f"{target}: {answer}"
        assert answer["message"], answer


def names_that_break_databases_are_data_and_nothing_else(world):
    for name in ["'; DROP TABLE windows; --", "%", "_", "\\", "naïve ☃", "a\nb"]:
        baselines = world.ssm.describe_patch_baselines(Filters=[{"Key": "NAME_PREFIX", "Values": [name]}])
        assert baselines["BaselineIdentities"] == [], baselines
    resource = {"ResourceType": "ManagedInstance", "ResourceId": world.group("canary")[0]}
    for value in ["--", "_", "naïve ñandú", "a/b:c=d+e@f", "日本"]:
        world.ssm.add_tags_to_resource(**resource, Tags=[{"Key": "Odd", "Value": value}])
        assert world.tagged("Odd", value) == [resource["ResourceId"]], value
    world.ssm.remove_tags_from_resource(**resource, TagKeys=["Odd"])
    status, text = world.post("AmazonSSM.DescribePatchGroupState", json.dumps({"PatchGroup": "a\0b"}))
    assert status in (200, 400), f"NUL: {status} {text}"
