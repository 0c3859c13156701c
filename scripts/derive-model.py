#!/usr/bin/env python3
"""Derives the files in api/model that are not ours from botocore's service models.

    scripts/derive-model.py            writes the files
    scripts/derive-model.py --check    exits with 1 when a file is not what botocore says

Facts only: names of operations, of the errors each declares and of the members each takes, with
their types and constraints. No documentation text is taken. botocore is Apache-2.0.

Which operations are served is read from the register, api/src/operations.rs; of the others only
the names are kept, so that a refusal can say that SSM has them. Shapes with the same content are
one shape. api/model/README.md says how the file is laid out.

A newer botocore may know more members and values than the file; that is told, and is no fault. One
that contradicts the file is.
"""

import gzip
import json
import os
import re
import sys

import botocore

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Our name of a service, as the register and the files have it; botocore's; its version; and what
# stands before the names of its shapes, so that the services can share one table of them.
SERVICES = [("ssm", "ssm", "2014-11-06", ""), ("states", "stepfunctions", "2016-11-23", "states.")]
REGISTER = os.path.join(ROOT, "api", "src", "operations.rs")

# Types as the file names them.
TYPES = {"string": "text", "integer": "integer", "long": "integer", "boolean": "boolean",
         "timestamp": "timestamp", "blob": "blob", "double": "number", "float": "number"}
# `^(?!\s*$).+` says "not blank" with a look-ahead, which an automaton has not.
REWRITTEN = {r"^(?!\s*$).+": r"[^\n]*[^ \t\n\x0B\f\r][^\n]*",
             # The length is checked by itself; counted here it would be an automaton of 100,000 states.
             r"^.{1,100000}$": r".+"}
# What Java means by these, without Unicode, inside and outside of brackets.
JAVA = {r"\w": "a-zA-Z0-9_", r"\d": "0-9", r"\s": r" \t\n\x0B\f\r"}


def target(service):
    name, _, version, _ = service
    return os.path.join(ROOT, "api", "model", f"{name}-{version}.json")


def load(service):
    _, name, version, _ = service
    folder = os.path.join(os.path.dirname(botocore.__file__), "data", name, version)
    path = os.path.join(folder, "service-2.json")
    if os.path.exists(path + ".gz"):
        with gzip.open(path + ".gz") as file:
            return json.load(file)
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def served(service):
    """Names of the operations of a service that the register has."""
    with open(REGISTER, encoding="utf-8") as file:
        source = file.read()
    register = source.split("\nregister! {", 1)[1]
    block = register.split(f"    {service[0]} {{", 1)[1].split("\n    }", 1)[0]
    return set(re.findall(r'^\s+"(\w+)": \w+ =>', block, re.MULTILINE))


def translated(pattern):
    """The pattern for Rust's `regex`, which is always anchored at both ends, as SSM matches."""
    if pattern in REWRITTEN:
        return REWRITTEN[pattern]
    out, at, depth = [], 0, 0
    while at < len(pattern):
        pair = pattern[at:at + 2]
        if pair in JAVA:
            out.append(JAVA[pair] if depth else "[" + JAVA[pair] + "]")
            at += 2
        elif pair == r"\S" and not depth:
            out.append("[^" + JAVA[r"\s"] + "]")
            at += 2
        elif pair == r"\S":
            # Only used as [\s\S], which is any character.
            out.append(r"\S")
            at += 2
        elif pattern[at] == "\\":
            # An escaped slash or the like is the character itself.
            out.append(pair[1] if pair[1] in "/#~=@%:-" and not depth else pair)
            at += 2
        else:
            depth += {"[": 1, "]": -1}.get(pattern[at], 0)
            out.append(pattern[at])
            at += 1
    text = "".join(out).replace(r"[ \t\n\x0B\f\r\S]", r"(?s:.)")
    if re.search(r"\(\?[=!<]|\\[1-9]|[*+?}]\+", text):
        sys.exit(f"pattern {pattern!r} looks around, back or is possessive: add it to REWRITTEN")
    return text


class Shapes:
    def __init__(self, model, prefix):
        self.model, self.shapes, self.by_content, self.names = model["shapes"], {}, {}, {}
        self.prefix = prefix

    def add(self, name, via=()):
        """Adds a shape with what it is made of; returns the name it has in the file."""
        if name in self.names:
            return self.names[name]
        if name in via:
            # A shape within itself keeps its own name.
            return self.prefix + name
        shape, via = self.model[name], (*via, name)
        if shape["type"] == "structure":
            required = shape.get("required", [])
            entry = {"members": {member + ("!" if member in required else ""): self.add(of["shape"], via)
                                 for member, of in shape["members"].items()}}
        elif shape["type"] == "list":
            entry = {"list": self.add(shape["member"]["shape"], via)}
        elif shape["type"] == "map":
            entry = {"map": [self.add(shape[part]["shape"], via) for part in ("key", "value")]}
        else:
            entry = {"type": TYPES[shape["type"]]}
        for key in ("min", "max", "enum"):
            if key in shape:
                entry[key] = shape[key]
        if "pattern" in shape:
            entry["pattern"] = shape["pattern"]
            rust = translated(shape["pattern"])
            if rust != shape["pattern"]:
                entry["regex"] = rust
        if shape.get("sensitive"):
            entry["sensitive"] = True
        content = json.dumps(entry)
        known = self.by_content.setdefault(content, self.prefix + name)
        self.names[name] = known
        self.shapes.setdefault(known, entry)
        return known


def derive(service):
    model = load(service)
    names, shapes = served(service), Shapes(model, service[3])
    unknown = names - set(model["operations"])
    if unknown:
        sys.exit(f"not operations of {service[1]}: {', '.join(sorted(unknown))}")
    operations = {}
    for name, operation in sorted(model["operations"].items()):
        if name in names:
            errors = [error["shape"] for error in operation.get("errors", [])]
            operations[name] = {"input": shapes.add(operation["input"]["shape"]), "errors": errors}
        else:
            operations[name] = None
    return {"source": f"botocore {botocore.__version__}, {service[1]} {service[2]}", "operations": operations,
            "shapes": dict(sorted(shapes.shapes.items()))}


def written(model):
    """One line for each operation and shape: small, and readable as a difference."""
    def block(entries):
        lines = [f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}" for key, value in entries.items()]
        return "{\n" + ",\n".join(lines) + "\n}"

    return (f'{{"source":{json.dumps(model["source"])},\n"operations":{block(model["operations"])},\n'
            f'"shapes":{block(model["shapes"])}}}\n')


def contradictions(old, new, path, notes):
    """What `old` says and `new` says differently."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old:
            if key not in new:
                yield f"{path}/{key} is gone"
            else:
                yield from contradictions(old[key], new[key], f"{path}/{key}", notes)
        notes.extend(f"{path}/{key} is new" for key in new if key not in old)
    elif isinstance(old, list) and isinstance(new, list) and all(isinstance(one, str) for one in old):
        yield from (f"{path} no longer has {one}" for one in old if one not in new)
        notes.extend(f"{path} has {one} now" for one in new if one not in old)
    elif old != new:
        yield f"{path} was {old!r} and is {new!r}"


def resolved(model):
    """The constraints by member path, whatever the shapes are called."""
    def expand(name, via):
        entry = dict(model["shapes"][name])
        if name in via:
            return {"recursion": True}
        via = (*via, name)
        if "members" in entry:
            entry["members"] = {key: expand(of, via) for key, of in entry["members"].items()}
        if "list" in entry:
            entry["list"] = expand(entry["list"], via)
        if "map" in entry:
            entry["map"] = {"key": expand(entry["map"][0], via), "value": expand(entry["map"][1], via)}
        return entry

    return {name: operation and {"input": expand(operation["input"], ()), "errors": operation["errors"]}
            for name, operation in model["operations"].items()}


def write(service):
    new = derive(service)
    text = written(new)
    with open(target(service), "w", encoding="utf-8") as file:
        file.write(text)
    count = sum(operation is not None for operation in new["operations"].values())
    print(f"{target(service)}: {len(text)} bytes, {count} of {len(new['operations'])} operations, "
          f"{len(new['shapes'])} shapes, from {new['source']}")


def check(service):
    """Says what is new and what is wrong; returns whether anything is wrong."""
    new = derive(service)
    with open(target(service), encoding="utf-8") as file:
        text = file.read()
    old = json.loads(text)
    notes = []
    faults = list(contradictions(resolved(old), resolved(new), "", notes))
    if old["source"] == new["source"] and text != written(new):
        faults.append("the file is not what this script writes")
    print("\n".join([f"note: {note}" for note in notes] + [f"fault: {fault}" for fault in faults]))
    print(f"checked {len(old['operations'])} operations against {new['source']}")
    return bool(faults)


def main():
    if sys.argv[1:] == ["--check"]:
        sys.exit(1 if any([check(service) for service in SERVICES]) else 0)
    for service in SERVICES:
        write(service)


if __name__ == "__main__":
    main()
