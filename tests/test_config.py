"""anomalyd.toml: what is right is read, what is wrong is said all at once: file, key, what came, what was expected."""

from __future__ import annotations

import datetime
import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon import config, configfile
from daemon.errors import ConfigError

STREAM = '[[stream]]\nname = "s"\ntopics = ["plant/+"]\nmodel = "any-sensor-64"\n'

#: Every section and key there is, once.
WHOLE = """
[mqtt]
url = "mqtts://broker.plant:8883"
version = "5"
client_id = "anomalyd-line1"
qos = 1
username = "line1"
password_file = "password"
ca_file = "ca.crt"
cert_file = "client.crt"
key_file = "client.key"
keepalive_s = 60
session_expiry_s = 86400
reconnect_max_s = 30
coalesce_ms = 5
[http]
listen = "127.0.0.1:9464"
[inference]
gpu = "prefer"
threads = 2
max_batch_s = 0.25
tensorrt = true
tensorrt_cache = "engines"
cuda_graphs = false
[limits]
max_sensors = 10000
max_payload_bytes = 262144
max_rows = 65536
inbox_messages = 100000
inbox_bytes = 67108864
outbox_messages = 20000
forget_after_s = 604800
future_s = 300
[publish]
prefix = "anomaly"
scores = "all"

[[stream]]
name = "vibration"
topics = ["plant/+/line1/+/vibration"]
sensor = "{2}/{4}"
payload = { format = "json", value = "v", time = "ts", time_unit = "ms" }
model = "models/vibration.onnx"
interval_s = 1
hop = 16
stale_after_s = 60
gap = { fill = "hold", limit_s = 5 }
[stream.alarm]
budget_per_day = 1
cool_down_s = 60
stale = true

[[stream]]
name = "blocks"
topics = ["$share/anomalyd/blocks/#"]
payload = { format = "json", values = "a.b.0", t0 = "t", dt = "d", time_unit = "ns" }
model = "any-sensor-64"
[stream.alarm]
budget_per_point = 1e-4

[[stream]]
name = "raw"
topics = ["raw/+", "more/#"]
payload = { format = "binary", dtype = "int16", scale = 0.1, offset = -5 }
model = "any-sensor-64"

[[stream]]
name = "channels"
topics = ["channels/+"]
payload = { format = "json", channels = ["x", "y"] }
model = "any-sensor-64"

[[stream]]
name = "plain"
topics = ["plain"]
payload = { format = "number" }
model = "any-sensor-64"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("password", "ca.crt", "client.crt", "client.key"):
        (tmp_path / name).write_text("x")
    return tmp_path


def problems(text: str, file: str | Path = "/nowhere/anomalyd.toml") -> dict[str, tuple[str, str]]:
    """Return {key: (got, expected)}; every problem must name the file."""
    with pytest.raises(ConfigError) as caught:
        configfile.parse(text, file)
    assert {problem.file for problem in caught.value.problems} == {str(file)}
    found = {problem.key: (problem.got, problem.expected) for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems), caught.value
    return found


def only(text: str) -> tuple[str, str, str]:
    """Return the single problem: (key, got, expected)."""
    ((key, (got, expected)),) = problems(text).items()
    return key, got, expected


def test_every_key_is_read_and_paths_are_taken_from_the_files_folder(folder):
    settings = configfile.parse(WHOLE, folder / "anomalyd.toml")
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.tls) == ("broker.plant", 8883, True)
    assert settings.mqtt.ca_file == folder / "ca.crt"
    assert settings.inference.tensorrt_cache == folder / "engines"
    assert settings.stream[0].model == str(folder / "models/vibration.onnx")
    assert settings.stream[1].model == "any-sensor-64"
    assert [stream.timed for stream in settings.stream] == [True, True, False, False, False]


def test_the_whole_file_above_names_every_key_there_is():
    raw = tomllib.loads(WHOLE)
    streams = raw.pop("stream")
    said = {(section, key) for section, table in raw.items() for key in table}
    for entry in streams:
        said |= {("stream", key) for key in entry}
        said |= {(inner, key) for inner in ("payload", "gap", "alarm") for key in entry.get(inner, {})}
    classes = {"mqtt": [config.Mqtt], "http": [config.Http], "inference": [config.Inference],
               "limits": [config.Limits], "publish": [config.Publish], "stream": [config.Stream],
               "payload": [config.NumberPayload, config.JsonPayload, config.BinaryPayload], "gap": [config.Gap],
               "alarm": [config.AlarmSettings]}  # fmt: skip
    assert said == {(name, key) for name, owners in classes.items() for owner in owners for key in owner.model_fields}


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    file = tmp_path / "anomalyd.toml"
    file.write_bytes(b"\xef\xbb\xbf" + STREAM.encode())
    assert configfile.load(file).stream[0].name == "s"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda file: None, "nothing there"),
        (lambda file: file.mkdir(), "directory"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "utf-8"),
        (lambda file: file.write_text("[mqtt]\nurl = x\n"), "line 2"),
        (lambda file: file.write_text("a = " + "[" * 5000), "nested"),
        (lambda file: file.write_text("a = " + "9" * 5000), "digits"),
        (lambda file: file.write_text(""), "nothing"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem_that_names_it(tmp_path, make, says):
    file = tmp_path / "anomalyd.toml"
    make(file)
    with pytest.raises(ConfigError) as caught:
        configfile.load(file)
    assert says in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key", "got", "expected"),
    [
        ('[mqtt]\nurl = "http://x"', "mqtt.url", "'http://x'", "mqtt://host:port"),
        ('[mqtt]\nurl = "mqtt://x:99999"', "mqtt.url", "'mqtt://x:99999'", "mqtt://host:port"),
        ('[mqtt]\nurl = "mqtt://x/topic"', "mqtt.url", "topic", "nothing behind host:port"),
        ("[mqtt]\nkeepalive_s = 4", "mqtt.keepalive_s", "4", "greater than or equal to 5"),
        ('[mqtt]\nkeepalive_s = "60"', "mqtt.keepalive_s", "'60'", "integer"),
        ("[mqtt]\nqos = 3", "mqtt.qos", "3", "0, 1 or 2"),
        ('[mqtt]\nversion = "3"', "mqtt.version", "'3'", "'3.1.1' or '5'"),
        ('[mqtt]\npassword_file = "/no/such"', "mqtt.password_file", "/no/such", "readable"),
        ('[mqtt]\npassword_file = "/"', "mqtt.password_file", "'/'", "readable"),
        ('[mqtt]\npassword_file = "a\\u0000b"', "mqtt.password_file", "x00", "readable"),
        ('[mqtt]\nca_file = "/etc/hostname"', "mqtt", "ca_file", "mqtts://"),
        ('[mqtt]\nurl = "mqtts://x"\ncert_file = "/etc/hostname"', "mqtt", "cert_file", "key_file together"),
        ('[mqtt]\nclient_id = ""', "mqtt.client_id", "''", "at least 1"),
        ('[http]\nlisten = "9464"', "http.listen", "'9464'", "pattern"),
        ('[http]\nlisten = "127.0.0.1:70000"', "http.listen", "70000", "65535"),
        ('[inference]\ngpu = "yes"', "inference.gpu", "'yes'", "'require', 'prefer' or 'off'"),
        ('[inference]\ngpu = "off"\ntensorrt = true', "inference", "tensorrt", "gpu = 'prefer' or 'require' where"),
        ("[inference]\ntensorrt = true\ncuda_graphs = true", "inference", "cuda_graphs", "not both"),
        ('[inference]\ntensorrt_cache = "engines"', "inference", "engines", "only with tensorrt = true"),
        ("[limits]\nmax_sensors = 0", "limits.max_sensors", "0", "greater than or equal to 1"),
        ("[limits]\nmax_sensors = 1.5", "limits.max_sensors", "1.5", "integer"),
        ("[limits]\nfuture_s = nan", "limits.future_s", "nan", "less than or equal"),
        ("[limits]\nfuture_s = inf", "limits.future_s", "inf", "less than or equal"),
        ('[publish]\nprefix = "a/+"', "publish.prefix", "'a/+'", "pattern"),
        ('[publish]\nprefix = "a/"', "publish.prefix", "'a/'", "no slash at the end"),
        ("mqtt = 3", "mqtt", "3", "a table"),
    ],
)
def test_each_wrong_value_names_its_key_what_came_and_what_was_expected(text, key, got, expected):
    found = only(f"{text}\n{STREAM}")
    assert found[0] == key
    assert got in found[1]
    assert expected in found[2]


@pytest.mark.parametrize(
    ("text", "key", "got", "expected"),
    [
        ("hop = 0", "hop", "0", "greater than or equal to 1"),
        ("hop = true", "hop", "True", "integer"),
        ("interval_s = 0", "interval_s", "0", "greater than or equal to 0.000001"),
        ("interval_s = inf", "interval_s", "inf", "less than or equal"),
        ('sensor = "x"', "sensor", "'x'", "topic levels from 1"),
        ('sensor = "{0}"', "sensor", "{0}", "from 1"),
        ('sensor = "{1}/{name}"', "sensor", "{name}", "{topic}"),
        ('payload = { format = "xml" }', "payload.format", "'xml'", "'number', 'json' or 'binary'"),
        ('payload = { value = "v" }', "payload.format", "nothing", "'number', 'json' or 'binary'"),
        ("payload = 3", "payload", "3", "a table"),
        ('payload = { format = "json" }', "payload", "json", "exactly one of value, values, channels"),
        ('payload = { format = "json", value = "v", values = "w" }', "payload", "'w'", "exactly one of"),
        ('payload = { format = "json", values = "v", t0 = "t" }', "payload", "'t'", "t0 and dt together"),
        ('payload = { format = "json", value = "v", t0 = "t", dt = "d" }', "payload", "'d'", "only with values"),
        ('payload = { format = "json", value = "v", time_unit = "ms" }', "payload", "'ms'", "with time or t0"),
        ('payload = { format = "json", value = "v", time = "v.t" }', "payload", "'v.t'", "apart"),
        ('payload = { format = "json", channels = ["a", "b", "a"] }', "payload", "'a'", "apart"),
        ('payload = { format = "json", channels = [] }', "payload.channels", "[]", "at least 1"),
        ('payload = { format = "binary", dtype = "int8" }', "payload.dtype", "'int8'", "'float64' or 'int16'"),
        ('payload = { format = "binary", scale = 0 }', "payload.scale", "0", "other than 0"),
        ('payload = { format = "binary", scale = inf }', "payload.scale", "inf", "finite"),
        ("gap = { limit_s = 5 }", "", "name", "interval_s and a payload with time"),
        ("gap = { limit_s = -1 }", "gap.limit_s", "-1", "greater than or equal to 0"),
        ('gap = { fill = "mean" }', "gap.fill", "'mean'", "'hold' or 'linear'"),
        ("alarm = { budget_per_day = 1, budget_per_point = 1e-4 }", "alarm", "budget", "not both"),
        ("alarm = { budget_per_day = inf }", "alarm.budget_per_day", "inf", "less than or equal"),
        ("alarm = { budget_per_point = 0 }", "alarm.budget_per_point", "0", "greater than 0"),
        ("alarm = { cool_down_s = inf }", "alarm.cool_down_s", "inf", "less than or equal"),
    ],
)  # fmt: skip
def test_each_wrong_value_of_a_stream_names_the_stream(text, key, got, expected):
    found = only(STREAM + text)
    assert found[0] == f"stream.s.{key}".rstrip(".")
    assert got in found[1]
    assert expected in found[2]


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[mqtt]\nclientid = 'x'\n" + STREAM, "mqtt.clientid", "'client_id'?"),
        ("[http]\nport = 1\n" + STREAM, "http.port", "one of listen"),
        ("[limits]\nmax_sensor = 1\n" + STREAM, "limits.max_sensor", "'max_sensors'?"),
        ("[publish]\nprefixes = 1\n" + STREAM, "publish.prefixes", "'prefix'?"),
        ("[inference]\ngpus = 1\n" + STREAM, "inference.gpus", "'gpu'?"),
        ("[broker]\nurl = 'x'\n" + STREAM, "broker", "mqtt"),
        ("[json]\nurl = 'x'\n" + STREAM, "json", "mqtt"),
        (STREAM + "interval = 1", "stream.s.interval", "'interval_s'?"),
        (STREAM + "payload = { format = 'number', scale = 2 }", "stream.s.payload.scale", "one of format"),
        (STREAM + "payload = { format = 'json', value = 'v', tim = 's' }", "stream.s.payload.tim", "'time'?"),
        (STREAM + "payload = { format = 'binary', type = 'int16' }", "stream.s.payload.type", "'dtype'?"),
        (STREAM + "gap = { limit = 3 }", "stream.s.gap.limit", "'limit_s'?"),
        (STREAM + "alarm = { budget = 3 }", "stream.s.alarm.budget", "budget_per_"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(text, key, hint):
    assert only(text)[0] == key
    assert hint in only(text)[2]


def test_all_that_is_wrong_is_said_at_once():
    text = '[mqtt]\nqos = 9\nurll = ""\n' + STREAM + "hop = 0\n[[stream]]\ntopics = ['a#']\nmodel = ''"
    assert set(problems(text)) == {
        "mqtt.qos", "mqtt.urll", "stream.s.hop", "stream.1.name", "stream.1.topics", "stream.1.model"
    }  # fmt: skip


def test_streams_of_one_name_are_refused():
    assert only(STREAM + STREAM.replace("plant", "other"))[:2] == ("stream.s.name", "s 2 times")


@pytest.mark.parametrize(
    "topic",
    ["#", "+/#", "anomaly/#", "anomaly/score/s/+", "+/score/#", "anomaly/+/s/x/y", "$share/g/anomaly/#",
     "+/status/anomalyd", "+/+/+", "anomaly/status/+"],
)  # fmt: skip
def test_a_filter_that_matches_our_own_output_is_refused(topic):
    key, got, expected = only(STREAM.replace("plant/+", topic))
    assert (key, got) == ("stream.s.topics", repr(topic))
    assert "publish.prefix" in expected


@pytest.mark.parametrize("topic", ["+", "+/temperature", "plant/#", "+/+/line1", "+/+/line1/temperature", "$SYS/#"])
def test_a_filter_that_cannot_match_our_own_output_is_accepted(topic):
    assert configfile.parse(STREAM.replace("plant/+", topic)).stream[0].topics == [topic]


def test_a_password_in_the_url_is_refused_and_not_repeated():
    key, got, expected = only('[mqtt]\nurl = "mqtt://me:hunter2@host"\n' + STREAM)
    assert key == "mqtt.url"
    assert "hunter2" not in got + expected
    assert "password_file" in expected


def test_environment_variables_are_filled_in(monkeypatch):
    monkeypatch.setenv("BROKER", "10.0.0.7")
    monkeypatch.setenv("LINE", "line3")
    text = '[mqtt]\nurl = "mqtt://${BROKER}:1884"\n' + STREAM.replace("plant/+", "plant/${LINE}/+")
    settings = configfile.parse(text)
    assert settings.mqtt.url == "mqtt://10.0.0.7:1884"
    assert settings.stream[0].topics == ["plant/line3/+"]


def test_an_unset_variable_is_one_problem_at_its_key(monkeypatch):
    monkeypatch.delenv("BROKER", raising=False)
    monkeypatch.delenv("TOPIC", raising=False)
    found = problems('[mqtt]\nurl = "${BROKER}"\n' + STREAM.replace("plant/+", "${TOPIC}/+"))
    assert found == {
        "mqtt.url": ("${BROKER}", "the environment variable BROKER to be set"),
        "stream.s.topics.0": ("${TOPIC}", "the environment variable TOPIC to be set"),
    }


def test_a_stream_is_found_by_its_name_and_the_only_one_without():
    one = configfile.parse(STREAM)
    two = configfile.parse(STREAM + STREAM.replace('"s"', '"t"'))
    assert configfile.stream_named(one, None).name == "s"
    assert configfile.stream_named(two, "t").name == "t"
    for name in (None, "u"):
        with pytest.raises(ConfigError, match="one of s, t"):
            configfile.stream_named(two, name)


SCALARS = st.one_of(
    st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=8),
    st.sampled_from(["json", "number", "binary", "v", "{1}", "#", "mqtt://h", "a\x00", "${HOME}", "${NOT_SET_AT_ALL}"]),
    st.just(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)), st.just(datetime.time(1)),
)  # fmt: skip
KEYS = sorted(
    {key for owner in vars(config).values() if hasattr(owner, "model_fields") for key in owner.model_fields}
    | {"json", "number", "binary", "x", "0"}
)
ANY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)
PAYLOADS = st.fixed_dictionaries(
    {"format": st.sampled_from(["json", "number", "binary", "xml"])},
    optional={key: SCALARS | st.just("p") for key in ("value", "values", "time", "t0", "dt", "time_unit", "scale")},
)
STREAMS = st.fixed_dictionaries(
    {"name": st.sampled_from(["s", "t", ""]), "topics": st.lists(SCALARS, max_size=2) | st.just(["a/#"]),
     "model": st.just("any-sensor-64") | SCALARS},
    optional={"payload": PAYLOADS | ANY, "hop": SCALARS, "gap": ANY, "alarm": ANY, "sensor": SCALARS, "other": ANY},
)  # fmt: skip
RAW = st.dictionaries(st.sampled_from(KEYS), ANY, max_size=4) | st.fixed_dictionaries(
    {"stream": st.lists(STREAMS, min_size=1, max_size=3)}, optional={"mqtt": ANY, "limits": ANY, "publish": ANY}
)


@given(raw=RAW)
@example(raw={"json": 1})
@example(raw={"stream": [{"payload": {"format": "json", "json": 1}}]})
@example(raw={"stream": [{"payload": {"format": ["json"]}}]})
@example(raw={"stream": {"0": 1}})
@example(raw={"mqtt": {"keepalive_s": 1 << 40000}})
def test_any_tables_give_settings_or_problems_and_nothing_else(raw):
    try:
        settings = configfile.settle(raw)
    except ConfigError as error:
        found = error.problems
    else:
        found = []
        assert settings.stream
    for problem in found:
        assert problem.key
        assert problem.got
        assert problem.expected
        assert len(problem.got) <= 200


@given(text=st.text(max_size=80))
def test_any_text_gives_settings_or_problems_and_nothing_else(text):
    with pytest.raises(ConfigError):
        configfile.parse(text)


def fits(value: object, schema: dict, root: dict) -> list[str]:
    """Return what breaks the schema: the part of JSON Schema that ours uses, spelled out."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            answers = [fits(value, choice, root) for choice in schema[word]]
            good = sum(not answer for answer in answers)
            return [] if good and (word == "anyOf" or good == 1) else [f"{value!r} fits {good} of {word}: {answers}"]
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "null": type(None),
             "number": (int, float)}  # fmt: skip
    wrong = []
    if "type" in schema:
        fine = isinstance(value, kinds[schema["type"]]) and isinstance(value, bool) == (schema["type"] == "boolean")
        if not fine:
            return [f"{value!r} is no {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        wrong.append(f"{value!r} not in {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        wrong.append(f"{value!r} is not {schema['const']!r}")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        wrong += [f"{key} is missing" for key in schema.get("required", []) if key not in value]
        for key, inner in value.items():
            if key in properties:
                wrong += [f"{key}: {text}" for text in fits(inner, properties[key], root)]
            elif schema.get("additionalProperties") is False:
                wrong.append(f"{key} is unknown")
    if isinstance(value, list):
        wrong += [text for inner in value for text in fits(inner, schema.get("items", {}), root)]
        if len(value) < schema.get("minItems", 0):
            wrong.append(f"{value!r} is too short")
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        wrong.append(f"{value!r} does not match {schema['pattern']}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            wrong.append(f"{value!r} is out of range")
        if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
            wrong.append(f"{value!r} is not above {schema['exclusiveMinimum']}")
    return wrong


def test_the_schema_accepts_the_whole_file_and_refuses_what_we_refuse():
    schema = json.loads(json.dumps(config.schema()))
    assert fits(tomllib.loads(WHOLE), schema, schema) == []
    for wrong in (
        "", STREAM + "hop = 0", STREAM + "hopp = 1", STREAM + "payload = { format = 'xml' }",
        STREAM + "payload = { format = 'number', value = 'v' }", "[mqtt]\nqos = 7\n" + STREAM,
        "[limits]\nfuture_s = 0\n" + STREAM, STREAM.replace('"s"', '"-s"'), STREAM.replace('["plant/+"]', "[]"),
    ):  # fmt: skip
        assert fits(tomllib.loads(wrong), schema, schema), wrong
        problems(wrong)


def test_the_schema_describes_every_key():
    schema = config.schema()
    for name, table in {"": schema, **schema["$defs"]}.items():
        for key, entry in table["properties"].items():
            told = entry.get("description") or "$ref" in entry or "const" in entry or key == "stream"
            assert told, f"{name}.{key} has no description"
