#!/usr/bin/env python3
"""Runs the commands that a page shows, and holds their output against what the page shows below them.

    readme.py FILE

A block that begins with ```console has commands, each in a line behind `$ `, and under it lines of its
output. A line that is shown must be among those that are printed, in this order; `…` in it stands for
anything. Prints each command and, indented, what it printed. Every command must exit with 0. They run one after the other in bash, in the page's directory,
where each has LIMIT seconds. Stops at the first that differs: exit 1.
"""

import os
import re
import subprocess
import sys

LIMIT = 240


def commands(page):
    """The commands of a page, each with its line and the lines that are shown below it."""
    inside = False
    found = []
    for number, line in enumerate(page.splitlines(), start=1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            found.append((number, line[2:], []))
        elif inside and found:
            found[-1][2].append(line)
    return found


def missing(shown, printed):
    """The first line that is shown and not printed after those before it; none if there is none."""
    rest = iter(printed)
    for line in shown:
        pattern = re.compile(".*".join(re.escape(part) for part in line.strip().split("…")))
        if not any(pattern.fullmatch(candidate.strip()) for candidate in rest):
            return line
    return None


def main():
    path = sys.argv[1]
    with open(path, encoding="utf-8") as file:
        steps = commands(file.read())
    if not steps:
        sys.exit(f"{path} shows no command")
    for number, command, shown in steps:
        print(f"  $ {command}", flush=True)
        try:
            run = subprocess.run(
                ["bash", "-c", command],
                cwd=os.path.dirname(os.path.abspath(path)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=LIMIT,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            printed = (expired.stdout or b"").decode(errors="replace")
            sys.exit(f"{printed}\n{path}:{number}: not done after {LIMIT} s")
        for line in run.stdout.splitlines():
            print(f"    {line}")
        wanted = missing(shown, run.stdout.splitlines())
        if run.returncode != 0:
            sys.exit(f"{path}:{number}: exit {run.returncode}")
        if wanted is not None:
            sys.exit(f"{path}:{number}: this was not printed: {wanted}")


main()
