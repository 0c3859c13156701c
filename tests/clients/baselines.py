"""Patch baselines, defaults, and patch groups."""

RULES = {
    "PatchRules": [
        {
            "PatchFilterGroup": {
                "PatchFilters": [
                    {"Key": "PRODUCT", "Values": ["Debian12"]},
                    {"Key": "PRIORITY", "Values": ["Required", "Important"]},
                ]
            },
            "ComplianceLevel": "HIGH",
            "ApproveAfterDays": 7,
            "EnableNonSecurity": False,
        }
    ]
}


def _create(world, **changes):
    settings = {"Name": world.name("baseline"), "OperatingSystem": "DEBIAN", "ApprovalRules": RULES, **changes}
    return world.ssm.create_patch_baseline(**settings)["BaselineId"]


def baseline_reads_back_as_it_was_created(world):
    settings = {
        "Name": world.name("whole"),
        "OperatingSystem": "DEBIAN",
        "Description": "seven days for what matters",
        "ApprovalRules": RULES,
        "GlobalFilters": {"PatchFilters": [{"Key": "PRODUCT", "Values": ["Debian12"]}]},
        "ApprovedPatches": ["openssl", "curl=7.88.1-12"],
        "ApprovedPatchesComplianceLevel": "CRITICAL",
        "ApprovedPatchesEnableNonSecurity": True,
        "RejectedPatches": ["linux-image-*"],
        "RejectedPatchesAction": "BLOCK",
    }
    created = world.ssm.create_patch_baseline(**settings, Tags=[{"Key": "Team", "Value": "web"}])["BaselineId"]
    found = world.ssm.get_patch_baseline(BaselineId=created)
    for member, value in settings.items():
        assert found[member] == value, f"{member}: {found[member]} should be {value}"
    assert found["PatchGroups"] == []
    assert found["CreatedDate"] == found["ModifiedDate"]
    tags = world.ssm.list_tags_for_resource(ResourceType="PatchBaseline", ResourceId=created)["TagList"]
    assert tags == [{"Key": "Team", "Value": "web"}], tags
    filters = [{"Key": "NAME_PREFIX", "Values": [settings["Name"]]}, {"Key": "OWNER", "Values": ["Self"]}]
    (identity,) = world.ssm.describe_patch_baselines(Filters=filters)["BaselineIdentities"]
    assert identity["BaselineId"] == created and identity["BaselineDescription"] == settings["Description"], identity
    assert identity["DefaultBaseline"] is False, identity
    world.ssm.delete_patch_baseline(BaselineId=created)
    world.refused("DoesNotExistException", world.ssm.get_patch_baseline, BaselineId=created)


def create_baseline_repeated_with_its_client_token_makes_one(world):
    settings = {"Name": world.name("once"), "OperatingSystem": "DEBIAN", "ClientToken": world.name("token")}
    first = world.ssm.create_patch_baseline(**settings)["BaselineId"]
    assert world.ssm.create_patch_baseline(**settings)["BaselineId"] == first
    filters = [{"Key": "NAME_PREFIX", "Values": [settings["Name"]]}]
    assert len(world.ssm.describe_patch_baselines(Filters=filters)["BaselineIdentities"]) == 1
    other = {**settings, "Description": "another"}
    world.refused("IdempotentParameterMismatch", world.ssm.create_patch_baseline, **other)


def update_keeps_what_it_does_not_name_and_replace_does_not(world):
    created = _create(world, Description="before", RejectedPatches=["vim"], ApprovedPatches=["bash"])
    updated = world.ssm.update_patch_baseline(BaselineId=created, RejectedPatches=["nginx"])
    assert updated["RejectedPatches"] == ["nginx"] and updated["ApprovedPatches"] == ["bash"], updated
    assert updated["Description"] == "before" and updated["ApprovalRules"] == RULES, updated
    assert updated["ModifiedDate"] > updated["CreatedDate"], updated
    name = world.name("replaced")
    replaced = world.ssm.update_patch_baseline(BaselineId=created, Name=name, Replace=True)
    assert replaced["Name"] == name and "Description" not in replaced, replaced
    assert replaced["RejectedPatches"] == [] and replaced["ApprovedPatches"] == [], replaced
    assert replaced["OperatingSystem"] == "DEBIAN", replaced
    found = world.ssm.get_patch_baseline(BaselineId=created)
    assert found["Name"] == name and found["ApprovalRules"] == {"PatchRules": []}, found
    world.refused("ValidationException", world.ssm.update_patch_baseline, BaselineId=created, Replace=True)


def predefined_baselines_are_listed_and_not_changed(world):
    filters = [{"Key": "OWNER", "Values": ["AWS"]}]
    predefined = world.ssm.describe_patch_baselines(Filters=filters)["BaselineIdentities"]
    systems = {identity["OperatingSystem"] for identity in predefined}
    assert {"DEBIAN", "UBUNTU", "WINDOWS", "REDHAT_ENTERPRISE_LINUX"} <= systems, systems
    baseline = predefined[0]["BaselineId"]
    message = world.refused("ValidationException", world.ssm.update_patch_baseline, BaselineId=baseline, Name="mine")
    assert "predefined" in message, message
    world.refused("ValidationException", world.ssm.delete_patch_baseline, BaselineId=baseline)


def default_baseline_is_one_for_each_operating_system(world):
    before = world.ssm.get_default_patch_baseline(OperatingSystem="UBUNTU")["BaselineId"]
    mine = world.ssm.create_patch_baseline(Name=world.name("default"), OperatingSystem="UBUNTU")["BaselineId"]
    assert world.ssm.register_default_patch_baseline(BaselineId=mine)["BaselineId"] == mine
    found = world.ssm.get_default_patch_baseline(OperatingSystem="UBUNTU")
    assert found["BaselineId"] == mine and found["OperatingSystem"] == "UBUNTU", found
    filters = [{"Key": "OPERATING_SYSTEM", "Values": ["UBUNTU"]}]
    identities = world.ssm.describe_patch_baselines(Filters=filters)["BaselineIdentities"]
    assert [i["BaselineId"] for i in identities if i["DefaultBaseline"]] == [mine], identities
    debian = world.ssm.get_default_patch_baseline(OperatingSystem="DEBIAN")["BaselineId"]
    assert debian not in (mine, before)
    world.refused("ResourceInUseException", world.ssm.delete_patch_baseline, BaselineId=mine)
    # With its ARN, as SSM's users name predefined ones.
    arn = f"arn:aws:ssm:local:000000000000:patchbaseline/{before}"
    world.ssm.register_default_patch_baseline(BaselineId=arn)
    assert world.ssm.get_default_patch_baseline(OperatingSystem="UBUNTU")["BaselineId"] == before
    world.ssm.delete_patch_baseline(BaselineId=mine)


def patch_group_has_one_baseline_for_each_operating_system(world):
    group, baseline, second = world.name("group"), _create(world), _create(world)
    answer = world.ssm.register_patch_baseline_for_patch_group(BaselineId=baseline, PatchGroup=group)
    assert answer["BaselineId"] == baseline and answer["PatchGroup"] == group, answer
    register = world.ssm.register_patch_baseline_for_patch_group
    world.refused("AlreadyExistsException", register, BaselineId=second, PatchGroup=group)
    found = world.ssm.get_patch_baseline_for_patch_group(PatchGroup=group, OperatingSystem="DEBIAN")
    assert found["BaselineId"] == baseline and found["OperatingSystem"] == "DEBIAN", found
    # A group without a baseline of its own has the default.
    found = world.ssm.get_patch_baseline_for_patch_group(PatchGroup=group, OperatingSystem="UBUNTU")
    assert found["BaselineId"] == world.ssm.get_default_patch_baseline(OperatingSystem="UBUNTU")["BaselineId"], found
    assert world.ssm.get_patch_baseline(BaselineId=baseline)["PatchGroups"] == [group]
    filters = [{"Key": "NAME_PREFIX", "Values": [group]}]
    (mapping,) = world.ssm.describe_patch_groups(Filters=filters)["Mappings"]
    assert mapping["PatchGroup"] == group and mapping["BaselineIdentity"]["BaselineId"] == baseline, mapping
    message = world.refused("ResourceInUseException", world.ssm.delete_patch_baseline, BaselineId=baseline)
    assert group in message, message
    world.ssm.deregister_patch_baseline_for_patch_group(BaselineId=baseline, PatchGroup=group)
    assert world.ssm.describe_patch_groups(Filters=filters)["Mappings"] == []
    world.ssm.delete_patch_baseline(BaselineId=baseline)
    # To delete what is gone is no error.
    world.ssm.delete_patch_baseline(BaselineId=baseline)


def baselines_that_do_not_exist_are_said_not_to(world):
    missing = "pb-0123456789abcdef0"
    error = world.ssm.exceptions.DoesNotExistException
    for call, arguments in [
        (world.ssm.get_patch_baseline, {}),
        (world.ssm.update_patch_baseline, {"Name": "none"}),
        (world.ssm.register_default_patch_baseline, {}),
        (world.ssm.register_patch_baseline_for_patch_group, {"PatchGroup": "none"}),
    ]:
        try:
            answer = call(BaselineId=missing, **arguments)
        except error as caught:
            assert missing in caught.response["Error"]["Message"], caught
        else:
            raise AssertionError(f"{call.__name__} answered {answer}")
