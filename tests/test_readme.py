"""What README.md and docs/ tell can be done as told: their configurations parse, commands, keys and metrics exist."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from daemon import cli, config, configfile
from daemon.errors import DROP_REASONS, REJECT_REASONS
from daemon.watch.catalogue import CATALOGUE
from training import cli as training_cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()

SECTIONS = {
    "[mqtt]": [config.Mqtt], "[http]": [config.Http], "[inference]": [config.Inference], "[limits]": [config.Limits],
    "[publish]": [config.Publish], "[[stream]]": [config.Stream], "payload": [config.JsonPayload, config.BinaryPayload],
    "gap": [config.Gap], "[stream.alarm]": [config.AlarmSettings],
}  # fmt: skip


def blocks(kind: str) -> list:
    """Return every code block of that kind, named by its page and number."""
    found = []
    for page in PAGES:
        for number, text in enumerate(re.findall(rf"```{kind}\n(.*?)```", page.read_text(), re.DOTALL), start=1):
            found.append(pytest.param(text, id=f"{page.name}-{number}"))
    return found


def commands(program: str) -> list:
    """Return every command of that program in the shell blocks, as its words."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(re.split(r"[>|]", line)[0], comments=True)
                if words and Path(words[0]).name == program and words[1:] != ["--help"]:
                    found.append(pytest.param(words[1:], id=f"{page.name}: {' '.join(words[1:])}"))
    return found


def table(heading: str) -> dict[str, str]:
    """Return {key: default} of all tables below a heading of configuration.md, up to the next heading."""
    body = CONFIGURATION.split(heading, 1)[1].split("\n#", 1)[0]
    found = {}
    for cells in re.findall(r"^\| (`.*?) \| (.*?) \|", body, re.MULTILINE):
        for key in re.findall(r"`(\w+)`", cells[0]):
            found[key] = cells[1].strip()
    return found


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_configuration_shown_is_one(text, tmp_path):
    raw = tomllib.loads(text)
    raw.setdefault("stream", [{"name": "x", "topics": ["x/+"], "model": "any-sensor-64"}])  # a part is shown
    for key, value in raw.get("mqtt", {}).items():
        if key.endswith("_file"):
            file = tmp_path / Path(value).name
            file.write_text("")
            raw["mqtt"][key] = str(file)
    if any(key in raw.get("mqtt", {}) for key in ("ca_file", "cert_file")):
        raw["mqtt"].setdefault("url", "mqtts://x")
    assert configfile.settle(raw, tmp_path / "anomalyd.toml").stream


def test_the_readmes_configuration_is_whole():
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert configfile.parse(text).stream[0].alarm.budget_per_day == 1


@pytest.mark.parametrize("words", commands("anomalyd"))
def test_every_command_shown_is_understood(words):
    arguments = cli.parser().parse_args(words)
    assert callable(arguments.command)


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("## `[mqtt]`", "[mqtt]"),
        ("## `[http]`", "[http]"),
        ("## `[inference]`", "[inference]"),
        ("## `[limits]`", "[limits]"),
        ("## `[publish]`", "[publish]"),
        ("## `[[stream]]`", "[[stream]]"),
        ("### Payload formats", "payload"),
        ("### Time and gaps", "gap"),
        ("### `[stream.alarm]`", "[stream.alarm]"),
    ],
)
def test_every_key_is_documented_with_its_default_and_no_other(heading, section):
    owners = SECTIONS[section]
    told = table(heading)
    fields = {key: field for owner in owners for key, field in owner.model_fields.items() if key != "format"}
    assert told.keys() == fields.keys()
    if section == "payload":
        told = {key: told[key] for key in ("dtype", "scale", "offset")}  # the JSON table has no defaults
    for key, default in told.items():
        value = re.fullmatch(r"`(.*)`", default)
        if value is not None and key != "budget_per_point":
            said = tomllib.loads(f"x = {value[1]}")["x"]
            field = fields[key]
            actual = field.get_default(call_default_factory=True)
            assert (actual.model_dump() if hasattr(actual, "model_dump") else actual) == said, key


def test_the_default_budget_told_is_the_one_used():
    from daemon.core.pipeline import DEFAULT_BUDGET_PER_POINT

    assert float(table("### `[stream.alarm]`")["budget_per_point"].strip("`")) == DEFAULT_BUDGET_PER_POINT


def test_every_payload_format_has_an_example():
    shown = [parameter.values[0] for parameter in blocks("toml")]
    payloads = [entry.get("payload", {}) for text in shown for entry in tomllib.loads(text).get("stream", [])]
    assert {payload.get("format") for payload in payloads} >= {"number", "json", "binary"}
    used = {key for payload in payloads for key in payload}
    assert used == {*config.JsonPayload.model_fields, *config.BinaryPayload.model_fields}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_metric_named_exists(page):
    known = set(CATALOGUE)
    known |= {f"{name}_{end}" for name, fact in CATALOGUE.items() if fact.kind == "histogram"
              for end in ("bucket", "sum", "count")}  # fmt: skip
    for name in re.findall(r"anomalyd_(\w+)", page.read_text()):
        assert name in known, name


def test_the_reasons_named_are_those_that_are_counted():
    told = set(re.findall(r"\(`([a-z]+(?:-[a-z]+)*)`", CONFIGURATION)) | {"off-grid"}
    assert told & {*REJECT_REASONS, *DROP_REASONS} >= {
        "late", "future", "duplicate", "retained", "too-large", "too-many-rows", "sensor-limit"
    }  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_project_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        assert other.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, (target, slugs)


@pytest.mark.parametrize("words", commands("anomalyd-train"))
def test_every_training_command_shown_is_understood(words):
    assert callable(training_cli.parser().parse_args(words).run)


def test_the_comparison_the_readme_shows_is_the_one_that_was_measured():
    told = re.findall(r"^\| \d+ \| [\w-]+ \| \d .*", (ROOT / "README.md").read_text(), re.MULTILINE)
    measured = (ROOT / "docs" / "compare.md").read_text()
    assert len(told) >= 9
    assert [row for row in told if row not in measured] == []
    (shown,) = re.findall(r"```sh\n(anomalyd-train compare .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown in measured


def test_every_option_of_the_commands_has_a_help_text():
    root = cli.parser()
    (choices,) = [action for action in root._actions if isinstance(action, argparse._SubParsersAction)]
    for name, command in choices.choices.items():
        for action in command._actions:
            if action.option_strings:
                assert action.help or name == "models", (name, action.option_strings)
