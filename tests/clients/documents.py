"""Documents: those that come with the program, and the operator's own from creation to deletion."""

import json

SCRIPT = "AWS-RunShellScript"


def _content(line, **parameters):
    return json.dumps(
        {
            "schemaVersion": "2.2",
            "description": "Says a word.",
            "parameters": {"Word": {"type": "String", "default": "none", **parameters}},
            "mainSteps": [{"action": "aws:runShellScript", "name": "speak", "inputs": {"runCommand": [line]}}],
        }
    )


def _create(world, line='echo "$SSM_Word"', **changes):
    settings = {"Name": world.name("Own"), "Content": _content(line), "DocumentType": "Command", **changes}
    return world.ssm.create_document(**settings)["DocumentDescription"]["Name"]


def _said(world, document, **changes):
    """Runs a document on the real node; returns what it said."""
    command = world.run(DocumentName=document, InstanceIds=[world.real], **changes)
    found = world.ssm.get_command_invocation(CommandId=command["CommandId"], InstanceId=world.real)
    assert command["Status"] == "Success", found
    return found["StandardOutputContent"].strip()


def documents_are_listed_described_and_read(world):
    listed = world.ssm.list_documents(Filters=[{"Key": "Owner", "Values": ["Amazon"]}])["DocumentIdentifiers"]
    assert {"AWS-RunPatchBaseline", SCRIPT} <= {one["Name"] for one in listed}, listed
    (one,) = world.ssm.list_documents(DocumentFilterList=[{"key": "Name", "value": SCRIPT}])["DocumentIdentifiers"]
    assert one["Name"] == SCRIPT and "Linux" in one["PlatformTypes"], one
    described = world.ssm.describe_document(Name="AWS-RunPatchBaseline")["Document"]
    parameters = {parameter["Name"]: parameter for parameter in described["Parameters"]}
    assert {"Operation", "RebootOption", "SnapshotId"} <= set(parameters), parameters.keys()
    content = json.loads(world.ssm.get_document(Name=SCRIPT)["Content"])
    assert content["schemaVersion"] == "2.2" and content["mainSteps"], content
    for call in (world.ssm.describe_document, world.ssm.get_document):
        world.refused("InvalidDocument", call, Name="AWS-Nothing")
        world.refused("InvalidDocumentVersion", call, Name=SCRIPT, DocumentVersion="99")


def own_document_is_created_run_and_deleted(world):
    name = _create(world, Tags=[{"Key": "Team", "Value": "web"}], VersionName="first")
    described = world.ssm.describe_document(Name=name)["Document"]
    assert described["Status"] == "Active" and described["DefaultVersion"] == "1", described
    assert [parameter["Name"] for parameter in described["Parameters"]] == ["Word"], described
    assert world.ssm.get_document(Name=name)["Content"] == _content('echo "$SSM_Word"')
    own = world.ssm.list_documents(Filters=[{"Key": "Owner", "Values": ["Self"]}, {"Key": "Name", "Values": [name]}])
    assert [one["Name"] for one in own["DocumentIdentifiers"]] == [name], own
    tags = world.ssm.list_tags_for_resource(ResourceType="Document", ResourceId=name)["TagList"]
    assert tags == [{"Key": "Team", "Value": "web"}], tags

    assert _said(world, name) == "none"
    assert _said(world, name, Parameters={"Word": ["hello"]}) == "hello"
    # A parameter is a value, whatever is in it: nothing of it is a command.
    marker = world.name("ran")
    assert _said(world, name, Parameters={"Word": [f'$(echo {marker}); "; echo {marker}']}) == (
        f'$(echo {marker}); "; echo {marker}'
    )
    taken = {"Name": name, "Content": _content("true")}
    world.refused("DocumentAlreadyExists", world.ssm.create_document, **taken, DocumentType="Command")
    assert world.ssm.describe_document_permission(Name=name, PermissionType="Share")["AccountIds"] == []
    world.ssm.modify_document_permission(Name=name, PermissionType="Share", AccountIdsToRemove=["111122223333"])
    share = {"Name": name, "PermissionType": "Share", "AccountIdsToAdd": ["111122223333"]}
    world.refused("DocumentPermissionLimit", world.ssm.modify_document_permission, **share)

    world.ssm.delete_document(Name=name)
    world.refused("InvalidDocument", world.ssm.get_document, Name=name)
    world.refused("InvalidDocument", world.ssm.send_command, DocumentName=name, InstanceIds=[world.real])


def versions_are_kept_apart_and_the_default_is_what_runs(world):
    name = _create(world, "echo one", VersionName="first")
    update = world.ssm.update_document
    second = update(Name=name, Content=_content("echo two"), VersionName="second", DocumentVersion="$LATEST")
    second = second["DocumentDescription"]
    assert second["DocumentVersion"] == second["LatestVersion"] == "2" and second["DefaultVersion"] == "1", second
    world.refused("DuplicateDocumentContent", update, Name=name, Content=_content("echo two"))
    repeated = {"Name": name, "Content": _content("echo three"), "VersionName": "first"}
    world.refused("DuplicateDocumentVersionName", update, **repeated)

    assert _said(world, name) == "one"
    assert _said(world, name, DocumentVersion="2") == "two"
    assert _said(world, name, DocumentVersion="$LATEST") == "two"
    moved = world.ssm.update_document_default_version(Name=name, DocumentVersion="2")["Description"]
    assert moved["DefaultVersion"] == "2" and moved["DefaultVersionName"] == "second", moved
    assert _said(world, name) == "two"
    world.refused("InvalidDocumentVersion", world.ssm.update_document_default_version, Name=name, DocumentVersion="9")

    pages = world.ssm.get_paginator("list_document_versions").paginate(Name=name, PaginationConfig={"PageSize": 1})
    versions = [version for page in pages for version in page["DocumentVersions"]]
    assert [version["DocumentVersion"] for version in versions] == ["2", "1"], versions
    assert [version["IsDefaultVersion"] for version in versions] == [True, False], versions
    assert world.ssm.get_document(Name=name, VersionName="first")["DocumentVersion"] == "1"
    world.refused("InvalidDocumentOperation", world.ssm.delete_document, Name=name, DocumentVersion="2")
    world.ssm.delete_document(Name=name, DocumentVersion="1")
    assert len(world.ssm.list_document_versions(Name=name)["DocumentVersions"]) == 1
    world.ssm.delete_document(Name=name)


def document_in_yaml_runs_and_is_read_in_either_format(world):
    content = (
        "schemaVersion: '2.2'\n"
        "description: In YAML.\n"
        "mainSteps:\n"
        "  - action: aws:runShellScript\n"
        "    name: speak\n"
        "    inputs:\n"
        "      runCommand:\n"
        "        - echo from yaml\n"
    )
    name = _create(world, Content=content, DocumentFormat="YAML")
    assert _said(world, name) == "from yaml"
    assert world.ssm.get_document(Name=name, DocumentFormat="YAML")["Content"] == content
    read = json.loads(world.ssm.get_document(Name=name, DocumentFormat="JSON")["Content"])
    assert read["mainSteps"][0]["inputs"]["runCommand"] == ["echo from yaml"], read
    world.ssm.delete_document(Name=name)


def contents_that_no_node_would_carry_out_are_refused_with_the_place(world):
    step = {"action": "aws:runShellScript", "name": "speak", "inputs": {"runCommand": ["true"]}}
    for content, code, said in [
        ("{", "InvalidDocumentContent", "JSON"),
        ('{"schemaVersion": "1.2"}', "InvalidDocumentSchemaVersion", "1.2"),
        ('{"schemaVersion": "2.2"}', "InvalidDocumentContent", "mainSteps"),
        (json.dumps({"schemaVersion": "2.2", "mainSteps": []}), "InvalidDocumentContent", "mainSteps"),
        (
            json.dumps({"schemaVersion": "2.2", "mainSteps": [{**step, "action": "aws:nothing"}]}),
            "InvalidDocumentContent",
            "aws:nothing",
        ),
        # A value put into a script's text would be a command.
        (_content("echo {{ Word }}"), "InvalidDocumentContent", "SSM_Word"),
    ]:
        name = world.name("Bad")
        message = world.refused(code, world.ssm.create_document, Name=name, Content=content, DocumentType="Command")
        assert said in message, f"{content}: {message}"
    good = {"Content": _content("true"), "DocumentType": "Command"}
    assert "AWS" in world.refused("ValidationException", world.ssm.create_document, Name="AWS-Mine", **good)
    automation = {**good, "DocumentType": "Automation", "Name": world.name("Bad")}
    assert "Automation" in world.refused("ValidationException", world.ssm.create_document, **automation)
    world.refused("InvalidDocumentOperation", world.ssm.delete_document, Name=SCRIPT)


def window_task_runs_a_document_of_the_operators_own(world):
    name = _create(world, "echo by a window")
    window = world.window(AllowUnassociatedTargets=True)
    world.ssm.register_task_with_maintenance_window(
        WindowId=window,
        TaskType="RUN_COMMAND",
        TaskArn=name,
        Targets=[{"Key": "InstanceIds", "Values": [world.real]}],
        TaskInvocationParameters={"RunCommand": {"Parameters": {"Word": ["unused"]}}},
        MaxConcurrency="1",
        MaxErrors="0",
    )
    execution = world.patchwave("StartMaintenanceWindow", WindowId=window)["WindowExecutionId"]

    def ended():
        executions = world.ssm.describe_maintenance_window_executions(WindowId=window)["WindowExecutions"]
        return executions and executions[0]["Status"] not in ("PENDING", "IN_PROGRESS") and executions[0]

    found = world.eventually("the window has run", ended)
    assert found["Status"] == "SUCCESS" and found["WindowExecutionId"] == execution, found
    (task,) = world.ssm.get_maintenance_window_execution(WindowExecutionId=execution)["TaskIds"]
    (invocation,) = world.ssm.describe_maintenance_window_execution_task_invocations(
        WindowExecutionId=execution, TaskId=task
    )["WindowExecutionTaskInvocationIdentities"]
    said = world.ssm.get_command_invocation(CommandId=invocation["ExecutionId"], InstanceId=world.real)
    assert said["StandardOutputContent"] == "by a window\n", said
    world.ssm.delete_document(Name=name)


def a_change_calendar_says_whether_it_is_open_and_when_that_changes(world):
    events = "BEGIN:VEVENT\r\nUID:one\r\nDTSTART:20300101T000000Z\r\nDTEND:20300102T000000Z\r\nEND:VEVENT\r\n"
    text = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nX-CALENDAR-TYPE:DEFAULT_OPEN\r\n{events}END:VCALENDAR\r\n"
    name = world.name("Freeze")
    world.ssm.create_document(Name=name, Content=text, DocumentType="ChangeCalendar", DocumentFormat="TEXT")
    for at, state, until in [("2029-12-31T12:00:00Z", "OPEN", "2030-01-01T00:00"), ("2030-01-01T12:00:00Z", "CLOSED", "2030-01-02T00:00")]:
        found = world.ssm.get_calendar_state(CalendarNames=[name], AtTime=at)
        assert found["State"] == state and found["NextTransitionTime"].startswith(until), found
    world.ssm.delete_document(Name=name)
