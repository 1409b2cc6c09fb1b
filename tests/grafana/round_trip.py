"""Reads dashboards with Grafana's published model, writes them again, and compares the two.

The model is the package grafana-foundation-sdk, which Grafana generates from its schemas. What a dashboard
has and the model does not know is lost on the way, and reported, as are values of a wrong type.

Usage: round_trip.py DASHBOARD.json...
"""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def differences(before, after, path="$"):
    """Yields what `before` has and `after` lacks or has otherwise."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from differences(value, after[key], f"{path}.{key}")
            elif value is not None:
                yield f"{path}.{key} is lost: {value!r}"
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path} has {len(before)} entries before and {len(after)} after"
        for index, (one, other) in enumerate(zip(before, after)):
            yield from differences(one, other, f"{path}[{index}]")
    elif before != after:
        yield f"{path} is {before!r} before and {after!r} after"


def main():
    register_default_plugins()
    failed = False
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as file:
            before = json.load(file)
        model = Dashboard.from_json(before)
        after = json.loads(JSONEncoder(sort_keys=True).encode(model))
        found = list(differences(before, after))
        for line in found:
            print(f"{name}: {line}")
        failed = failed or bool(found)
        print(f"{name}: {len(before['panels'])} panels")
    sys.exit(1 if failed else 0)


main()
