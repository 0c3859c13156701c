"""The main path with the AWS CLI: words, queries and pages as scripts have them."""

import json


def window_is_made_filled_and_read_with_the_aws_command(world):
    name = world.name("cli")
    window = world.aws(
        *["create-maintenance-window", "--name", name, "--schedule", "cron(0 2 ? * TUE#2 *)", "--duration", "3"],
        *["--cutoff", "1", "--schedule-timezone", "Europe/Berlin", "--no-allow-unassociated-targets"],
        *["--tags", "Key=Team,Value=web"],
    )["WindowId"]
    target = world.aws(
        *["register-target-with-maintenance-window", "--window-id", window, "--resource-type", "INSTANCE"],
        *["--targets", "Key=tag:Patch Group,Values=canary"],
        *["--query", "WindowTargetId"],
    )
    task = world.aws(
        *["register-task-with-maintenance-window", "--window-id", window, "--task-type", "RUN_COMMAND"],
        *["--task-arn", "AWS-RunPatchBaseline", "--targets", f"Key=WindowTargetIds,Values={target}"],
        *["--max-concurrency", "20%", "--max-errors", "5%", "--priority", "1"],
        *["--task-invocation-parameters", json.dumps({"RunCommand": {"Parameters": {"Operation": ["Install"]}}})],
        *["--query", "WindowTaskId"],
    )
    found = world.aws("get-maintenance-window-task", "--window-id", window, "--window-task-id", task)
    assert found["MaxConcurrency"] == "20%" and found["Targets"][0]["Values"] == [target], found
    query = ["--query", "WindowIdentities[].[WindowId,Name]"]
    listed = world.aws("describe-maintenance-windows", "--filters", f"Key=Name,Values={name}", *query)
    assert listed == [[window, name]], listed
    upcoming = world.aws(
        *["describe-maintenance-window-schedule", "--window-id", window, "--max-items", "3"],
        *["--query", "ScheduledWindowExecutions[].ExecutionTime"],
    )
    assert len(upcoming) == 3 and upcoming == sorted(upcoming), upcoming
    world.aws("delete-maintenance-window", "--window-id", window)


def command_is_sent_waited_for_and_read_with_the_aws_command(world):
    command = world.aws(
        *["send-command", "--document-name", "AWS-RunShellScript", "--instance-ids", world.real],
        *["--parameters", json.dumps({"commands": ["echo from the command line"]}), "--comment", "by the CLI"],
        *["--query", "Command.CommandId"],
    )
    where = ["--command-id", command, "--instance-id", world.real]
    world.aws("wait", "command-executed", *where)
    query = ["--query", "[Status,ResponseCode,StandardOutputContent]"]
    assert world.aws("get-command-invocation", *where, *query) == ["Success", 0, "from the command line\n"]
    listed = world.aws("list-commands", "--command-id", command, "--query", "Commands[].Comment")
    assert listed == ["by the CLI"], listed


def baseline_and_group_are_made_with_the_aws_command(world):
    group = world.name("cli")
    rules = "PatchRules=[{PatchFilterGroup={PatchFilters=[{Key=PRIORITY,Values=[Required]}]},ApproveAfterDays=7}]"
    baseline = world.aws(
        *["create-patch-baseline", "--name", group, "--operating-system", "DEBIAN", "--approval-rules", rules],
        *["--rejected-patches", "linux-image-*", "--query", "BaselineId"],
    )
    world.aws("register-patch-baseline-for-patch-group", "--baseline-id", baseline, "--patch-group", group)
    words = ["get-patch-baseline-for-patch-group", "--patch-group", group, "--operating-system", "DEBIAN"]
    assert world.aws(*words, "--query", "BaselineId") == baseline
    refused = world.aws("delete-patch-baseline", "--baseline-id", baseline, fails=True)
    assert "(ResourceInUseException)" in refused and group in refused, refused
    world.aws("deregister-patch-baseline-for-patch-group", "--baseline-id", baseline, "--patch-group", group)
    world.aws("delete-patch-baseline", "--baseline-id", baseline)


def nodes_are_paged_and_cut_with_the_aws_command(world):
    query = ["--query", "InstanceInformationList[].InstanceId"]
    whole = world.aws("describe-instance-information", "--page-size", "5", *query)
    assert len(whole) == world.nodes + 1 and len(set(whole)) == len(whole), whole
    first = world.aws("describe-instance-information", "--max-items", "4")
    ids = [node["InstanceId"] for node in first["InstanceInformationList"]]
    rest = world.aws(
        "describe-instance-information", "--max-items", "100", "--starting-token", first["NextToken"], *query
    )
    assert sorted(ids + rest) == sorted(whole), (ids, rest, whole)


def mistakes_are_told_by_the_aws_command(world):
    refused = world.aws("get-maintenance-window", "--window-id", "mw-0123456789abcdef0", fails=True)
    assert "(DoesNotExistException)" in refused and "mw-0123456789abcdef0" in refused, refused
    refused = world.aws("describe-parameters", fails=True)
    assert "(UnknownOperationException)" in refused and "DescribeParameters" in refused, refused
