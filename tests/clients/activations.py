"""Activations: made, used by a machine that registers, used up, and what they admitted cut off."""

import base64
import datetime
import json
import os
import uuid

from botocore.awsrequest import AWSRequest


def _register(world, activation, code, **changes):
    """Registers a machine as its agent does: with the activation as credential, unsigned."""
    machine = {
        "activation_id": activation,
        "activation_code": code,
        "public_key": base64.b64encode(os.urandom(32)).decode(),
        "fingerprint": uuid.uuid4().hex,
        "computer_name": "registered-by-a-test",
        "operating_system": "DEBIAN",
        "platform_name": "Debian GNU/Linux",
        "platform_version": "12",
        "agent_version": "0.1.0",
        **changes,
    }
    headers = {"Content-Type": "application/json"}
    request = AWSRequest("POST", world.endpoint + "/node/v1/register", data=json.dumps(machine), headers=headers)
    answer = world.http.send(request.prepare())
    return answer.status_code, json.loads(answer.content)


def _activation(world, **changes):
    settings = {"IamRole": "service-role/SSMRole", "DefaultInstanceName": world.name("host"), **changes}
    made = world.ssm.create_activation(**settings)
    return made["ActivationId"], made["ActivationCode"]


def _described(world, activation):
    filters = [{"FilterKey": "ActivationIds", "FilterValues": [activation]}]
    (found,) = world.ssm.describe_activations(Filters=filters)["ActivationList"]
    return found


def machine_registers_with_an_activation_and_its_node_is_cut_off_again(world):
    name = world.name("web")
    activation, code = _activation(
        world, DefaultInstanceName=name, Description="two machines", RegistrationLimit=2, Tags=[{"Key": "Rack", "Value": name}]
    )
    found = _described(world, activation)
    assert found["RegistrationLimit"] == 2 and found["RegistrationsCount"] == 0 and not found["Expired"], found
    assert code not in json.dumps(found, default=str), "the code is told a second time"

    status, first = _register(world, activation, code)
    assert status == 200, first
    node = first["node_id"]
    assert node.startswith("mi-") and first["verification_keys"], first
    assert _described(world, activation)["RegistrationsCount"] == 1
    assert world.tagged("Rack", name) == [node]
    (shown,) = world.ssm.describe_instance_information(Filters=[{"Key": "InstanceIds", "Values": [node]}])[
        "InstanceInformationList"
    ]
    assert shown["ActivationId"] == activation and shown["Name"] == name and shown["IamRole"], shown
    world.ssm.update_managed_instance_role(InstanceId=node, IamRole="service-role/Other")

    status, second = _register(world, activation, code)
    assert status == 200 and second["node_id"] != node, second
    status, third = _register(world, activation, code)
    assert status == 400 and third["code"] == "InvalidActivation", third
    for one in (node, second["node_id"]):
        world.ssm.deregister_managed_instance(InstanceId=one)
        # To cut off what is cut off is no error.
        world.ssm.deregister_managed_instance(InstanceId=one)
    unknown = "mi-0123456789abcdef0"
    world.refused("InvalidInstanceId", world.ssm.deregister_managed_instance, InstanceId=unknown)
    assert world.tagged("Rack", name) == []
    world.ssm.delete_activation(ActivationId=activation)
    world.refused("InvalidActivationId", world.ssm.delete_activation, ActivationId=activation)


def wrong_codes_and_expired_activations_admit_nobody(world):
    activation, code = _activation(world, RegistrationLimit=5)
    for wrong in ("x" * len(code), code[:-1], ""):
        status, answer = _register(world, activation, wrong)
        assert status == 400, answer
        assert code not in json.dumps(answer), answer
    status, answer = _register(world, str(uuid.uuid4()), code)
    assert status == 400 and answer["code"] == "InvalidActivation", answer
    assert _described(world, activation)["RegistrationsCount"] == 0
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    short, code = _activation(world, ExpirationDate=soon)
    world.eventually("the activation has expired", lambda: _described(world, short)["Expired"])
    status, answer = _register(world, short, code)
    assert status == 400 and answer["code"] == "InvalidActivation", answer
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    world.refused("InvalidParameters", world.ssm.create_activation, IamRole="r", ExpirationDate=past)


def activations_are_paged_and_filtered(world):
    role = world.name("role")
    made = sorted(_activation(world, IamRole=role)[0] for _ in range(3))
    pages = world.ssm.get_paginator("describe_activations").paginate(
        Filters=[{"FilterKey": "IamRole", "FilterValues": [role]}], PaginationConfig={"PageSize": 1}
    )
    pages = list(pages)
    assert sorted(one["ActivationId"] for page in pages for one in page["ActivationList"]) == made
    assert len(pages) == 3, pages
    for activation in made:
        world.ssm.delete_activation(ActivationId=activation)
