"""Compares what the server sent, before anybody parsed it, with botocore's model of the service.

A wrong type, a word outside an enumeration, a broken length or pattern, a missing required member
and a `null` are faults. Members that SSM does not have are allowed, and listed at the end.
"""

import base64
import binascii
import datetime
import json
import re
from collections import defaultdict

# Every client must expect these of every operation, though the model declares them nowhere.
COMMON_ERRORS = {
    "AccessDeniedException",
    "InternalServerError",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "SerializationException",
    "ServiceUnavailable",
    "ThrottlingException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationException",
}

# Shapes whose constraints SSM itself does not keep in its answers, and how it answers.
EXCUSED = {
    # `Installed`, `InstalledOther`, …, as in all of its documentation; the model has `INSTALLED`.
    "PatchComplianceDataState",
    # Up to MaxResults, which the model allows to be 100, and none; the model says 1 to 5.
    "InstancePatchStatesList",
    # Empty where there is no bucket and no log group.
    "S3BucketName",
    "CloudWatchLogGroupName",
    # None for an activation that nobody has used yet.
    "RegistrationsCount",
    # Instants with milliseconds and durations, which the model's pattern has no room for.
    "StringDateTime",
}


class Shapes:
    """Collects faults until a scenario's end, and what was answered over the whole run."""

    def __init__(self):
        self.faults = []
        self.extra = defaultdict(set)
        self.answered = defaultdict(int)
        self.errors = defaultdict(set)

    def watch(self, client):
        """Looks at every answer that this client gets."""
        client.meta.events.register("before-parse.ssm", self._on_answer)

    def verdict(self):
        """Raises when something was answered in another shape since the last time."""
        faults, self.faults = self.faults, []
        if faults:
            raise AssertionError("answers that botocore's model does not allow:\n" + "\n".join(sorted(set(faults))))

    def forgive(self, part):
        """Forgets faults with this text: where SSM itself does not keep to its model."""
        self.faults = [fault for fault in self.faults if part not in fault]

    def beyond(self):
        """Lines about members that SSM does not have."""
        return [f"{name}: {', '.join(sorted(members))}" for name, members in sorted(self.extra.items())]

    def _on_answer(self, operation_model, response_dict, **_):
        name = operation_model.name
        headers, body = response_dict["headers"], response_dict["body"]
        if "x-amzn-requestid" not in headers:
            self._fault(name, "", "the header x-amzn-RequestId is missing")
        if headers.get("content-type") != "application/x-amz-json-1.1":
            self._fault(name, "", f"the content type is {headers.get('content-type')}")
        try:
            answer = json.loads(body)
        except ValueError as error:
            self._fault(name, "", f"the body is no JSON: {error}")
            return
        if response_dict["status_code"] >= 300:
            self._check_error(operation_model, answer, response_dict["status_code"])
            return
        self.answered[name] += 1
        if operation_model.output_shape is not None:
            self._check(name, name, operation_model.output_shape, answer)
        elif answer != {}:
            self._fault(name, "", f"the answer should be empty and is {answer}")

    def _check_error(self, operation_model, answer, status):
        name = operation_model.name
        code = str(answer.get("__type", "")).rsplit("#")[-1]
        self.errors[name].add(code)
        declared = {shape.metadata.get("error", {}).get("code", shape.name) for shape in operation_model.error_shapes}
        declared |= {shape.name for shape in operation_model.error_shapes}
        if code not in declared | COMMON_ERRORS:
            self._fault(name, "__type", f"error `{code}` is neither declared by the operation nor common")
        message = answer.get("message") or answer.get("Message")
        if not isinstance(message, str) or len(message) < 10:
            self._fault(name, "message", f"error {code} says nothing: {message!r}")
        if status not in (400, 403, 413, 429, 500, 503):
            self._fault(name, "", f"error {code} has the status {status}")

    def _fault(self, name, path, what):
        self.faults.append(f"{name}: {path}: {what}")

    def _check(self, name, path, shape, value):
        if value is None:
            self._fault(name, path, "is null; a member without a value is left out")
            return
        check = getattr(self, f"_check_{shape.type_name}", None)
        if check is None:
            self._fault(name, path, f"has a type this checker does not know: {shape.type_name}")
        else:
            check(name, path, shape, value)

    def _is(self, name, path, value, what, types):
        fits = isinstance(value, types) and not (isinstance(value, bool) and what != "a boolean")
        if not fits:
            self._fault(name, path, f"is {value!r}, should be {what}")
        return fits

    def _within(self, name, path, shape, size, what):
        if shape.name in EXCUSED:
            return
        least, most = shape.metadata.get("min"), shape.metadata.get("max")
        if least is not None and size < least:
            self._fault(name, path, f"{what} is {size}, at least {least} is allowed")
        if most is not None and size > most:
            self._fault(name, path, f"{what} is {size}, at most {most} is allowed")

    def _check_structure(self, name, path, shape, value):
        if not self._is(name, path, value, "an object", dict):
            return
        for member, inner in value.items():
            if member in shape.members:
                self._check(name, f"{path}.{member}", shape.members[member], inner)
            else:
                self.extra[path].add(member)
        for member in shape.required_members:
            if member not in value:
                self._fault(name, f"{path}.{member}", "is required and missing")

    def _check_list(self, name, path, shape, value):
        if self._is(name, path, value, "a list", list):
            self._within(name, path, shape, len(value), "the number of items")
            for inner in value:
                self._check(name, f"{path}[]", shape.member, inner)

    def _check_map(self, name, path, shape, value):
        if self._is(name, path, value, "an object", dict):
            for key, inner in value.items():
                self._check(name, f"{path}.key", shape.key, key)
                self._check(name, f"{path}.{key}", shape.value, inner)

    def _check_string(self, name, path, shape, value):
        if not self._is(name, path, value, "a text", str):
            return
        if shape.enum and value not in shape.enum and shape.name not in EXCUSED:
            self._fault(name, path, f"is `{value}`, should be one of {shape.enum}")
        self._within(name, path, shape, len(value), "the length")
        if shape.name == "StringDateTime" and not _is_moment(value):
            self._fault(name, path, f"is `{value}`, which is neither an instant nor a duration")
        pattern = shape.metadata.get("pattern")
        if pattern is not None and shape.name not in EXCUSED:
            # Java's classes, as far as the model uses them.
            pattern = pattern.replace(r"\p{L}", "a-zA-Z").replace(r"\p{Z}", " ").replace(r"\p{N}", "0-9")
            if not re.search(pattern if pattern.startswith("^") else f"^(?:{pattern})$", value):
                self._fault(name, path, f"is `{value}`, should match {pattern}")

    def _check_integer(self, name, path, shape, value):
        if self._is(name, path, value, "a whole number", int):
            self._within(name, path, shape, value, "the value")

    _check_long = _check_integer

    def _check_double(self, name, path, shape, value):
        self._is(name, path, value, "a number", (int, float))

    _check_float = _check_double

    def _check_boolean(self, name, path, shape, value):
        self._is(name, path, value, "a boolean", bool)

    def _check_timestamp(self, name, path, shape, value):
        # Seconds since 1970. A moment of this product's life: neither milliseconds nor years.
        if self._is(name, path, value, "seconds since 1970", (int, float)) and not 0 <= value < 4_000_000_000:
            self._fault(name, path, f"is {value}, which is no instant in seconds")

    def _check_blob(self, name, path, shape, value):
        if self._is(name, path, value, "base64", str):
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error as error:
                self._fault(name, path, f"is no base64: {error}")


def _is_moment(text):
    """Whether a text is nothing yet, an instant in UTC, or a duration."""
    if not text or re.fullmatch(r"PT(\d+H)?(\d+M)?(\d+(\.\d+)?S)?", text):
        return True
    try:
        datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError:
        return False
    return True
