"""The constraints of botocore's own model, each broken once, for every operation that is served.

Nothing of this is written by hand: what is required, enumerated, bounded or has a pattern is taken
from the model that the clients carry, three levels deep.
"""

import json
import os
import re

from register import SERVED

# Levels of members that are gone into: a member, and what is in it.
LEVELS = 3
# A text that is longer than this is not sent: what bounds it is the size of requests.
CHARS_MAX = 100_000


def _lower(name):
    return name[:1].lower() + name[1:]


def _pattern(shape):
    """Whether a text fits the pattern of a shape, as the service means it: as a whole."""
    pattern = shape.metadata.get("pattern", "")
    try:
        compiled = re.compile(pattern.replace(r"\p{L}", "a-zA-Z").replace(r"\p{Z}", " ").replace(r"\p{N}", "0-9"))
    except re.error:
        return lambda text: True
    return lambda text: compiled.fullmatch(text) is not None


def _broken(shape, path, level):
    """Values that break a constraint of a shape, with the member that must be named for each."""
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    kind = shape.type_name
    if kind == "string":
        if shape.enum:
            yield "no-such-word", path, "an enumeration"
        elif most is not None and most < CHARS_MAX:
            yield "x" * (most + 1), path, "a greatest length"
        if least and not shape.enum:
            yield "x" * (least - 1), path, "a least length"
        if shape.metadata.get("pattern") and not shape.enum:
            fits = _pattern(shape)
            for text in ("\x01" * max(least or 1, 4), "!" * max(least or 1, 4), " " * max(least or 1, 4)):
                if not fits(text) and (most is None or len(text) <= most):
                    yield text, path, "a pattern"
                    break
        yield {"a": 1}, path, "a type"
    elif kind in ("integer", "long"):
        if least is not None:
            yield least - 1, path, "a least value"
        if most is not None:
            yield most + 1, path, "a greatest value"
        yield "one", path, "a type"
    elif kind == "boolean":
        yield "yes", path, "a type"
    elif kind == "structure":
        yield [], path, "a type"
        if level < LEVELS:
            for name, member in shape.members.items():
                if name in shape.required_members:
                    yield {}, f"{path}.{_lower(name)}", "a required member"
                for value, where, what in _broken(member, f"{path}.{_lower(name)}", level + 1):
                    yield {name: value}, where, what
    elif kind == "list":
        yield {}, path, "a type"
        if most is not None and most < 1000 and shape.member.type_name == "string":
            yield ["x"] * (most + 1), path, "a greatest number of items"
        if least:
            yield [], path, "a least number of items"
        if level < LEVELS:
            for value, where, what in _broken(shape.member, f"{path}.1.member", level + 1):
                # Of a list of texts SSM names the list, and says of its members what is allowed.
                is_text = shape.member.type_name == "string" and what != "a type"
                yield [value], path if is_text else where, what
    elif kind == "map":
        yield [], path, "a type"


def _known_members():
    """The members that the server's own model has, by operation."""
    path = os.path.join(os.path.dirname(__file__), "..", "..", "api", "model", "ssm-2014-11-06.json")
    with open(path, encoding="utf-8") as file:
        model = json.load(file)
    inputs = {name: one["input"] for name, one in model["operations"].items() if one}
    return {name: {member.rstrip("!") for member in model["shapes"][of]["members"]} for name, of in inputs.items()}


def every_constraint_of_the_model_is_kept_by_every_served_operation(world):
    faults, tried, known = [], 0, _known_members()
    for operation in sorted(SERVED):
        shape = world.model.operation_model(operation).input_shape
        cases = []
        for name, member in shape.members.items():
            if name not in known[operation]:
                # A newer botocore has members that the server's model has not: unknown ones pass.
                continue
            if name in shape.required_members:
                cases.append(({}, _lower(name), "a required member"))
            cases += [({name: value}, where, what) for value, where, what in _broken(member, _lower(name), 1)]
        for body, where, what in cases:
            tried += 1
            status, text = world.post(f"AmazonSSM.{operation}", json.dumps(body))
            answer = json.loads(text)
            code = "SerializationException" if what == "a type" else "ValidationException"
            shown = json.dumps(body)[:80]
            if status != 400 or answer.get("__type") != code:
                faults.append(f"{operation} {shown}: {what} of {where}: {status} {text[:160]}")
            elif f"'{where}" not in answer["message"]:
                faults.append(f"{operation} {shown}: {what} of {where} is not named: {answer['message'][:200]}")
    assert tried > 500, f"only {tried} constraints were found"
    assert not faults, f"{len(faults)} of {tried}:\n" + "\n".join(faults)
