"""Managed nodes and tags."""


def nodes_are_described_with_what_they_said_of_themselves(world):
    pages = world.ssm.get_paginator("describe_instance_information").paginate(PaginationConfig={"PageSize": 5})
    nodes = [node for page in pages for node in page["InstanceInformationList"]]
    assert len(nodes) == world.nodes + 1, len(nodes)
    assert len({node["InstanceId"] for node in nodes}) == len(nodes)
    for node in nodes:
        assert node["PingStatus"] == "Online" and node["ResourceType"] == "ManagedInstance", node
        assert node["PlatformType"] == "Linux" and node["PlatformName"] and node["AgentVersion"], node
        assert node["LastPingDateTime"] >= node["RegistrationDate"], node


def nodes_are_filtered_by_id_state_platform_and_tag(world):
    canaries = world.group("canary")

    def found(*filters, **older):
        arguments = {"Filters": list(filters)} if filters else older
        listed = world.ssm.describe_instance_information(**arguments, MaxResults=50)["InstanceInformationList"]
        return sorted(node["InstanceId"] for node in listed)

    everybody = found({"Key": "PingStatus", "Values": ["Online"]})
    assert len(everybody) == world.nodes + 1, everybody
    assert found({"Key": "PingStatus", "Values": ["ConnectionLost"]}) == []
    assert found({"Key": "InstanceIds", "Values": canaries[:2]}) == canaries[:2]
    assert found({"Key": "tag:Patch Group", "Values": ["canary"]}, {"Key": "PlatformTypes", "Values": ["Linux"]}) == canaries
    assert found({"Key": "PlatformTypes", "Values": ["Windows"]}) == []
    assert found({"Key": "tag-key", "Values": ["Kind"]}) == [world.real]
    older = [{"key": "InstanceIds", "valueSet": canaries[:1]}]
    assert found(InstanceInformationFilterList=older) == canaries[:1]
    both = {"Filters": [{"Key": "PingStatus", "Values": ["Online"]}], "InstanceInformationFilterList": older}
    world.refused("ValidationException", world.ssm.describe_instance_information, **both)
    wrong = [{"Key": "Nothing", "Values": ["x"]}]
    assert "Nothing" in world.refused("InvalidFilterKey", world.ssm.describe_instance_information, Filters=wrong)


def tags_of_nodes_change_what_targets_find(world):
    node = world.group("canary")[0]
    resource = {"ResourceType": "ManagedInstance", "ResourceId": node}
    before = world.ssm.list_tags_for_resource(**resource)["TagList"]
    assert {"Key": "Patch Group", "Value": "canary"} in before, before
    ring = world.name("ring")
    world.ssm.add_tags_to_resource(**resource, Tags=[{"Key": "Ring", "Value": "old"}, {"Key": "Site", "Value": ""}])
    world.ssm.add_tags_to_resource(**resource, Tags=[{"Key": "Ring", "Value": ring}])
    after = {tag["Key"]: tag["Value"] for tag in world.ssm.list_tags_for_resource(**resource)["TagList"]}
    assert after["Ring"] == ring and after["Site"] == "" and after["Patch Group"] == "canary", after
    assert world.tagged("Ring", ring) == [node]
    command = world.run(
        DocumentName="AWS-RunPatchBaseline",
        Targets=[{"Key": "tag:Ring", "Values": [ring]}],
        Parameters={"Operation": ["Scan"]},
    )
    assert command["TargetCount"] == 1 and command["Status"] == "Success", command
    world.ssm.remove_tags_from_resource(**resource, TagKeys=["Ring", "Site", "Nothing"])
    assert world.ssm.list_tags_for_resource(**resource)["TagList"] == before


def tags_keep_to_ssms_limits(world):
    resource = {"ResourceType": "ManagedInstance", "ResourceId": world.real}
    many = [{"Key": f"key-{number}", "Value": "x"} for number in range(50)]
    world.refused("TooManyTagsError", world.ssm.add_tags_to_resource, **resource, Tags=many)
    reserved = [{"Key": "aws:mine", "Value": "x"}]
    assert "aws:" in world.refused("ValidationException", world.ssm.add_tags_to_resource, **resource, Tags=reserved)
    missing = {"ResourceType": "ManagedInstance", "ResourceId": "mi-0123456789abcdef0"}
    error = world.ssm.exceptions.InvalidResourceId
    for call, arguments in [
        (world.ssm.list_tags_for_resource, {}),
        (world.ssm.add_tags_to_resource, {"Tags": [{"Key": "a", "Value": "b"}]}),
        (world.ssm.remove_tags_from_resource, {"TagKeys": ["a"]}),
    ]:
        try:
            answer = call(**missing, **arguments)
        except error:
            continue
        raise AssertionError(f"{call.__name__} answered {answer}")


def properties_of_nodes_are_paged_like_the_nodes_themselves(world):
    pages = world.ssm.get_paginator("describe_instance_properties").paginate(PaginationConfig={"PageSize": 5})
    properties = [node["InstanceId"] for page in pages for node in page["InstanceProperties"]]
    assert len(properties) == len(set(properties)) == world.nodes + 1, properties
