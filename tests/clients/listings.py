"""Paginators: with the smallest pages a list has every item once, and bounds are kept."""

from documents import _content, _create
from patches import _scan

PAGES = {
    # Operation: the members of the request, the fewest and the most items of a page.
    "describe_instance_information": (lambda lists: {}, 5, 50),
    "describe_instance_patch_states": (lambda lists: {"InstanceIds": lists.world.group("production")}, 10, 100),
    "describe_instance_patch_states_for_patch_group": (lambda lists: {"PatchGroup": "production"}, 10, 100),
    "describe_instance_patches": (lambda lists: {"InstanceId": lists.world.group("canary")[0]}, 10, 100),
    "describe_maintenance_window_execution_task_invocations": (lambda lists: lists.task, 10, 100),
    "describe_maintenance_window_execution_tasks": (lambda lists: lists.execution, 10, 100),
    "describe_maintenance_window_executions": (lambda lists: lists.window, 10, 100),
    "describe_maintenance_window_targets": (lambda lists: lists.window, 10, 100),
    "describe_maintenance_window_tasks": (lambda lists: lists.window, 10, 100),
    "describe_maintenance_windows": (lambda lists: {}, 10, 100),
    "describe_maintenance_windows_for_target": (
        lambda lists: {"ResourceType": "INSTANCE", "Targets": lists.target},
        1,
        # SSM names no most.
        None,
    ),
    "describe_patch_baselines": (lambda lists: {}, 1, 100),
    "describe_patch_groups": (lambda lists: {}, 1, 100),
    "list_command_invocations": (lambda lists: {}, 1, 50),
    "list_commands": (lambda lists: {}, 1, 50),
    "list_document_versions": (lambda lists: {"Name": lists.document}, 1, 50),
    "list_documents": (lambda lists: {}, 1, 50),
}

# A page of these can hold whatever there is, so there may be no second one.
ONE_PAGE_WILL_DO = {
    "describe_instance_patch_states",
    "describe_instance_patch_states_for_patch_group",
    # A task execution has one invocation, the command for all of its targets.
    "describe_maintenance_window_execution_task_invocations",
}

# Paged through by the scenarios that make what is in them.
ELSEWHERE = {
    "DescribeActivations",
    "DescribeAvailablePatches",
    "DescribeEffectivePatchesForPatchBaseline",
    "DescribeInstanceProperties",
    "DescribeMaintenanceWindowSchedule",
    "DescribePatchProperties",
    "GetInventory",
    "GetInventorySchema",
    "ListComplianceItems",
    "ListComplianceSummaries",
    "ListResourceComplianceSummaries",
}


class _Lists:
    """Enough of everything for a second page of any list; made once."""

    def __init__(self, world):
        self.world = world
        for _ in range(2):
            _scan(world, "canary")
        window = world.window(AllowUnassociatedTargets=True)
        self.window = {"WindowId": window}
        self.target = [{"Key": "tag:Ring", "Values": [world.name("nobody")]}]
        for number in range(12):
            target = world.ssm.register_target_with_maintenance_window(
                WindowId=window, ResourceType="INSTANCE", Targets=self.target
            )["WindowTargetId"]
            world.ssm.register_task_with_maintenance_window(
                WindowId=window,
                TaskType="RUN_COMMAND",
                TaskArn="AWS-RunPatchBaseline",
                Targets=[{"Key": "WindowTargetIds", "Values": [target]}],
                TaskInvocationParameters={"RunCommand": {"Parameters": {"Operation": ["Scan"]}}},
                Priority=1,
                MaxConcurrency="1",
                MaxErrors=str(number),
            )
        for _ in range(12):
            baseline = world.ssm.create_patch_baseline(Name=world.name("list"), OperatingSystem="DEBIAN")
            group = {"BaselineId": baseline["BaselineId"], "PatchGroup": world.name("list")}
            world.ssm.register_patch_baseline_for_patch_group(**group)
            other = world.window()
            world.ssm.register_target_with_maintenance_window(
                WindowId=other, ResourceType="INSTANCE", Targets=self.target
            )
        self.document = _create(world, "echo one")
        world.ssm.update_document(Name=self.document, Content=_content("echo two"))
        for number in range(12):
            execution = world.patchwave("StartMaintenanceWindow", WindowId=window)["WindowExecutionId"]
            self.execution = {"WindowExecutionId": execution}
            world.eventually(f"execution {number} has ended", lambda: self._ended(number + 1))
        tasks = world.ssm.describe_maintenance_window_execution_tasks(**self.execution)
        task = tasks["WindowExecutionTaskIdentities"][0]["TaskExecutionId"]
        self.task = {**self.execution, "TaskId": task}

    def _ended(self, count):
        found = self.world.ssm.describe_maintenance_window_executions(**self.window, MaxResults=100)
        states = [one["Status"] for one in found["WindowExecutions"]]
        return len(states) == count and not {"PENDING", "IN_PROGRESS"} & set(states)


def _lists(world):
    if not hasattr(world, "lists"):
        world.lists = _Lists(world)
    return world.lists


def _items(client, operation, arguments, size):
    """Every item of a list with pages of this size, as texts, and the number of pages."""
    paginator = client.get_paginator(operation)
    (key,) = {str(key.expression) for key in paginator.result_keys}
    pages = list(paginator.paginate(**arguments, PaginationConfig={"PageSize": size}))
    for page in pages:
        assert len(page[key]) <= size, f"a page of {operation} has {len(page[key])} items, {size} were asked for"
    return [str(item) for page in pages for item in page[key]], len(pages)


def every_list_has_each_item_once_with_the_smallest_pages(world):
    lists, faults = _lists(world), []
    for operation, (arguments, least, most) in PAGES.items():
        small, pages = _items(world.ssm, operation, arguments(lists), least)
        large, _ = _items(world.ssm, operation, arguments(lists), most or 100)
        if len(set(small)) != len(small):
            faults.append(f"{operation}: an item came twice: {small}")
        elif small != large:
            faults.append(f"{operation}: {len(small)} items in small pages, {len(large)} in large ones")
        elif not small and operation not in ONE_PAGE_WILL_DO:
            faults.append(f"{operation}: there is nothing to list")
        elif pages < 2 and operation not in ONE_PAGE_WILL_DO:
            faults.append(f"{operation}: {len(small)} items fit into one page of {least}: nothing was shown")
    assert not faults, "\n".join(faults)


def every_list_keeps_the_bounds_of_max_results(world):
    lists, faults = _lists(world), []
    for operation, (arguments, least, most) in PAGES.items():
        for wrong in (least - 1, most + 1) if most else (least - 1,):
            call = getattr(world.raw, operation)
            try:
                message = world.refused("ValidationException", call, **arguments(lists), MaxResults=wrong)
            except AssertionError as fault:
                faults.append(f"{operation} with MaxResults {wrong}: {fault}")
                continue
            bound = f"greater than or equal to {least}" if wrong < least else f"less than or equal to {most}"
            if f"Value '{wrong}' at 'maxResults'" not in message or bound not in message:
                faults.append(f"{operation} with MaxResults {wrong}: {message}")
    assert not faults, "\n".join(faults)


def tokens_of_another_list_are_refused(world):
    lists, faults = _lists(world), []
    foreign = world.ssm.describe_patch_baselines(MaxResults=1)["NextToken"]
    for operation, (arguments, _, _) in PAGES.items():
        if operation == "describe_patch_baselines":
            continue
        for token in (foreign, "no token at all"):
            try:
                world.refused("InvalidNextToken", getattr(world.ssm, operation), **arguments(lists), NextToken=token)
            except AssertionError as fault:
                faults.append(f"{operation}: {fault}")
    # `InvalidNextToken` is not declared by all of them; SSM answers all the same.
    world.shapes.forgive("error `InvalidNextToken` is neither")
    assert not faults, "\n".join(faults)


def paginators_of_boto3_are_all_tried(world):
    """What boto3 can page through and the server serves is in the list above."""
    from register import SERVED

    tried = {world.ssm.meta.method_to_api_mapping[name] for name in PAGES} | ELSEWHERE
    can = {api for name, api in world.ssm.meta.method_to_api_mapping.items() if world.ssm.can_paginate(name)}
    assert (can & SERVED) - tried == set(), f"without a scenario: {sorted((can & SERVED) - tried)}"
