"""Maintenance windows: made, changed, previewed, with targets and tasks."""

import datetime
import uuid


def window_reads_back_as_it_was_created(world):
    settings = {
        "Name": world.name("nights"),
        "Description": "the second Tuesday",
        "Schedule": "cron(0 2 ? * TUE#2 *)",
        "ScheduleTimezone": "Europe/Berlin",
        "ScheduleOffset": 2,
        "StartDate": "2026-01-01T00:00:00Z",
        "EndDate": "2099-01-01T00:00:00Z",
        "Duration": 3,
        "Cutoff": 1,
        "AllowUnassociatedTargets": True,
    }
    window = world.ssm.create_maintenance_window(**settings, Tags=[{"Key": "Site", "Value": "here"}])["WindowId"]
    found = world.ssm.get_maintenance_window(WindowId=window)
    for member, value in settings.items():
        assert found[member] == value, f"{member}: {found[member]} should be {value}"
    assert found["Enabled"] is True and found["WindowId"] == window, found
    # In the window's own zone, with its offset.
    following = datetime.datetime.strptime(found["NextExecutionTime"], "%Y-%m-%dT%H:%M%z")
    assert following > datetime.datetime.now(datetime.timezone.utc), found
    assert following.weekday() == 3 and following.hour == 2, f"the Thursday after: {found['NextExecutionTime']}"
    (listed,) = world.ssm.describe_maintenance_windows(Filters=[{"Key": "Name", "Values": [settings["Name"]]}])[
        "WindowIdentities"
    ]
    assert listed["WindowId"] == window and listed["NextExecutionTime"] == found["NextExecutionTime"], listed
    tags = world.ssm.list_tags_for_resource(ResourceType="MaintenanceWindow", ResourceId=window)["TagList"]
    assert tags == [{"Key": "Site", "Value": "here"}], tags
    assert world.ssm.delete_maintenance_window(WindowId=window)["WindowId"] == window
    world.refused("DoesNotExistException", world.ssm.get_maintenance_window, WindowId=window)


def create_window_repeated_with_its_client_token_makes_one(world):
    settings = {"Name": world.name("once"), "ClientToken": world.name("token")}
    first = world.window(**settings)
    assert world.window(**settings) == first
    found = world.ssm.describe_maintenance_windows(Filters=[{"Key": "Name", "Values": [settings["Name"]]}])
    assert len(found["WindowIdentities"]) == 1, found
    message = world.refused("IdempotentParameterMismatch", world.window, **settings, Duration=9)
    assert settings["ClientToken"] in message, message


def update_window_keeps_what_it_does_not_name_and_replace_does_not(world):
    window = world.window(Description="before", ScheduleTimezone="Europe/Berlin")
    updated = world.ssm.update_maintenance_window(WindowId=window, Duration=5, Enabled=False)
    assert updated["Duration"] == 5 and updated["Enabled"] is False, updated
    assert updated["Description"] == "before" and updated["ScheduleTimezone"] == "Europe/Berlin", updated
    assert "NextExecutionTime" not in world.ssm.get_maintenance_window(WindowId=window), "a disabled window has no next"
    name = world.name("replaced")
    replaced = world.ssm.update_maintenance_window(
        WindowId=window,
        Name=name,
        Schedule="rate(7 days)",
        Duration=2,
        Cutoff=0,
        AllowUnassociatedTargets=True,
        Enabled=True,
        Replace=True,
    )
    assert replaced["Name"] == name and "Description" not in replaced, replaced
    assert "ScheduleTimezone" not in replaced, replaced
    world.refused(
        "ValidationException", world.ssm.update_maintenance_window, WindowId=window, Name=name, Replace=True
    )


def wrong_schedules_are_refused_with_the_place_of_the_fault(world):
    for schedule, said in [
        ("cron(0 2 ? * TUE#6 *)", "TUE#6"),
        ("cron(0 2 * * TUE *)", "?"),
        ("rate(0 days)", "0"),
        ("at(2026-13-01T00:00:00)", "13"),
        ("every tuesday", "every tuesday"),
    ]:
        message = world.refused("ValidationException", world.window, Schedule=schedule)
        assert said in message and schedule in message, message
    message = world.refused("ValidationException", world.window, ScheduleTimezone="Europe/Nowhere")
    assert "Europe/Nowhere" in message, message
    message = world.refused("ValidationException", world.window, Duration=2, Cutoff=2)
    assert "utoff" in message, message


def schedule_preview_goes_over_all_pages_in_order(world):
    window = world.window(Schedule="cron(0 12 * * ? *)")
    pages = list(
        world.ssm.get_paginator("describe_maintenance_window_schedule").paginate(
            WindowId=window, PaginationConfig={"PageSize": 7, "MaxItems": 40}
        )
    )
    times = [run["ExecutionTime"] for page in pages for run in page["ScheduledWindowExecutions"]]
    assert len(times) == 40 and len(pages) == 6, (len(times), len(pages))
    parsed = [datetime.datetime.strptime(time, "%Y-%m-%dT%H:%MZ") for time in times]
    days = {(later - earlier).days for earlier, later in zip(parsed, parsed[1:])}
    assert days == {1} and {time.hour for time in parsed} == {12}, times
    assert times[0] == world.ssm.get_maintenance_window(WindowId=window)["NextExecutionTime"]
    # For whoever a window is for.
    target = {"Key": "tag:Patch Group", "Values": ["canary"]}
    world.ssm.register_target_with_maintenance_window(WindowId=window, ResourceType="INSTANCE", Targets=[target])
    found = world.ssm.describe_maintenance_window_schedule(
        Targets=[{"Key": "InstanceIds", "Values": world.group("canary")[:1]}], ResourceType="INSTANCE", MaxResults=100
    )["ScheduledWindowExecutions"]
    assert window in {run["WindowId"] for run in found}, found


def windows_are_found_by_the_nodes_they_touch(world):
    window, other = world.window(), world.window()
    for id, group in [(window, "canary"), (other, "production")]:
        target = {"Key": "tag:Patch Group", "Values": [group]}
        world.ssm.register_target_with_maintenance_window(WindowId=id, ResourceType="INSTANCE", Targets=[target])
    node = [{"Key": "InstanceIds", "Values": world.group("canary")[:1]}]
    pages = world.ssm.get_paginator("describe_maintenance_windows_for_target").paginate(
        Targets=node, ResourceType="INSTANCE"
    )
    found = {identity["WindowId"] for page in pages for identity in page["WindowIdentities"]}
    assert window in found and other not in found, found


def targets_are_registered_changed_listed_and_taken_out(world):
    window = world.window()
    token = world.name("token")
    settings = {
        "WindowId": window,
        "ResourceType": "INSTANCE",
        "Targets": [{"Key": "tag:Patch Group", "Values": ["canary"]}],
        "OwnerInformation": "web team",
        "Name": "canaries",
        "Description": "those that go first",
        "ClientToken": token,
    }
    target = world.ssm.register_target_with_maintenance_window(**settings)["WindowTargetId"]
    assert world.ssm.register_target_with_maintenance_window(**settings)["WindowTargetId"] == target
    changed = {**settings, "Name": "others"}
    world.refused("IdempotentParameterMismatch", world.ssm.register_target_with_maintenance_window, **changed)
    (listed,) = world.ssm.describe_maintenance_window_targets(WindowId=window)["Targets"]
    for member in ["WindowId", "ResourceType", "Targets", "OwnerInformation", "Name", "Description"]:
        assert listed[member] == settings[member], listed
    updated = world.ssm.update_maintenance_window_target(WindowId=window, WindowTargetId=target, Name="birds")
    assert updated["Name"] == "birds" and updated["OwnerInformation"] == "web team", updated
    task = _task(world, window, target)
    message = world.refused(
        "TargetInUseException",
        world.ssm.deregister_target_from_maintenance_window,
        WindowId=window,
        WindowTargetId=target,
        Safe=True,
    )
    assert task in message, message
    world.ssm.deregister_task_from_maintenance_window(WindowId=window, WindowTaskId=task)
    world.ssm.deregister_target_from_maintenance_window(WindowId=window, WindowTargetId=target, Safe=True)
    assert world.ssm.describe_maintenance_window_targets(WindowId=window)["Targets"] == []
    world.refused(
        "DoesNotExistException",
        world.ssm.deregister_target_from_maintenance_window,
        WindowId=window,
        WindowTargetId=target,
    )


def tasks_are_registered_changed_listed_and_taken_out(world):
    window = world.window()
    target = _target(world, window)
    token = world.name("token")
    parameters = {"Operation": ["Scan"]}
    task = _task(world, window, target, ClientToken=token)
    assert _task(world, window, target, ClientToken=token) == task
    world.refused("IdempotentParameterMismatch", _task, world=world, window=window, target=target, ClientToken=token, Priority=7)
    found = world.ssm.get_maintenance_window_task(WindowId=window, WindowTaskId=task)
    assert found["TaskType"] == "RUN_COMMAND" and found["TaskArn"] == "AWS-RunPatchBaseline", found
    assert found["TaskInvocationParameters"]["RunCommand"]["Parameters"] == parameters, found
    assert found["Targets"] == [{"Key": "WindowTargetIds", "Values": [target]}], found
    assert found["MaxConcurrency"] == "50%" and found["MaxErrors"] == "1" and found["Priority"] == 1, found
    (listed,) = world.ssm.describe_maintenance_window_tasks(WindowId=window)["Tasks"]
    assert listed["Type"] == "RUN_COMMAND" and listed["WindowTaskId"] == task, listed
    updated = world.ssm.update_maintenance_window_task(
        WindowId=window, WindowTaskId=task, Priority=5, MaxErrors="10%", CutoffBehavior="CANCEL_TASK"
    )
    assert updated["Priority"] == 5 and updated["MaxErrors"] == "10%", updated
    assert updated["CutoffBehavior"] == "CANCEL_TASK", updated
    assert updated["TaskInvocationParameters"]["RunCommand"]["Parameters"] == parameters, updated
    by_type = [{"Key": "TaskType", "Values": ["RUN_COMMAND"]}, {"Key": "Priority", "Values": ["5"]}]
    assert len(world.ssm.describe_maintenance_window_tasks(WindowId=window, Filters=by_type)["Tasks"]) == 1
    world.ssm.deregister_task_from_maintenance_window(WindowId=window, WindowTaskId=task)
    world.refused(
        "DoesNotExistException", world.ssm.get_maintenance_window_task, WindowId=window, WindowTaskId=task
    )


def task_types_that_are_not_carried_out_are_refused_in_words(world):
    window = world.window()
    target = _target(world, window)
    for kind in ["AUTOMATION"]:
        message = world.refused(
            "ValidationException",
            world.ssm.register_task_with_maintenance_window,
            WindowId=window,
            TaskType=kind,
            TaskArn="something",
            Targets=[{"Key": "WindowTargetIds", "Values": [target]}],
            MaxConcurrency="1",
            MaxErrors="1",
        )
        assert kind in message and "RUN_COMMAND" in message, message


def windows_that_do_not_exist_are_said_not_to(world):
    missing, id = "mw-0123456789abcdef0", str(uuid.uuid4())
    error = world.ssm.exceptions.DoesNotExistException
    for call, arguments in [
        (world.ssm.get_maintenance_window, {}),
        (world.ssm.update_maintenance_window, {"Duration": 3}),
        (world.ssm.describe_maintenance_window_targets, {}),
        (world.ssm.describe_maintenance_window_tasks, {}),
        (world.ssm.get_maintenance_window_task, {"WindowTaskId": id}),
        (world.ssm.deregister_task_from_maintenance_window, {"WindowTaskId": id}),
        (world.ssm.describe_maintenance_window_schedule, {}),
        (
            world.ssm.register_target_with_maintenance_window,
            {"ResourceType": "INSTANCE", "Targets": [{"Key": "tag:a", "Values": ["b"]}]},
        ),
    ]:
        try:
            answer = call(WindowId=missing, **arguments)
        except error as caught:
            assert caught.response["Error"]["Message"], caught
        else:
            raise AssertionError(f"{call.__name__} answered {answer}")


def _target(world, window, group="canary"):
    return world.ssm.register_target_with_maintenance_window(
        WindowId=window, ResourceType="INSTANCE", Targets=[{"Key": "tag:Patch Group", "Values": [group]}]
    )["WindowTargetId"]


def _task(world, window, target, **changes):
    settings = {
        "WindowId": window,
        "Targets": [{"Key": "WindowTargetIds", "Values": [target]}],
        "TaskArn": "AWS-RunPatchBaseline",
        "TaskType": "RUN_COMMAND",
        "TaskInvocationParameters": {"RunCommand": {"Parameters": {"Operation": ["Scan"]}, "Comment": "by a window"}},
        "Priority": 1,
        "MaxConcurrency": "50%",
        "MaxErrors": "1",
        **changes,
    }
    return world.ssm.register_task_with_maintenance_window(**settings)["WindowTaskId"]
