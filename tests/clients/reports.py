"""What is known of nodes and patches: inventory, compliance, the patches of scans, settings."""

import datetime

from patches import _scan

CAPTURED = "2026-04-07T14:29:00Z"


def _rack(world, node, row, kind, **changes):
    item = {
        "TypeName": kind,
        "SchemaVersion": "1.0",
        "CaptureTime": CAPTURED,
        "ContentHash": f"hash-of-{row}",
        "Content": [{"Row": row, "Unit": "7"}, {"Row": row, "Unit": "12"}],
        **changes,
    }
    return world.ssm.put_inventory(InstanceId=node, Items=[{k: v for k, v in item.items() if v is not None}])


def _kind(world):
    return "Custom:" + world.name("Rack").replace("-", "")


def inventory_is_put_listed_filtered_counted_and_deleted(world):
    kind, (first, second, *_) = _kind(world), world.group("production")
    _rack(world, first, "a", kind)
    _rack(world, second, "b", kind)
    entries = world.ssm.list_inventory_entries(InstanceId=first, TypeName=kind)
    assert entries["CaptureTime"] == CAPTURED and entries["TypeName"] == kind, entries
    assert entries["Entries"] == [{"Row": "a", "Unit": "7"}, {"Row": "a", "Unit": "12"}], entries

    def found(**filter):
        pages = world.ssm.get_paginator("get_inventory").paginate(
            Filters=[{"Key": f"{kind}.Row", **filter}], ResultAttributes=[{"TypeName": kind}]
        )
        return sorted(entity["Id"] for page in pages for entity in page["Entities"])

    assert found(Values=["b"], Type="Equal") == [second]
    assert found(Values=["any"], Type="Exists") == sorted([first, second])
    counted = world.ssm.get_inventory(Aggregators=[{"Expression": f"{kind}.Row"}])["Entities"][0]["Data"][kind]
    assert counted["Content"] == [{"Row": "a", "Count": "2"}, {"Row": "b", "Count": "2"}], counted
    # The same content again needs only its hash.
    _rack(world, first, "a", kind, Content=None, CaptureTime="2026-04-08T00:00:00Z")
    assert world.ssm.list_inventory_entries(InstanceId=first, TypeName=kind)["CaptureTime"].startswith("2026-04-08")
    other = {"world": world, "node": first, "row": "c", "kind": kind, "Content": None}
    world.refused("ItemContentMismatchException", _rack, **other)
    unknown = {"world": world, "node": "mi-0123456789abcdef0", "row": "a", "kind": kind}
    world.refused("InvalidInstanceId", _rack, **unknown)

    schemas = world.ssm.get_inventory_schema(TypeName=kind)["Schemas"]
    assert [attribute["Name"] for attribute in schemas[0]["Attributes"]] == ["Row", "Unit"], schemas
    deleted = world.ssm.delete_inventory(TypeName=kind)["DeletionSummary"]
    assert deleted["TotalCount"] == 2 and deleted["RemainingCount"] == 0, deleted
    assert world.ssm.list_inventory_entries(InstanceId=first, TypeName=kind)["Entries"] == []


def inventory_of_every_node_has_what_its_agent_says(world):
    pages = list(world.ssm.get_paginator("get_inventory").paginate(PaginationConfig={"PageSize": 5}))
    entities = [entity for page in pages for entity in page["Entities"]]
    assert len(entities) == len({entity["Id"] for entity in entities}) == world.nodes + 1, len(entities)
    assert len(pages) > 1, "nothing was paged"
    for entity in entities:
        (row,) = entity["Data"]["AWS:InstanceInformation"]["Content"]
        assert row["PlatformType"] == "Linux" and row["ComputerName"] and row["AgentVersion"], row


def compliance_comes_from_scans_and_from_other_programs(world):
    _scan(world, "production")
    node = world.group("production")[0]
    kind = "Custom:" + world.name("Licence").replace("-", "")
    now = datetime.datetime.now(datetime.timezone.utc)
    world.ssm.put_compliance_items(
        ResourceId=node,
        ResourceType="ManagedInstance",
        ComplianceType=kind,
        ExecutionSummary={"ExecutionTime": now},
        Items=[
            {"Id": "one", "Title": "in order", "Severity": "HIGH", "Status": "COMPLIANT"},
            {"Id": "two", "Title": "expired", "Severity": "CRITICAL", "Status": "NON_COMPLIANT", "Details": {"Seats": "3"}},
        ],
    )
    where = {"ResourceIds": [node], "ResourceTypes": ["ManagedInstance"]}
    of_kind = [{"Key": "ComplianceType", "Values": [kind], "Type": "EQUAL"}]
    items = world.ssm.list_compliance_items(**where, Filters=of_kind)["ComplianceItems"]
    assert [(item["Id"], item["Status"]) for item in items] == [("one", "COMPLIANT"), ("two", "NON_COMPLIANT")], items
    assert items[1]["Details"] == {"Seats": "3"} and items[1]["Severity"] == "CRITICAL", items
    bad = [*of_kind, {"Key": "Status", "Values": ["NON_COMPLIANT"], "Type": "EQUAL"}]
    assert [item["Id"] for item in world.ssm.list_compliance_items(**where, Filters=bad)["ComplianceItems"]] == ["two"]

    pages = world.ssm.get_paginator("list_compliance_items").paginate(**where, PaginationConfig={"PageSize": 3})
    every = [(item["ComplianceType"], item["Id"], item["Title"]) for page in pages for item in page["ComplianceItems"]]
    assert len(set(every)) == len(every) and {kind, "Patch"} <= {one[0] for one in every}, every
    patches = world.ssm.describe_instance_patches(InstanceId=node, MaxResults=100)["Patches"]
    assert sorted(one[2] for one in every if one[0] == "Patch") == sorted(patch["Title"] for patch in patches), every

    (summary,) = world.ssm.list_resource_compliance_summaries(Filters=of_kind)["ResourceComplianceSummaryItems"]
    assert summary["ResourceId"] == node and summary["Status"] == "NON_COMPLIANT", summary
    assert summary["CompliantSummary"]["CompliantCount"] == 1 and summary["OverallSeverity"] == "CRITICAL", summary
    pages = world.ssm.get_paginator("list_resource_compliance_summaries").paginate(PaginationConfig={"PageSize": 4})
    resources = [(one["ResourceId"], one["ComplianceType"]) for page in pages for one in page["ResourceComplianceSummaryItems"]]
    assert len(set(resources)) == len(resources) and (node, kind) in resources, resources
    pages = world.ssm.get_paginator("list_compliance_summaries").paginate(PaginationConfig={"PageSize": 1})
    types = [one["ComplianceType"] for page in pages for one in page["ComplianceSummaryItems"]]
    assert len(set(types)) == len(types) and {kind, "Patch"} <= set(types), types

    unknown = {"ResourceIds": ["mi-0123456789abcdef0"]}
    world.refused("InvalidResourceId", world.ssm.list_compliance_items, **unknown)
    wrong = [{"Key": "Nothing", "Values": ["x"], "Type": "EQUAL"}]
    assert "Nothing" in world.refused("InvalidFilter", world.ssm.list_compliance_summaries, Filters=wrong)


def patches_that_scans_spoke_of_are_the_catalogue(world):
    _scan(world, "production")
    pages = list(world.ssm.get_paginator("describe_available_patches").paginate(PaginationConfig={"PageSize": 5}))
    patches = [patch for page in pages for patch in page["Patches"]]
    titles = [(patch["Title"], patch.get("Id")) for patch in patches]
    assert len(pages) > 1 and {patch["Name"] for patch in patches} >= {"openssl", "curl", "bash"}, titles
    named = world.ssm.describe_available_patches(Filters=[{"Key": "NAME", "Values": ["curl"]}])["Patches"]
    assert {patch["Name"] for patch in named} == {"curl"}, named

    debian = world.ssm.get_default_patch_baseline(OperatingSystem="DEBIAN")["BaselineId"]
    pages = world.ssm.get_paginator("describe_effective_patches_for_patch_baseline").paginate(
        BaselineId=debian, PaginationConfig={"PageSize": 2}
    )
    effective = [patch for page in pages for patch in page["EffectivePatches"]]
    assert effective and len({patch["Patch"]["Title"] for patch in effective}) == len(effective), effective
    for patch in effective:
        assert patch["PatchStatus"]["DeploymentStatus"] in ("APPROVED", "PENDING_APPROVAL"), patch
    missing = {"BaselineId": "pb-0123456789abcdef0"}
    world.refused("DoesNotExistException", world.ssm.describe_effective_patches_for_patch_baseline, **missing)

    pages = world.ssm.get_paginator("describe_patch_properties").paginate(
        OperatingSystem="DEBIAN", Property="PRODUCT", PaginationConfig={"PageSize": 1}
    )
    products = [value for page in pages for value in page["Properties"]]
    assert {"Name": "Debian12"} in products, products


def service_settings_have_the_value_that_holds(world):
    setting = "/ssm/managed-instance/activation-tier"
    found = world.ssm.get_service_setting(SettingId=setting)["ServiceSetting"]
    assert found["SettingValue"] == "advanced" and found["Status"] == "Default", found
    world.ssm.update_service_setting(SettingId=setting, SettingValue="advanced")
    message = world.refused(
        "ValidationException", world.ssm.update_service_setting, SettingId=setting, SettingValue="standard"
    )
    assert "standard" in message and "advanced" in message, message
    assert world.ssm.reset_service_setting(SettingId=setting)["ServiceSetting"]["SettingValue"] == "advanced"
    world.refused("ServiceSettingNotFound", world.ssm.get_service_setting, SettingId="/ssm/nothing")
