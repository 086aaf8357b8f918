"""anomalyd-train: from a plant's history, or a simulated one, to a model file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from daemon.errors import ConfigError, DataError, ModelError
from training.commands import (
    architectures,
    benchmark,
    card,
    compare,
    evaluate,
    export,
    fit,
    inspect,
    quality,
    report,
    simulate,
    study,
    study_benchmark,
)

COMMANDS = (
    architectures, simulate, inspect, study, fit, evaluate, benchmark, quality, report, compare, study_benchmark,
    export, card,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 done, 1 stopped, 2 something the user must change."""
    known = parser()
    args, rest = known.parse_known_args(argv)
    # argparse ends a list of folders at the first option; those behind it come back as the rest
    if rest and (not hasattr(args, "paths") or any(word.startswith("-") for word in rest)):
        known.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.paths += map(Path, rest)
    try:
        return int(args.run(args))
    except (ConfigError, DataError, ModelError) as error:
        print(f"anomalyd-train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("anomalyd-train: stopped before an epoch was finished; nothing written", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; what it parsed has `run`, the command."""
    whole = argparse.ArgumentParser(prog="anomalyd-train", description=__doc__)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return whole


if __name__ == "__main__":
    sys.exit(main())
