"""Drives a running Patchwave with boto3 and the AWS CLI, as its users do.

    python3 tests/clients/run.py --endpoint http://127.0.0.1:8080 --nodes 12 [NAME ...]

A scenario is a function whose name says the behaviour; it takes a `World` and fails by raising.
Each makes what it needs under names of its own, and they run in the order of their files: the
register of operations is last, because it looks at what the others have called.

The fleet must be as `tests/tests/clients` makes it: simulated nodes in the patch groups canary and
production, and one real node with the tag Kind=real. Every answer is compared with botocore's own
shapes (`shapes.py`), whichever scenario asked for it.
"""

import argparse
import inspect
import sys
import time
import traceback

import access
import activations
import baselines
import command_line
import commands
import constraints
import documents
import listings
import nodes
import patches
import refusals
import register
import reports
import state_machines
import window_runs
import windows
from world import World

MODULES = [access, baselines, windows, window_runs, commands, documents, nodes, activations, patches, reports, listings, state_machines, refusals, constraints, command_line, register]


def scenarios(wanted, without):
    """Functions of the modules in the order they are written in, and their names."""
    for module in (module for module in MODULES if module.__name__ not in without):
        found = [f for _, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__]
        for function in sorted(found, key=lambda f: f.__code__.co_firstlineno):
            name = f"{module.__name__}.{function.__name__}"
            if not function.__name__.startswith("_") and (not wanted or any(part in name for part in wanted)):
                yield name, function


def main():
    parser = argparse.ArgumentParser(description="Drives a running Patchwave with boto3 and the AWS CLI.")
    parser.add_argument("--endpoint", required=True, help="URL of the API")
    parser.add_argument("--nodes", type=int, required=True, help="simulated nodes in canary and production")
    parser.add_argument("--without", action="append", default=[], metavar="FILE", help="leave out a file's scenarios")
    parser.add_argument("only", nargs="*", metavar="NAME", help="run scenarios whose name contains this")
    arguments = parser.parse_args()

    world = World(arguments.endpoint, arguments.nodes, is_whole=not arguments.only)
    world.await_fleet()
    ok, failed = 0, 0
    for name, scenario in scenarios(arguments.only, arguments.without):
        started = time.monotonic()
        try:
            scenario(world)
            world.shapes.verdict()
        except Exception:
            failed += 1
            print(f"FAILED {name}")
            print("    " + traceback.format_exc().rstrip().replace("\n", "\n    "), flush=True)
        else:
            ok += 1
            print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)
    for line in world.shapes.beyond():
        print(f"beyond SSM's shapes: {line}")
    print(f"{ok} ok, {failed} failed")
    return 1 if failed or not ok else 0


if __name__ == "__main__":
    sys.exit(main())
