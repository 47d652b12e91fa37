#!/usr/bin/env python3
"""log_events.py DOCUMENT SOURCE…: each event that is logged as a warning or an error must be named in the document, between backquotes."""
import re
import sys

document = open(sys.argv[1], encoding="utf-8").read()
LITERALS = r'"(?:[^"\\]|\\.)*"(?:\s*"(?:[^"\\]|\\.)*")*'  # neighbours are one string
found = 0
missing = []
for path in sys.argv[2:]:
    text = open(path, encoding="utf-8").read()
    for call in re.finditer(r"\b(?:LOG|log_write_each|log_line_write)\((.*?)\);", text, re.S):
        head = re.split(r"\bLOG_(?:S|SL|I|TRACE)\(", call[1])[0]  # what stands before the fields
        if not re.search(r"\bLOG_(?:WARN|ERROR)\b", head):
            continue
        table = re.search(r"\b([A-Z]+)\[\w+\]", head)
        if table:
            head = re.search(r"\*const " + table[1] + r"\[\] = \{(.*?)\};", text, re.S)[1]
        for literal in re.findall(LITERALS, head):
            event = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literal))
            found += 1
            if f"`{event}`" not in document:
                missing.append(f"{path}: not in {sys.argv[1]}: {event}")
print("\n".join(missing))
sys.exit(bool(missing) or not found)
