"""config/grafana/vela.json in the model of dashboards that Grafana's makers publish: read into it and written again, nothing
may be lost, and whatever it holds must be of the type that the model says. That this sees mistakes is tried out by making
some of each kind.

    grafana.py DASHBOARD
"""

import copy
import enum
import json
import sys
import typing

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

# What the model takes as it is: queries of variables, values of overrides, and the value of a matcher.
ANYTHING = [".templating.list[].query", ".fieldConfig.overrides[].properties[].value", ".matcher.options"]


def lost(given, kept, at=""):
    """What of `given` is not in `kept`, which may have defaults besides."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            if name in kept:
                yield from lost(value, kept[name], f"{at}.{name}")
            elif value is not None:
                yield f"{at}.{name}: no such name is known"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, pair in enumerate(zip(given, kept)):
            yield from lost(*pair, f"{at}[{number}]")
    elif given != kept:
        yield f"{at}: {given!r} became {kept!r}"


def mistyped(value, wanted, at=""):
    """Where `value` is not what the type `wanted` says; objects of the model are looked into."""
    parts, origin = typing.get_args(wanted), typing.get_origin(wanted)
    if origin is typing.Union:
        every = [list(mistyped(value, part, at)) for part in parts]
        yield from min(every, key=len)
    elif origin is typing.Literal:
        if value not in parts:
            yield f"{at}: {value!r} is none of {parts}"
    elif origin is list and isinstance(value, list):
        for number, item in enumerate(value):
            yield from mistyped(item, parts[0], f"{at}[{number}]")
    elif origin is dict and isinstance(value, dict):
        for name, item in value.items():
            yield from mistyped(item, parts[1], f"{at}.{name}")
    elif isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        if value not in list(wanted) and value not in [one.value for one in wanted]:
            yield f"{at}: {value!r} is none of {[one.value for one in wanted]}"
    elif wanted is float and isinstance(value, int) and not isinstance(value, bool):
        pass
    elif origin or not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        yield f"{at}: {value!r} is no {wanted}"
    elif type(value).__module__.startswith("grafana_foundation_sdk"):
        for name, of in typing.get_type_hints(type(value)).items():
            yield from mistyped(getattr(value, name), of, f"{at}.{name}")


def wrong(dashboard):
    """Everything that is wrong with it."""
    try:
        read = Dashboard.from_json(copy.deepcopy(dashboard))
        kept = json.loads(JSONEncoder().encode(read))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        return [f"it cannot be read: {error!r}"]
    return [*lost(dashboard, kept), *mistyped(read, Dashboard)]


def objects(value, at=""):
    """The objects in it, one for each place where such stand."""
    found = {at: value} if isinstance(value, dict) else {}
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    for name, part in inner:
        found = objects(part, at + (f".{name}" if isinstance(name, str) else "[]")) | found
    return found


def main():
    plugins.register_default_plugins()
    with open(sys.argv[1], encoding="utf-8") as file:
        dashboard = json.load(file)
    found = wrong(dashboard)
    if found:
        sys.exit("\n".join(found))
    seen, unseen = 0, []

    def tried(at):
        nonlocal seen
        if wrong(dashboard):
            seen += 1
        elif not any(part in at for part in ANYTHING):
            unseen.append(at)

    for at, inside in objects(dashboard).items():
        inside["noSuchName"] = 1
        tried(f"{at}.noSuchName")
        del inside["noSuchName"]
        # Another type in place of what is there; the first two do for each kind of object.
        for name, value in list(inside.items())[:2]:
            if value is not None:
                inside[name] = [["another", "type"]]
                tried(f"{at}.{name}")
                inside[name] = value
    if unseen or wrong(dashboard):
        sys.exit(f"mistakes that are not seen: {unseen}")
    print(f"{len(dashboard['panels'])} panels, nothing lost; {seen} mistakes that were made were seen")


main()
