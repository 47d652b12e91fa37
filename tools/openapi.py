#!/usr/bin/python3
"""openapi.py YAML: prints the document as the JSON that the daemon serves. Needs Debian's python3-yaml.

YAML 1.1, which PyYAML reads, takes a bare `no`, `1_000` or `2026-11-23` for something else than YAML 1.2 does; here a scalar is a
number, a truth value or null only where JSON would write it so, and a mapping's name is text and stands there once.
"""
import json
import re
import sys

import yaml


class Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(name, deep=True) for name, _ in node.value]
        for name, (at, _) in zip(names, node.value):
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(None, None, f"put {name!r} in quotes", at.start_mark)
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{name} is there twice", at.start_mark)
        return super().construct_mapping(node, deep)


for tag, pattern, first in (
    ("bool", "true|false", "tf"),
    ("null", "null", "n"),
    ("int", "-?(?:0|[1-9][0-9]*)", "-0123456789"),
    ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", "-0123456789"),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))

with open(sys.argv[1], encoding="utf-8") as source:
    document = yaml.load(source, Loader)
json.dump(document, sys.stdout, ensure_ascii=False, indent=2)
print()
