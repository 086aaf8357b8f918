"""`anomalyd`: run, check, replay, models, demo.

Exit status: 0 fine; 2 a configuration, a model or data that cannot be used; 1 anything else; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from daemon.errors import ConfigError, DataError, ModelError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        status: int = arguments.command(arguments)
        sys.stdout.flush()  # here, where a reader that went away can still be told from a bug
    except ConfigError as error:
        print(f"anomalyd: {len(error.problems)} to mend", file=sys.stderr)
        for problem in error.problems:
            print(f"  {problem}", file=sys.stderr)
        return 2
    except (ModelError, DataError) as error:
        print(f"anomalyd: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `anomalyd replay ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush complains
        return 1
    except KeyboardInterrupt:
        print("anomalyd: interrupted", file=sys.stderr)
        return 130
    return status


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parsed = argparse.ArgumentParser(prog="anomalyd", description="Anomaly detection beside your industrial sensors.")
    parsed.add_argument("--version", action="version", version=f"anomalyd {metadata.version('anomalyd')}")
    commands = parsed.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="score what comes over MQTT, until stopped")
    run.add_argument("--config", required=True, metavar="FILE", help="anomalyd.toml")
    run.set_defaults(command=_run)

    check = commands.add_parser("check", help="say everything that is wrong with a configuration; 0 or 2")
    check.add_argument("--config", metavar="FILE", help="anomalyd.toml")
    check.add_argument("--connect", action="store_true", help="also connect and subscribe to the broker")
    check.add_argument("--json", action="store_true", help="problems as JSON: [{file, key, got, expected}]")
    check.add_argument("--schema", action="store_true", help="print the JSON Schema of anomalyd.toml and end")
    check.set_defaults(command=_check)

    replay = commands.add_parser(
        "replay",
        help="score history files as the daemon would have, or publish them as a sensor would",
        description="Score history files (CSV, CSV.gz, Parquet) as the daemon would have, or, with --publish, feed one "
        "to a broker as a sensor would.",
    )
    replay.add_argument("files", nargs="+", metavar="FILE", help="a timestamp column and numeric columns")
    replay.add_argument("--config", metavar="FILE", help="take the settings of a stream in this anomalyd.toml")
    replay.add_argument("--stream", metavar="NAME", help="the stream of --config (default: its only one)")
    replay.add_argument("--model", metavar="MODEL", help="an .onnx file or a shipped model, instead of --config")
    replay.add_argument("--hop", type=_count, metavar="N", help="with --model: score every N samples")
    replay.add_argument("--interval-s", type=_positive, metavar="X", help="with --model: seconds between samples")
    replay.add_argument("--sensor", metavar="NAME", help="the sensor's name (default: the file's)")
    replay.add_argument("--time", metavar="COLUMN", help="the column of time stamps (default: found by its name)")
    replay.add_argument("--columns", metavar="A,B", help="use only these columns")
    replay.add_argument("--out", metavar="CSV", help="where the scores go (default: standard output)")
    replay.add_argument("--json", metavar="FILE", help="write a summary")
    feed = replay.add_argument_group("publishing")
    feed.add_argument("--publish", metavar="URL", help="mqtt://host:port: publish the rows instead of scoring them")
    feed.add_argument("--topic", metavar="T", help="the topic to publish to")
    feed.add_argument("--speed", type=_positive, metavar="X", help="so many times as fast as recorded")
    feed.add_argument("--rate", type=_positive, metavar="R", help="R rows per second, instead of --speed")
    feed.add_argument("--qos", type=int, choices=(0, 1, 2), help="default: 1")
    replay.set_defaults(command=_replay)

    models = commands.add_parser("models", help="the cards of the shipped models, or of the files given")
    models.add_argument("files", nargs="*", metavar="MODEL")
    models.add_argument("--json", action="store_true")
    models.set_defaults(command=_models)

    demo = commands.add_parser("demo", help="a broker, a simulated plant with faults, and the daemon, in a terminal")
    demo.add_argument("--seconds", type=_positive, metavar="N", help="end after N seconds, with a summary")
    demo.add_argument("--seed", type=int, help="which plant and faults (default: from the clock)")
    demo.add_argument("--json", metavar="FILE", help="write the summary")
    demo.set_defaults(command=_demo)
    return parsed


def _positive(text: str) -> float:
    value = _number(text)
    if not 1e-6 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number from 1e-6 to 1e9")
    return value


def _count(text: str) -> int:
    value = _number(text)
    if not 1 <= value <= 2**24 or value != int(value):
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number >= 1")
    return int(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _run(arguments: argparse.Namespace) -> int:
    from daemon import configfile
    from daemon.service import Service

    return Service(configfile.load(arguments.config), arguments.config).run()


def _check(arguments: argparse.Namespace) -> int:
    from daemon import check, config

    if arguments.schema:
        print(json.dumps(config.schema(), indent=2))
        return 0
    if not arguments.config:
        raise ConfigError.one("--config", "nothing", "the anomalyd.toml to check")
    report = check.check(arguments.config, connect=arguments.connect)
    if arguments.json:
        print(json.dumps(report.as_json()))
    else:
        print(report.as_text())
    return 2 if report.problems else 0


def _replay(arguments: argparse.Namespace) -> int:
    if arguments.publish:
        from daemon.feed import feed

        return feed(arguments)
    from daemon.replay import score

    return score(arguments)


def _models(arguments: argparse.Namespace) -> int:
    from msgspec import to_builtins

    from daemon import shipped
    from daemon.core.model import card_of

    files = [shipped.resolve(name) for name in arguments.files or shipped.names()]
    cards = [(file, to_builtins(card_of(file))) for file in files]
    if arguments.json:
        print(json.dumps([{"file": str(file)} | card for file, card in cards], indent=2))
        return 0
    for file, card in cards:
        values = sum(map(len, card["calibration"]["segments"]))
        card["calibration"] = f"{values} scores, noise floor {card['calibration']['noise_floor']:g}"
        card["inputs"] = [
            f"{name} {one['edges'][0]:g} to {one['edges'][-1]:g}"
            for name, one in zip(card["channels"], card["inputs"], strict=False)
        ]
        print(f"{card['name']} {card['version']}   {file}")
        for key, value in card.items():
            if key not in ("name", "version", "contract") and value not in (None, "", [], {}):
                _print_fact(key, value, 2)
        print()
    return 0


def _print_fact(key: str, value: object, indent: int) -> None:
    if isinstance(value, dict):
        print(f"{' ' * indent}{key}:")
        for inner, fact in value.items():
            _print_fact(inner, fact, indent + 2)
    else:
        text = (
            ", ".join(map(str, value))
            if isinstance(value, list)
            else f"{value:g}"
            if isinstance(value, float)
            else value
        )
        print(f"{' ' * indent}{key:<{max(1, 24 - indent)}} {text}")


def _demo(arguments: argparse.Namespace) -> int:
    from daemon.demo.show import show

    return show(
        seconds=arguments.seconds, seed=arguments.seed, summary=Path(arguments.json) if arguments.json else None
    )


if __name__ == "__main__":
    sys.exit(main())
