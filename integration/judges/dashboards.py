"""Judges dashboards by Grafana's own definitions: `dashboards.py FILE…`

Each is read into the models that Grafana generates from its schema (the PyPI package grafana-foundation-sdk; one model for
the dashboard, one for each kind of panel and of query) and written again. What does not come back is unknown to Grafana;
what is not of the type that the models have for it would be shown wrongly, or not at all. Exit status 1, and a line for
each fault.
"""

import enum
import json
import sys
import typing

from grafana_foundation_sdk.cog import plugins, runtime
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(wanted, got, at):
    """What of the file did not come back."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key, value in wanted.items():
            if key in got:
                yield from lost(value, got[key], f"{at}.{key}")
            elif value is not None:
                yield f"{at}.{key}: unknown"
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for number, pair in enumerate(zip(wanted, got)):
            yield from lost(*pair, f"{at}[{number}]")
    elif wanted != got:
        yield f"{at}: {wanted!r} became {got!r}"


def fits(value, hint):
    """Whether a value is of a type, one level deep: models look after their own fields."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:
        return any(fits(value, arg) for arg in args)
    if origin is typing.Literal:
        return value in args
    if origin in (list, dict):
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        return isinstance(value, origin) and all(fits(part, args[-1]) for part in parts)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in {choice.value for choice in hint}
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def wrong(value, at):
    """What is not of the type that its model has for it."""
    if isinstance(value, list):
        for number, part in enumerate(value):
            yield from wrong(part, f"{at}[{number}]")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from wrong(part, f"{at}.{key}")
    elif type(value).__module__.startswith("grafana_foundation_sdk."):
        for name, hint in typing.get_type_hints(type(value)).items():
            part = getattr(value, name, None)
            if not fits(part, hint):
                yield f"{at}.{name}: {part!r} is no {hint}"
            yield from wrong(part, f"{at}.{name}")


def faults(path):
    with open(path, encoding="utf-8") as file:
        wanted = json.load(file)
    for panel in wanted["panels"]:
        if runtime.panelcfg_config(panel["type"]) is None:
            yield f"{panel['title']}: Grafana has no panel of type {panel['type']}"
    dashboard = Dashboard.from_json(wanted)
    got = json.loads(JSONEncoder().encode(dashboard))
    yield from lost(wanted, got, "")
    yield from wrong(dashboard, "")


def main():
    plugins.register_default_plugins()
    found = [f"{path}: {fault}" for path in sys.argv[1:] for fault in faults(path)]
    print("\n".join(found) or f"{len(sys.argv) - 1} dashboards are as Grafana has them")
    sys.exit(1 if found else 0)


main()
