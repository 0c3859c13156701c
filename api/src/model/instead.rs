//! What to use in place of operations that SSM has and Patchwave has not.

/// A sentence, or nothing where there is nothing to say.
pub(super) fn of(operation: &str) -> &'static str {
    match operation {
        "CreateAssociation" | "CreateAssociationBatch" | "UpdateAssociation" | "StartAssociationsOnce" => {
            "use a maintenance window with a RUN_COMMAND task for what is to happen regularly"
        }
        name if name.contains("Association") => "there are no associations; see maintenance windows",
        "StartAutomationExecution" | "StartChangeRequestExecution" | "StartExecutionPreview" => {
            "use SendCommand with a Command document"
        }
        name if name.contains("Automation") || name.contains("ExecutionPreview") => "there are no Automation runbooks",
        "GetDeployablePatchSnapshotForInstance" => "a node is sent its baseline with the command that patches it",
        "DescribeInventoryDeletions" => "DeleteInventory deletes before it answers",
        "ListNodes" | "ListNodesSummary" => "use DescribeInstanceInformation or GetInventory",
        "GetConnectionStatus" => "use PingStatus of DescribeInstanceInformation",
        "StartSession" | "ResumeSession" | "TerminateSession" | "DescribeSessions" => {
            "there are no interactive sessions; use SendCommand with AWS-RunShellScript"
        }
        "CreateResourceDataSync" | "ListResourceDataSync" | "UpdateResourceDataSync" | "DeleteResourceDataSync" => {
            "use GetInventory, or the events on the message bus"
        }
        "UpdateDocumentMetadata" | "ListDocumentMetadataHistory" => {
            "documents have no reviews; use the versions of UpdateDocument"
        }
        "GetResourcePolicies" | "PutResourcePolicy" | "DeleteResourcePolicy" => "there is one account",
        "UpdateAssociationStatus" => "there are no associations",
        name if name.contains("Parameter") => "there is no parameter store; give values with the command",
        name if name.contains("OpsItem") || name.contains("OpsMetadata") || name.contains("OpsSummary") => {
            "there is no OpsCenter; see ListNotifications of Patchwave"
        }
        _ => "",
    }
}
