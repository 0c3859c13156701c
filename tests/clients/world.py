"""What all scenarios share: clients, the fleet, names nobody else uses, and waiting."""

import json
import os
import subprocess
import sys
import time
import uuid

import boto3
import botocore.httpsession
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError

from shapes import Shapes

# The longest anything may take on two busy cores, in seconds.
PATIENCE = 60
REGION = os.environ.get("AWS_DEFAULT_REGION", "local")


def mark(headers):
    """Makes a request unlike any other, in a header that is signed."""
    del headers["X-Test-Request"]
    headers["X-Test-Request"] = str(uuid.uuid4())


class World:
    """The system under test as its users reach it."""

    def __init__(self, endpoint, nodes, is_whole):
        self.endpoint = endpoint
        self.nodes = nodes
        # Whether all scenarios run, so that the last one may judge what was called.
        self.is_whole = is_whole
        self.shapes = Shapes()
        self.credentials = boto3.Session().get_credentials().get_frozen_credentials()
        self.http = botocore.httpsession.URLLib3Session(timeout=PATIENCE)
        self.ssm = self.client()
        self.states = self.client("stepfunctions")
        # Sends what botocore would not: the server has to refuse it by itself.
        self.raw = self.client(parameter_validation=False)
        self.model = self.ssm.meta.service_model

    def client(self, service="ssm", **options):
        """A client whose requests all differ, so that no scenario waits for the clock."""
        config = Config(retries={"mode": "standard", "total_max_attempts": 8}, read_timeout=PATIENCE, **options)
        client = boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, config=config)
        # boto3 signs whole seconds, and the server makes a change once with a signature. What a client
        # without this meets is in access.py, equal_changes_of_one_second.
        name = client.meta.service_model.service_id.hyphenize()
        client.meta.events.register(f"before-sign.{name}", lambda request, **_: mark(request.headers))
        self.shapes.watch(client)
        return client

    def post(self, target, body, headers=()):
        """Sends any bytes to any operation, signed; returns the status and the text."""
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target, **dict(headers)}
        request = AWSRequest(method="POST", url=self.endpoint + "/", data=body, headers=headers)
        mark(request.headers)
        SigV4Auth(self.credentials, "ssm", REGION).add_auth(request)
        answer = self.http.send(request.prepare())
        return answer.status_code, answer.content.decode()

    def patchwave(self, operation, **members):
        """Calls an operation of Patchwave's own, which boto3 does not know."""
        status, text = self.post(f"Patchwave.{operation}", json.dumps(members))
        if status == 400 and '"ThrottlingException"' in text:
            # Signed in the same second as the same change before.
            time.sleep(1.1)
            status, text = self.post(f"Patchwave.{operation}", json.dumps(members))
        assert status == 200, f"{operation} was answered {status}: {text}"
        return json.loads(text)

    def aws(self, *words, fails=False, key=None):
        """Runs `aws ssm …`; returns what it printed as JSON, or with `fails` its complaint."""
        environment = dict(os.environ)
        if key:
            environment["AWS_ACCESS_KEY_ID"] = key["AccessKeyId"]
            environment["AWS_SECRET_ACCESS_KEY"] = key["SecretAccessKey"]
        command = [sys.executable, "-m", "awscli", "ssm", *words]
        command += ["--endpoint-url", self.endpoint, "--region", REGION, "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
        if fails:
            assert done.returncode != 0, f"{words} succeeded: {done.stdout}"
            return done.stderr
        assert done.returncode == 0, f"{words} failed with {done.returncode}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def name(self, what):
        """A name that no other scenario and no earlier run uses."""
        return f"{what}-{uuid.uuid4().hex[:8]}"

    def eventually(self, what, look, patience=PATIENCE):
        """Looks until `look` finds something; returns it."""
        deadline = time.monotonic() + patience
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {patience} s: {what}"
            time.sleep(0.1)

    def refused(self, code, call, /, **arguments):
        """Makes a call that must be refused with this code; returns the message."""
        try:
            answer = call(**arguments)
        except ClientError as error:
            found = error.response["Error"]
            assert found["Code"] == code, f"should be refused with {code}, was with {found['Code']}: {found['Message']}"
            return found["Message"]
        raise AssertionError(f"should be refused with {code}, was answered {answer}")

    def group(self, name):
        """Ids of the nodes of a patch group, in order."""
        return self.tagged("Patch Group", name)

    def tagged(self, key, value):
        """Ids of the nodes with a tag, in order."""
        pages = self.ssm.get_paginator("describe_instance_information").paginate(
            Filters=[{"Key": f"tag:{key}", "Values": [value]}]
        )
        return sorted(node["InstanceId"] for page in pages for node in page["InstanceInformationList"])

    @property
    def real(self):
        """The node that runs scripts in earnest."""
        (node,) = self.tagged("Kind", "real")
        return node

    def await_fleet(self):
        """Waits until every node is there."""
        groups = lambda: len(self.group("canary")) + len(self.group("production"))  # noqa: E731
        self.eventually(f"{self.nodes} simulated nodes are known", lambda: groups() == self.nodes)
        self.eventually("the real node is known", lambda: self.tagged("Kind", "real"))

    def run(self, **command):
        """Sends a command and waits until all of it has ended; returns it."""
        sent = self.ssm.send_command(**command)["Command"]
        return self.ended(sent["CommandId"])

    def ended(self, command_id):
        """Waits until a command has ended; returns it."""

        def look():
            (command,) = self.ssm.list_commands(CommandId=command_id)["Commands"]
            return command["Status"] not in ("Pending", "InProgress", "Cancelling") and command

        return self.eventually(f"command {command_id} has ended", look)

    def window(self, **changes):
        """Makes a maintenance window that will not fire by itself for months; returns its id."""
        settings = {
            "Name": self.name("window"),
            "Schedule": "cron(0 3 1 1 ? *)",
            "Duration": 2,
            "Cutoff": 1,
            "AllowUnassociatedTargets": False,
            **changes,
        }
        return self.ssm.create_maintenance_window(**settings)["WindowId"]
