"""Reports what llvm-cov has measured: coverage.py EXPORT EXPLANATIONS. See scripts/coverage."""

import json
import os
import re
import sys
from collections import defaultdict

# The packet path: what runs for each packet. A folder stands for all in it.
PACKET_PATH = (
    "crates/wire/src/",
    "crates/dataplane/src/connection",
    "crates/dataplane/src/engine/",
    "crates/dataplane/src/engine.rs",
    "crates/dataplane/src/index.rs",
    "crates/dataplane/src/port_table",
    "crates/dataplane/src/slab.rs",
    "crates/dataplane/src/tcp.rs",
    "crates/dataplane/src/timer_wheel.rs",
    "crates/dataplane/src/walk",
)
# In these folders, but not for packets.
NOT_OF_IT = ("engine/view.rs", "engine/check.rs", "port_table/check.rs", "table/check.rs")


def code_of(path):
    """The lines of a source without its tests."""
    lines = open(path).read().split("\n")
    for number, line in enumerate(lines):
        if line == "#[cfg(test)]" and lines[number + 1].startswith("mod tests {"):
            return lines[:number]
    return lines


def lines_and_branches(measured, code):
    """Counts by line, and by place and way. Generic code is there once for each use: summed up."""
    lines, branches = {}, defaultdict(int)
    segments = measured["segments"]
    for (line, _, count, has_count, _, is_gap), following in zip(segments, segments[1:] + [None]):
        if has_count and not is_gap:
            last = following[0] if following else line
            for number in range(line, last + 1):
                if number == line or number < last or (following and following[1] > 1):
                    lines[number] = max(lines.get(number, 0), count)
    for start, column, _, _, taken, not_taken, *_ in measured["branches"]:
        branches[start, column, "true"] += taken
        branches[start, column, "false"] += not_taken
    inside = range(1, len(code) + 1)
    blank = lambda number: not code[number - 1].strip(" {}();,")
    lines = {n: c for n, c in lines.items() if n in inside and not blank(n)}
    branches = {b: c for b, c in branches.items() if b[0] in inside}
    return lines, branches


def percent(part, whole):
    return f"{100 * part / whole:6.1f} %" if whole else "      – "


def explained(path):
    """What is explained there: (file, line of code, way)."""
    found, file = set(), None
    for line in open(path) if os.path.exists(path) else ():
        if heading := re.match(r"### `(.+)`$", line):
            file = heading[1]
        elif branch := re.match(r"- never (true|false): `(.+)`$", line):
            found.add((file, branch[2], branch[1]))
    return found


def main(export, explanations):
    files = json.load(open(export))["data"][0]["files"]
    root = os.getcwd() + "/"
    missed = []
    sums = defaultdict(lambda: [0, 0, 0, 0])
    print(f"{'':52} {'lines':>16} {'branches':>17}")
    for measured in sorted(files, key=lambda file: file["filename"]):
        path = measured["filename"].removeprefix(root)
        if path.endswith("tests.rs"):
            continue
        code = code_of(path)
        lines, branches = lines_and_branches(measured, code)
        numbers = (
            sum(count > 0 for count in lines.values()),
            len(lines),
            sum(count > 0 for count in branches.values()),
            len(branches),
        )
        crate = path.split("/")[1]
        sums[crate] = [a + b for a, b in zip(sums[crate], numbers)]
        show(path, numbers)
        if path.startswith(PACKET_PATH) and not path.endswith(NOT_OF_IT):
            for (line, column, way), count in sorted(branches.items()):
                if count == 0:
                    missed.append((path, line, column, way, code[line - 1].strip()))
    print()
    for crate, numbers in sums.items():
        show(crate, numbers)

    known = explained(explanations)
    keys = {(path, text, way) for path, _, _, way, text in missed}
    open_ones = [miss for miss in missed if (miss[0], miss[4], miss[3]) not in known]
    stale = sorted(known - keys)
    print(f"\nBranches of the packet path that no test takes: {len(missed)}, of which", end=" ")
    print(f"{len(missed) - len(open_ones)} are explained in {explanations}")
    for path, line, column, way, text in open_ones:
        print(f"  {path}:{line}:{column} never {way}: {text}")
    for path, text, way in stale:
        print(f"  explained, and taken this time, or gone: {path} {way}: {text}")
    return bool(open_ones)


def show(name, numbers):
    lines, all_lines, branches, all_branches = numbers
    print(
        f"{name:52} {lines:5} {all_lines:5}{percent(lines, all_lines)}"
        f" {branches:5} {all_branches:5}{percent(branches, all_branches)}"
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
