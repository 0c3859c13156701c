"""How nodes stand: patch states, patches, patch groups in numbers."""

STATES = {
    "InstalledCount": "Installed",
    "InstalledOtherCount": "InstalledOther",
    "InstalledPendingRebootCount": "InstalledPendingReboot",
    "InstalledRejectedCount": "InstalledRejected",
    "MissingCount": "Missing",
    "FailedCount": "Failed",
}


def _scan(world, group):
    command = world.run(
        DocumentName="AWS-RunPatchBaseline",
        Targets=[{"Key": "tag:Patch Group", "Values": [group]}],
        Parameters={"Operation": ["Scan"]},
    )
    assert command["Status"] == "Success", command

    # A scan's report and the command's end are two messages.
    def reported():
        states = _states_of(world, group)
        fresh = [state for state in states if state["OperationEndTime"] >= command["RequestedDateTime"]]
        return len(fresh) == command["TargetCount"] and states

    return world.eventually(f"every scan of {group} is in the patch states", reported)


def _states_of(world, group, **arguments):
    pages = world.ssm.get_paginator("describe_instance_patch_states_for_patch_group").paginate(
        PatchGroup=group, PaginationConfig={"PageSize": 10}, **arguments
    )
    return [state for page in pages for state in page["InstancePatchStates"]]


def scan_shows_in_the_states_of_nodes_group_and_patches_alike(world):
    states = _scan(world, "production")
    nodes = world.group("production")
    assert sorted(state["InstanceId"] for state in states) == nodes, states
    defaults = {
        baseline["BaselineId"]
        for page in world.ssm.get_paginator("describe_patch_baselines").paginate()
        for baseline in page["BaselineIdentities"]
        if baseline["DefaultBaseline"]
    }
    for state in states:
        assert state["Operation"] == "Scan" and state["PatchGroup"] == "production", state
        assert state["BaselineId"] in defaults, state
        assert state["OperationEndTime"] >= state["OperationStartTime"], state
    by_node = world.ssm.describe_instance_patch_states(InstanceIds=nodes)["InstancePatchStates"]
    key = lambda state: state["InstanceId"]  # noqa: E731
    assert sorted(by_node, key=key) == sorted(states, key=key)

    for state in states[:3]:
        pages = world.ssm.get_paginator("describe_instance_patches").paginate(
            InstanceId=state["InstanceId"], PaginationConfig={"PageSize": 10}
        )
        patches = [patch for page in pages for patch in page["Patches"]]
        titles = [(patch["Title"], patch["KBId"]) for patch in patches]
        assert len(set(titles)) == len(titles), titles
        for counter, name in STATES.items():
            found = [patch for patch in patches if patch["State"] == name]
            assert len(found) == state.get(counter, 0), f"{counter}: {state} and {patches}"
        filters = [{"Key": "State", "Values": ["Installed"]}]
        some = world.ssm.describe_instance_patches(InstanceId=state["InstanceId"], Filters=filters)["Patches"]
        assert {patch["State"] for patch in some} <= {"Installed"}, some

    group = world.ssm.describe_patch_group_state(PatchGroup="production")
    assert group["Instances"] == len(nodes), group
    missing = sum(1 for state in states if state["MissingCount"] > 0)
    assert group["InstancesWithMissingPatches"] == missing, group
    assert group["InstancesWithInstalledPatches"] == sum(1 for state in states if state["InstalledCount"] > 0), group


def states_of_a_group_are_filtered_by_their_numbers(world):
    states = _scan(world, "production")
    for kind, keep in [
        ("GreaterThan", lambda count: count > 0),
        ("Equal", lambda count: count == 0),
        ("LessThan", lambda count: count < 1),
        ("NotEqual", lambda count: count != 0),
    ]:
        value = "1" if kind == "LessThan" else "0"
        filters = [{"Key": "MissingCount", "Values": [value], "Type": kind}]
        found = _states_of(world, "production", Filters=filters)
        wanted = sorted(state["InstanceId"] for state in states if keep(state["MissingCount"]))
        assert sorted(state["InstanceId"] for state in found) == wanted, f"{kind}: {found}"


def installation_moves_patches_from_missing_to_installed(world):
    group = world.name("ring")
    debian = world.ssm.get_default_patch_baseline(OperatingSystem="DEBIAN")["BaselineId"]
    states = [state for state in _scan(world, "production") if state["BaselineId"] == debian]
    node = max(states, key=lambda state: state["MissingCount"])["InstanceId"]
    resource = {"ResourceType": "ManagedInstance", "ResourceId": node}
    world.ssm.add_tags_to_resource(**resource, Tags=[{"Key": "Patch Group", "Value": group}])
    baseline = world.ssm.create_patch_baseline(
        Name=world.name("all"),
        OperatingSystem="DEBIAN",
        ApprovalRules={
            "PatchRules": [
                {
                    "PatchFilterGroup": {"PatchFilters": [{"Key": "PRODUCT", "Values": ["*"]}]},
                    "ApproveAfterDays": 0,
                    "EnableNonSecurity": True,
                    "ComplianceLevel": "CRITICAL",
                }
            ]
        },
        RejectedPatches=["vim"],
        RejectedPatchesAction="BLOCK",
    )["BaselineId"]
    world.ssm.register_patch_baseline_for_patch_group(BaselineId=baseline, PatchGroup=group)
    try:
        (state,) = _scan(world, group)
        assert state["BaselineId"] == baseline and state["MissingCount"] > 0, state
        assert state["CriticalNonCompliantCount"] == state["MissingCount"], state
        command = world.run(
            DocumentName="AWS-RunPatchBaseline",
            Targets=[{"Key": "tag:Patch Group", "Values": [group]}],
            Parameters={"Operation": ["Install"], "RebootOption": ["RebootIfNeeded"]},
        )
        assert command["Status"] == "Success", command

        def installed():
            (after,) = _states_of(world, group)
            return after["Operation"] == "Install" and after

        after = world.eventually("the installation is in the patch states", installed)
        assert after["MissingCount"] == 0 and after["InstalledCount"] > state["InstalledCount"], after
        patches = world.ssm.describe_instance_patches(InstanceId=node, MaxResults=100)["Patches"]
        assert {patch["State"] for patch in patches if patch["Title"].startswith("vim")} <= {"InstalledRejected"}, patches
    finally:
        world.ssm.deregister_patch_baseline_for_patch_group(BaselineId=baseline, PatchGroup=group)
        world.ssm.add_tags_to_resource(**resource, Tags=[{"Key": "Patch Group", "Value": "production"}])
        world.ssm.delete_patch_baseline(BaselineId=baseline)


def group_and_node_without_scans_have_empty_states(world):
    nobody = world.name("nobody")
    assert world.ssm.describe_patch_group_state(PatchGroup=nobody)["Instances"] == 0
    assert _states_of(world, nobody) == []
    unknown = "mi-0123456789abcdef0"
    assert world.ssm.describe_instance_patch_states(InstanceIds=[unknown])["InstancePatchStates"] == []
