"""Run the benchmarks.

python -m tests.bench [NAMES...]: all scripts, or those named; a name is a script's or a fact's. Each script is a
process of its own with a limit of its own: one that fails or hangs gives null with the reason, the others go on.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.bench.facts import Fact, absent
from tests.bench.promises import PROMISES
from tests.bench.results import line, rewrite, save

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent

#: Longest time of one script, in seconds: all of them together must stay under 15 minutes.
LIMIT_S = 180.0


def scripts(folder: Path = FOLDER) -> list[str]:
    """Return the names of the modules that have facts, without importing them."""
    return sorted(
        file.stem
        for file in folder.glob("*.py")
        if any(isinstance(node, ast.FunctionDef) and node.name == "facts" for node in ast.parse(file.read_text()).body)
    )


def measure(script: str, limit_s: float = LIMIT_S, package: str = "tests.bench") -> list[Fact]:
    """Run one script in a process of its own; facts that were promised and did not come are null with the reason."""
    command = [sys.executable, "-m", "tests.bench", "--child", f"{package}.{script}"]
    facts, why = [], ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            why = f"not finished within {limit_s:g} s"
    for row in out.splitlines():
        if row.startswith("fact "):
            facts.append(Fact(**json.loads(row[5:])))
        else:
            print(row)
    if process.returncode and not why:
        why = (err.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
    if why:
        print(err, file=sys.stderr)
    said = {fact.name for fact in facts}
    promised = [name for name, promise in PROMISES.items() if promise.script == script and name not in said]
    facts += [absent(name, why or "the script did not say") for name in promised]
    if why and not promised and not facts:
        facts.append(absent(script, why))
    return facts


def child(module: str) -> None:
    """Run one script here; one line of JSON per fact."""
    for fact in importlib.import_module(module).facts():
        print("fact " + json.dumps(fact.fields()), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="scripts or facts; default: all")
    parser.add_argument("--list", action="store_true", help="only list the scripts")
    parser.add_argument("--json", type=Path, default=ROOT / "bench.json", help="default: bench.json")
    parser.add_argument("--no-table", action="store_true", help="leave docs/performance.md alone")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return 0
    known = scripts()
    if options.list:
        print("\n".join(known))
        return 0
    absent_scripts = {promise.script for promise in PROMISES.values()} - set(known)
    chosen = [PROMISES[name].script if name in PROMISES else name for name in options.names] or known
    strangers = sorted(set(chosen) - set(known) - absent_scripts)
    if strangers:
        parser.error(f"got {', '.join(strangers)}, expected some of {', '.join([*known, *PROMISES])}")
    load = os.getloadavg()[0]
    found: list[tuple[str, Fact]] = []
    for script in dict.fromkeys([*chosen, *([] if options.names else sorted(absent_scripts))]):
        if script in known:
            facts = measure(script)
        else:
            facts = [absent(n, f"no script {script}.py") for n, promise in PROMISES.items() if promise.script == script]
        for fact in facts:
            if not options.names or fact.name in options.names or script in options.names:
                print(line(fact, script), flush=True)
                found.append((script, fact))
    save(options.json, found)
    if not options.no_table:
        setting = f"Last run: {os.cpu_count()} cores, load {load:.1f} from others at the start."
        rewrite(ROOT / "docs" / "performance.md", found, setting)
    return 0


if __name__ == "__main__":
    sys.exit(main())
