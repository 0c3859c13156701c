"""Who may call: signatures in header and query, the clock, roles, and keys for some nodes only."""

import datetime
import json

import boto3
from botocore import UNSIGNED
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials

REGION = "local"


class _AtAnotherTime(SigV4Auth):
    """Signs as a machine does whose clock is off by some minutes."""

    def __init__(self, credentials, minutes):
        super().__init__(credentials, "ssm", REGION)
        self.now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)

    def add_auth(self, request):
        request.context["timestamp"] = self.now.strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


def _request(world, operation, **members):
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"AmazonSSM.{operation}"}
    return AWSRequest(method="POST", url=world.endpoint + "/", data=json.dumps(members), headers=headers)


def _send(world, prepared):
    answer = world.http.send(prepared)
    return answer.status_code, json.loads(answer.content)


def _client(world, key):
    """A client with another access key, as CreateAccessKey gave it."""
    client = boto3.client(
        "ssm",
        endpoint_url=world.endpoint,
        region_name=REGION,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        config=Config(retries={"mode": "standard", "total_max_attempts": 8}),
    )
    world.shapes.watch(client)
    return client


def _key(world, role, **members):
    return world.patchwave("CreateAccessKey", Role=role, Description="tests", **members)["AccessKey"]


def equal_changes_of_one_second(world):
    """One signature makes one change: boto3 repeats the other by itself, signed anew. Its own default
    of three attempts can pass within the same second."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 8})
    client = boto3.client("ssm", endpoint_url=world.endpoint, region_name=REGION, config=config)
    answers = []
    client.meta.events.register("after-call.ssm", lambda parsed, **_: answers.append(parsed["ResponseMetadata"]))
    window = world.ssm.create_maintenance_window(
        Name="equal-changes", Schedule="rate(7 days)", Duration=2, Cutoff=1, AllowUnassociatedTargets=False
    )["WindowId"]
    for _ in range(5):
        client.update_maintenance_window(WindowId=window, Description="the same")
    assert len(answers) == 5 and all(answer["HTTPStatusCode"] == 200 for answer in answers), answers
    assert any(answer["RetryAttempts"] > 0 for answer in answers), "five calls within one second meet none of their own"
    world.ssm.delete_maintenance_window(WindowId=window)


def unsigned_requests_are_refused(world):
    config = Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
    unsigned = boto3.client("ssm", endpoint_url=world.endpoint, region_name=REGION, config=config)
    world.shapes.watch(unsigned)
    world.refused("MissingAuthenticationTokenException", unsigned.describe_patch_baselines)
    world.refused("MissingAuthenticationTokenException", unsigned.send_command, DocumentName="AWS-RunShellScript")


def wrong_keys_and_wrong_secrets_are_refused(world):
    mine = world.credentials
    stranger = {"AccessKeyId": "AKIANOBODYKNOWSME", "SecretAccessKey": mine.secret_key}
    world.refused("UnrecognizedClientException", _client(world, stranger).describe_patch_baselines)
    guesser = {"AccessKeyId": mine.access_key, "SecretAccessKey": "x" * 40}
    message = world.refused("InvalidSignatureException", _client(world, guesser).describe_patch_baselines)
    assert mine.secret_key not in message, "the refusal tells the secret"
    refused = world.aws("list-commands", fails=True, key=guesser)
    assert "(InvalidSignatureException)" in refused, refused


def clocks_that_are_off_are_told_both_times(world):
    for minutes, is_taken in [(-4, True), (4, True), (-6, False), (6, False)]:
        request = _request(world, "DescribePatchBaselines")
        _AtAnotherTime(world.credentials, minutes).add_auth(request)
        status, answer = _send(world, request.prepare())
        if is_taken:
            assert status == 200, f"{minutes} minutes: {answer}"
            continue
        assert status in (400, 403) and answer["__type"] == "InvalidSignatureException", f"{minutes} minutes: {answer}"
        # Clients find the word and the date, and correct their clock by them.
        assert "Signature" in answer["message"] and "Z" in answer["message"], answer


def whatever_is_changed_after_signing_is_refused(world):
    def signed():
        request = _request(world, "DescribePatchBaselines", MaxResults=5)
        SigV4Auth(world.credentials, "ssm", REGION).add_auth(request)
        return request.prepare()

    status, answer = _send(world, signed())
    assert status == 200, answer
    for change in [
        lambda request: setattr(request, "body", b'{"MaxResults": 6}'),
        lambda request: request.headers.__setitem__("X-Amz-Target", "AmazonSSM.DescribePatchGroups"),
        lambda request: request.headers.__setitem__("X-Amz-Date", "20260101T000000Z"),
        lambda request: setattr(request, "url", request.url + "?a=b"),
    ]:
        request = signed()
        change(request)
        if request.body != signed().body:
            request.headers["Content-Length"] = str(len(request.body))
        status, answer = _send(world, request)
        assert status in (400, 403) and answer["__type"] == "InvalidSignatureException", answer


def presigned_requests_are_taken_until_they_expire(world):
    request = _request(world, "DescribePatchBaselines")
    SigV4QueryAuth(world.credentials, "ssm", REGION, expires=60).add_auth(request)
    status, answer = _send(world, request.prepare())
    assert status == 200 and answer["BaselineIdentities"], answer
    # The same without its signature is nobody's.
    bare = _request(world, "DescribePatchBaselines").prepare()
    status, answer = _send(world, bare)
    assert status in (400, 403) and answer["__type"] == "MissingAuthenticationTokenException", answer


def signed_change_that_is_sent_again_is_made_once(world):
    name = world.name("once")
    window = {"Name": name, "Schedule": "rate(7 days)", "Duration": 2, "Cutoff": 1, "AllowUnassociatedTargets": False}
    request = _request(world, "CreateMaintenanceWindow", **window)
    SigV4Auth(world.credentials, "ssm", REGION).add_auth(request)
    status, first = _send(world, request.prepare())
    assert status == 200, first
    status, second = _send(world, request.prepare())
    assert status == 400 and "__type" in second, second
    found = world.ssm.describe_maintenance_windows(Filters=[{"Key": "Name", "Values": [name]}])
    assert len(found["WindowIdentities"]) == 1, found


def roles_bound_what_a_key_may_do(world):
    viewer, operator = _client(world, _key(world, "viewer")), _client(world, _key(world, "operator"))
    assert viewer.describe_patch_baselines(MaxResults=1)["BaselineIdentities"]
    assert viewer.list_commands(MaxResults=1)
    script = {"DocumentName": "AWS-RunShellScript", "InstanceIds": [world.real], "Parameters": {"commands": ["true"]}}
    for call, arguments in [
        (viewer.send_command, script),
        (viewer.create_patch_baseline, {"Name": "never"}),
        (viewer.delete_maintenance_window, {"WindowId": "mw-0123456789abcdef0"}),
        (viewer.create_document, {"Name": "Never", "Content": "{}"}),
        (viewer.add_tags_to_resource, {"ResourceType": "ManagedInstance", "ResourceId": world.real, "Tags": []}),
    ]:
        message = world.refused("AccessDeniedException", call, **arguments)
        assert "operator" in message and "viewer" in message, message
    sent = operator.send_command(**script)["Command"]
    assert world.ended(sent["CommandId"])["Status"] == "Success"
    baseline = operator.create_patch_baseline(Name=world.name("operator"))["BaselineId"]
    operator.delete_patch_baseline(BaselineId=baseline)


def operators_cannot_make_keys_and_deleted_keys_are_nobodys(world):
    operator = _key(world, "operator")
    credentials = ReadOnlyCredentials(operator["AccessKeyId"], operator["SecretAccessKey"], None)
    request = _request(world, "x", Role="admin")
    request.headers.replace_header("X-Amz-Target", "Patchwave.CreateAccessKey")
    SigV4Auth(credentials, "ssm", REGION).add_auth(request)
    status, answer = _send(world, request.prepare())
    assert status in (400, 403) and answer["__type"] == "AccessDeniedException", answer
    client = _client(world, operator)
    client.describe_patch_groups()
    world.patchwave("UpdateAccessKey", AccessKeyId=operator["AccessKeyId"], Status="Inactive")
    world.refused("UnrecognizedClientException", client.describe_patch_groups)
    world.patchwave("UpdateAccessKey", AccessKeyId=operator["AccessKeyId"], Status="Active")
    client.describe_patch_groups()
    world.patchwave("DeleteAccessKey", AccessKeyId=operator["AccessKeyId"])
    world.refused("UnrecognizedClientException", client.describe_patch_groups)


def key_for_some_nodes_sees_and_reaches_no_others(world):
    canaries, others = world.group("canary"), world.group("production")
    tags = [{"Key": "Patch Group", "Values": ["canary"]}]
    client = _client(world, _key(world, "operator", Tags=tags))
    pages = client.get_paginator("describe_instance_information").paginate(PaginationConfig={"PageSize": 5})
    seen = sorted(node["InstanceId"] for page in pages for node in page["InstanceInformationList"])
    assert seen == canaries, seen
    scan = {"DocumentName": "AWS-RunPatchBaseline", "Parameters": {"Operation": ["Scan"]}}
    message = world.refused("AccessDeniedException", client.send_command, **scan, InstanceIds=[canaries[0], others[0]])
    assert others[0] in message, message
    # By target it is for what the policy leaves of it.
    everybody = [{"Key": "tag:Patch Group", "Values": ["canary", "production"]}]
    sent = client.send_command(**scan, Targets=everybody)["Command"]
    command = world.ended(sent["CommandId"])
    assert command["TargetCount"] == len(canaries), command
    for call, arguments in [
        (client.describe_instance_patches, {"InstanceId": others[0]}),
        (client.create_maintenance_window, {"Name": "never", "Schedule": "rate(7 days)", "Duration": 2, "Cutoff": 1, "AllowUnassociatedTargets": True}),
        (client.list_tags_for_resource, {"ResourceType": "ManagedInstance", "ResourceId": others[0]}),
    ]:
        world.refused("AccessDeniedException", call, **arguments)


def changes_are_in_the_audit_log_and_the_log_is_intact(world):
    name = world.name("audited")
    window = world.window(Name=name)
    world.ssm.delete_maintenance_window(WindowId=window)
    entries, token = [], {}
    while True:
        page = world.patchwave("ListAuditEntries", **token)
        entries += page["AuditEntries"]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    mine = [(entry["Action"], entry["Outcome"]) for entry in entries if entry["Subject"] in (name, window)]
    for action in ("CreateMaintenanceWindow", "DeleteMaintenanceWindow"):
        assert (action, "succeeded") in mine, mine
    actors = {entry["Actor"] for entry in entries if entry["Subject"] == window}
    assert actors == {world.credentials.access_key}, actors
    told = json.dumps(entries)
    assert world.credentials.secret_key not in told, "the log tells a secret"
    verified = world.patchwave("VerifyAudit")
    assert verified["Intact"] is True, verified
