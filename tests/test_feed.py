"""`anomalyd replay --publish`: every row arrives once, in order, said so that the daemon reads the same numbers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon import cli
from daemon.config import BinaryPayload, JsonPayload, NumberPayload
from daemon.errors import ConfigError
from daemon.wire.payload import decoder
from daemon.wire.payload.encoding import encoder
from tests import models
from tests.brokers import PASSWORD, USER, Mosquitto, Peer, free_port


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Mosquitto(tmp_path_factory.mktemp("broker")) as mosquitto:
        yield mosquitto


@pytest.fixture
def history(tmp_path):
    """1,000 rows, ten a second, of one sensor."""
    file = tmp_path / "pump.csv"
    file.write_text("timestamp,v\n" + "".join(f"{1e9 + i / 10!r},{i}\n" for i in range(1000)))
    return file


def publish(port: int, topic: str, *words: object) -> int:
    return cli.main(["replay", "--publish", f"mqtt://127.0.0.1:{port}", "--topic", topic, *map(str, words)])


def heard(peer: Peer, n: int) -> list[dict]:
    return [json.loads(peer.hear().payload) for _ in range(n)]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_row_arrives_once_and_in_order_at_2000_a_second(broker, history, capsys, qos):
    topic = f"rate/{qos}"
    with Peer(broker, topic, "end") as peer:
        start = time.monotonic()
        assert publish(broker.port, topic, "--rate", 2000, "--qos", qos, history) == 0
        took = time.monotonic() - start
        assert [row["v"] for row in heard(peer, 1000)] == list(range(1000))
        peer.publish("end", "")
        assert peer.hear().topic == "end"
    assert took >= 0.499
    assert f"1000 of 1000 rows published to {topic}" in capsys.readouterr().err


def test_speed_keeps_the_recorded_rhythm(broker, history):
    with Peer(broker, "speed") as peer:
        start = time.monotonic()
        assert publish(broker.port, "speed", "--speed", 200, history) == 0
        took = time.monotonic() - start
        assert heard(peer, 1000) == [{"timestamp": 1e9 + i / 10, "v": i} for i in range(1000)]
    assert took >= 0.4995  # 99.9 s at 200 times


def test_as_fast_as_it_can_the_feeder_waits_for_the_broker_and_loses_nothing(broker, tmp_path):
    file = tmp_path / "many.csv"
    file.write_text("timestamp,v\n" + "".join(f"{i},{i}\n" for i in range(20000)))
    for qos in (0, 1):
        with Peer(broker, f"fast/{qos}") as peer:
            assert publish(broker.port, f"fast/{qos}", "--rate", 1e9, "--qos", qos, file) == 0
            assert [row["v"] for row in heard(peer, 20000)] == list(range(20000))


def test_it_speaks_as_the_stream_of_a_configuration_decodes(broker, tmp_path, history):
    models.mean_abs(tmp_path, name="one.onnx")
    (tmp_path / "anomalyd.toml").write_text(
        '[[stream]]\nname = "s"\ntopics = ["a"]\nmodel = "one.onnx"\n'
        'payload = { format = "json", value = "a.v", time = "a.t", time_unit = "ms" }\n'
    )
    with Peer(broker, "told") as peer:
        words = ["--config", tmp_path / "anomalyd.toml", "--rate", 1e6, history]
        assert publish(broker.port, "told", *words) == 0
        assert heard(peer, 2) == [{"a": {"v": 0, "t": 10**12}}, {"a": {"v": 1, "t": 10**12 + 100}}]


def test_credentials_come_from_the_configuration(tmp_path, history):
    models.mean_abs(tmp_path, name="one.onnx")
    (tmp_path / "secret").write_text(PASSWORD)
    (tmp_path / "anomalyd.toml").write_text(
        f'[mqtt]\nusername = "{USER}"\npassword_file = "secret"\n'
        '[[stream]]\nname = "s"\ntopics = ["a"]\nmodel = "one.onnx"\n'
    )
    with Mosquitto(tmp_path, password=True) as broker, Peer(broker, "a") as peer:
        words = ["--config", tmp_path / "anomalyd.toml", "--rate", 1e6, history]
        assert publish(broker.port, "a", *words) == 0
        assert peer.hear().payload == b"0.0"


def test_without_credentials_the_refusal_is_a_clear_error(tmp_path, history, capsys):
    with Mosquitto(tmp_path, password=True) as broker:
        assert publish(broker.port, "a", history) == 2
    assert "without mqtt.username" in capsys.readouterr().err


def test_an_absent_broker_is_a_clear_error_at_once(history, capsys):
    port, start = free_port(), time.monotonic()
    assert publish(port, "a", history) == 2
    assert f"cannot reach mqtt://127.0.0.1:{port}" in capsys.readouterr().err
    assert time.monotonic() - start < 5


def test_it_says_no_status_and_leaves_no_will(broker, history):
    with Peer(broker, "#") as peer:
        assert publish(broker.port, "only", "--rate", 1e6, history) == 0
        peer.publish("end", "")
        topics = [peer.hear().topic]
        while topics[-1] != "end":
            topics.append(peer.hear().topic)
    assert set(topics) == {"only", "end"}


def test_interrupted_it_ends_with_130_and_says_how_far_it_came(broker, history):
    words = ["--publish", f"mqtt://127.0.0.1:{broker.port}", "--topic", "slow", "--rate", "20", str(history)]
    with (
        Peer(broker, "slow") as peer,
        subprocess.Popen(
            [sys.executable, "-m", "daemon.cli", "replay", *words], stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        peer.hear()
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert "interrupted" in err
    assert "of 1000 rows published" in err
    assert "Traceback" not in err


def test_rows_the_broker_did_not_take_are_told_and_end_with_1(tmp_path, monkeypatch, history, capsys):
    monkeypatch.setattr("daemon.feed.STOP_S", 0.2)
    with Mosquitto(tmp_path) as broker, Peer(broker, "a") as peer:

        def die(self, *message, **how):
            """The broker dies under the last rows."""
            if json.loads(message[1])["v"] == 990:
                broker.kill()
            return real(self, *message, **how)

        from daemon.wire.mqtt import Broker

        real = Broker.publish
        monkeypatch.setattr(Broker, "publish", die)
        assert publish(broker.port, "a", "--rate", 5000, history) == 1
        assert peer.hear().topic == "a"
    assert "the broker did not take" in capsys.readouterr().err


# -- what is said reads back -------------------------------------------------------------------------------------------

STAMPS = st.floats(0, 4e9) | st.integers(0, 4 * 10**12).map(lambda ms: ms / 1000) | st.just(0.0)
VALUES = st.floats(width=32, allow_nan=False, allow_infinity=False)
UNITS = {"s": 0.0, None: 0.0, "ms": 0.0, "us": 0.0, "ns": 0.0, "iso": 0.5e-6}


def roundtrip(settings, columns, t, values):
    """Return (t, values) of a row that was encoded and decoded."""
    payload = encoder(settings, columns)(t, np.array(values, np.float32))
    rows = decoder(settings, len(values), 1).decode(payload)
    assert rows.count.tolist() == [1]
    return float(rows.t[0]), rows.values[0].tolist()


@given(t=STAMPS, values=st.lists(VALUES, min_size=1, max_size=3), unit=st.sampled_from(list(UNITS)), data=st.data())
@example(t=1700000000.123456, values=[0.5], unit="ns", data=None)
def test_json_reads_back_as_it_was_said(t, values, unit, data):
    names = ["a", "b.c", "b.d.0"][: len(values)]
    choices = [
        {"channels": names, "time": "t"},
        {"values": "v", "time": "t.x"},
        {"values": "v.0", "t0": "t", "dt": "d"},
    ]
    if len(values) == 1:
        choices.append({"value": "a.b", "time": "a.t"})
    keys = choices[0] if data is None else data.draw(st.sampled_from(choices))
    settings = JsonPayload(format="json", time_unit=unit, **keys)
    back_t, back = roundtrip(settings, names, t, values)
    assert back == values
    # whole units read back exactly; else the last digit of a float64 may move
    assert abs(back_t - t) <= UNITS[unit] + np.spacing(t)


@given(ms=st.integers(0, 4 * 10**12), unit=st.sampled_from(["s", "ms", "us", "ns", "iso"]))
def test_whole_milliseconds_read_back_exactly_in_every_unit(ms, unit):
    settings = JsonPayload(format="json", value="v", time="t", time_unit=unit)
    assert roundtrip(settings, ["v"], ms / 1000, [1.0])[0] == ms / 1000


@given(value=VALUES)
def test_a_number_reads_back_exactly(value):
    assert roundtrip(NumberPayload(format="number"), ["v"], 0.0, [value])[1] == [value]


@given(values=st.lists(st.integers(-32768, 32767), min_size=1, max_size=4))
def test_whole_numbers_read_back_exactly_from_an_int16(values):
    settings = BinaryPayload(format="binary", dtype="int16")
    assert roundtrip(settings, list("abcd")[: len(values)], 0.0, values)[1] == values


@given(
    values=st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=4),
    dtype=st.sampled_from(["int16", "float32", "float64"]),
)
def test_scaled_values_read_back_within_half_a_step(values, dtype):
    settings = BinaryPayload(format="binary", dtype=dtype, scale=0.05, offset=-7.5)
    back = roundtrip(settings, list("abcd")[: len(values)], 0.0, values)[1]
    assert np.abs(np.subtract(back, values)).max() <= (0.0251 if dtype == "int16" else 1e-3)


@pytest.mark.parametrize(("dtype", "scale"), [("int16", 1.0), ("float32", 1e-38)])
def test_a_value_that_the_block_cannot_hold_is_refused(dtype, scale):
    encode = encoder(BinaryPayload(format="binary", dtype=dtype, scale=scale), ["v"])
    with pytest.raises(ConfigError, match="can hold"):
        encode(0.0, np.array([1e6], np.float32))


def test_columns_go_to_the_channels_of_their_names():
    settings = JsonPayload(format="json", channels=["flow", "temp"], time="t")
    payload = encoder(settings, ["temp", "other", "flow"])(5.0, np.array([1, 2, 3], np.float32))
    assert json.loads(payload) == {"flow": 3, "temp": 1, "t": 5}


def test_without_a_configuration_columns_keep_their_names_dots_included():
    payload = encoder(None, ["a.b", "ü"])(5.25, np.array([1, 2], np.float32))
    assert json.loads(payload) == {"timestamp": 5.25, "a.b": 1, "ü": 2}


@pytest.mark.parametrize(
    ("settings", "columns"),
    [
        (NumberPayload(format="number"), ["a", "b"]),
        (JsonPayload(format="json", value="v"), ["a", "b"]),
        (JsonPayload(format="json", channels=["x", "y"]), ["a", "b", "c"]),
        (None, ["a", "timestamp"]),
    ],
)
def test_columns_that_the_format_cannot_say_are_refused(settings, columns):
    with pytest.raises(ConfigError, match="column"):
        encoder(settings, columns)
