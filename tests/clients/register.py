"""Which operations of SSM are served: those are answered in their shape, the others say that they are not."""

SERVED = set(
    """
    DeleteInventory DescribeAvailablePatches DescribeEffectivePatchesForPatchBaseline DescribeInstanceProperties
    DescribePatchProperties GetCalendarState GetInventory GetInventorySchema GetServiceSetting ListComplianceItems
    ListComplianceSummaries ListInventoryEntries ListResourceComplianceSummaries PutComplianceItems PutInventory
    ResetServiceSetting UpdateServiceSetting
    AddTagsToResource CancelCommand CancelMaintenanceWindowExecution CreateActivation CreateDocument CreateMaintenanceWindow
    CreatePatchBaseline DeleteActivation DeleteDocument DeregisterManagedInstance DescribeActivations
    DeleteMaintenanceWindow DeletePatchBaseline DeregisterPatchBaselineForPatchGroup
    DeregisterTargetFromMaintenanceWindow DeregisterTaskFromMaintenanceWindow DescribeDocument
    DescribeDocumentPermission
    DescribeInstanceInformation DescribeInstancePatches DescribeInstancePatchStates
    DescribeInstancePatchStatesForPatchGroup DescribeMaintenanceWindowExecutions
    DescribeMaintenanceWindowExecutionTaskInvocations DescribeMaintenanceWindowExecutionTasks
    DescribeMaintenanceWindows DescribeMaintenanceWindowSchedule DescribeMaintenanceWindowsForTarget
    DescribeMaintenanceWindowTargets DescribeMaintenanceWindowTasks DescribePatchBaselines DescribePatchGroups
    DescribePatchGroupState GetCommandInvocation GetDefaultPatchBaseline GetDocument GetMaintenanceWindow
    GetMaintenanceWindowExecution GetMaintenanceWindowExecutionTask GetMaintenanceWindowExecutionTaskInvocation
    GetMaintenanceWindowTask GetPatchBaseline GetPatchBaselineForPatchGroup ListCommandInvocations ListCommands
    ListDocuments ListDocumentVersions ListTagsForResource ModifyDocumentPermission RegisterDefaultPatchBaseline RegisterPatchBaselineForPatchGroup
    RegisterTargetWithMaintenanceWindow RegisterTaskWithMaintenanceWindow RemoveTagsFromResource SendCommand
    UpdateDocument UpdateDocumentDefaultVersion UpdateManagedInstanceRole
    UpdateMaintenanceWindow UpdateMaintenanceWindowTarget UpdateMaintenanceWindowTask UpdatePatchBaseline
    """.split()
)


def operations_that_are_not_served_say_so_and_never_succeed(world):
    others = set(world.model.operation_names) - SERVED
    assert len(others) > 50, "the model of the service was not read"
    faults = []
    for operation in sorted(others):
        status, text = world.post(f"AmazonSSM.{operation}", b"{}")
        if status != 400 or '"UnknownOperationException"' not in text or f"`{operation}`" not in text:
            faults.append(f"{operation}: {status} {text[:200]}")
    assert not faults, "served after all? then it belongs into SERVED and into a scenario:\n" + "\n".join(faults)


def every_served_operation_was_answered_in_its_shape(world):
    assert SERVED <= set(world.model.operation_names), SERVED - set(world.model.operation_names)
    if world.is_whole:
        missing = sorted(operation for operation in SERVED if not world.shapes.answered[operation])
        assert not missing, f"no scenario has had a success of {missing}"
