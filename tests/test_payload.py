"""Payloads give their rows or a reason: never another exception, never another message's values."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.config import BinaryPayload, JsonPayload, NumberPayload
from daemon.errors import REJECT_REASONS, BadMessage, ConfigError
from daemon.wire.payload import Format, Rows, decoder, spread
from daemon.wire.payload import rows as rows_module
from tests.naive import payload as naive

MAX_ROWS = 6


def number() -> Format:
    return decoder(NumberPayload(format="number"), 1, MAX_ROWS)


def of_json(width: int = 1, /, interval_s: float | None = None, **keys: object) -> Format:
    return decoder(JsonPayload(format="json", **keys), width, MAX_ROWS, interval_s)


def binary(dtype: str = "float32", channels: int = 1, scale: float = 1.0, offset: float = 0.0) -> Format:
    return decoder(BinaryPayload(format="binary", dtype=dtype, scale=scale, offset=offset), channels, MAX_ROWS)


VALUE = {"value": "v"}
TIMED = {"value": "v", "time": "ts"}
ROWS = {"values": "v"}
CLOCKED = {"values": "v", "t0": "t0", "dt": "dt"}
STAMPED = {"values": "v", "time": "ts"}


def told(rows: Rows) -> list[list[tuple[float | None, list[float]]]]:
    """Rows by message, as the naive twin tells them."""
    ends = np.cumsum(rows.count)
    t = [None if math.isnan(stamp) else stamp for stamp in rows.t.tolist()]
    both = list(zip(t, rows.values.tolist(), strict=True))
    return [both[end - n : end] for end, n in zip(ends.tolist(), rows.count.tolist(), strict=True)]


def reason(form: Format, payload: object) -> str:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    with pytest.raises(BadMessage) as caught:
        form.decode(data)
    assert caught.value.reason in REJECT_REASONS
    return caught.value.reason


# --- numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [(b"21.5", 21.5), (b" -3\r\n", -3), (b"+1e-4", 1e-4), (b".5", 0.5), (b"7.", 7), (b"007", 7), (b"1E3", 1000)],
)
def test_a_bare_number_is_one_row_without_time(text, value):
    rows = number().decode(text)
    assert rows.count.tolist() == [1]
    assert rows.values.dtype == np.float32
    assert rows.values.tolist() == [[np.float32(value)]]
    assert np.isnan(rows.t).all()


@pytest.mark.parametrize(
    "text",
    [b"0x10", b"1_000", b"true", b"1,5", b"1 2", b"21.5 C", b"\xd9\xa3", b'"1.5"', b"\xff", b"1\x00", b"9" * 2000],
)
def test_what_only_python_or_a_locale_takes_for_a_number_is_refused(text):
    assert reason(number(), text) == "not-number"


@pytest.mark.parametrize("text", [b"nan", b"inf", b"-Infinity", b"1e300", b"1e999", b"9" * 400])
def test_a_number_that_no_float32_holds_is_not_finite(text):
    assert reason(number(), text) == "not-finite"


@pytest.mark.parametrize("form", [number(), of_json(**VALUE), binary()])
def test_no_bytes_are_empty(form):
    assert reason(form, b"") == "empty"


# --- JSON


def test_a_nested_field_is_found_through_objects_and_arrays():
    form = of_json(value="a.b.0")
    assert form.decode(b'{"a": {"b": [1.5, 2]}}').values.tolist() == [[1.5]]
    assert form.decode(b'{"a": {"b": {"0": 2.5}}}').values.tolist() == [[2.5]]
    assert reason(form, {"a": {"b": []}}) == "missing-field"
    assert reason(form, {"a": {"b": "xyz"}}) == "missing-field"


def test_an_array_of_objects_is_one_row_for_each():
    rows = of_json(**TIMED).decode(b'[{"v": 1, "ts": 10}, {"v": 2, "ts": 11.5}]')
    assert told(rows) == [[(10.0, [1.0]), (11.5, [2.0])]]


def test_channels_are_one_row_in_the_order_of_the_settings():
    rows = of_json(3, channels=["z", "a.y", "x"], time="t").decode(b'{"x": 1, "a": {"y": 2}, "z": 3, "t": 4}')
    assert told(rows) == [[(4.0, [3.0, 2.0, 1.0])]]


def test_values_are_stamped_from_t0_and_dt():
    rows = of_json(2, **CLOCKED).decode(b'{"v": [[1, 2], [3, 4], [5, 6]], "t0": 100, "dt": 0.5}')
    assert told(rows) == [[(100.0, [1.0, 2.0]), (100.5, [3.0, 4.0]), (101.0, [5.0, 6.0])]]


def test_values_are_stamped_from_an_array_of_times():
    rows = of_json(**STAMPED, time_unit="ms").decode(b'{"v": [1, [2]], "ts": [1000, 2500]}'.replace(b"[2]", b"2"))
    assert told(rows) == [[(1.0, [1.0]), (2.5, [2.0])]]


def test_a_single_time_is_that_of_the_last_value():
    payload = b'{"v": [1, 2, 3], "ts": 100}'
    assert of_json(interval_s=2.0, **STAMPED).decode(payload).t.tolist() == [96.0, 98.0, 100.0]
    assert reason(of_json(**STAMPED), payload) == "bad-time"
    assert of_json(**STAMPED).decode(b'{"v": [1], "ts": 100}').t.tolist() == [100.0]
    assert reason(of_json(interval_s=60.0, **STAMPED), payload) == "bad-time", "earlier rows would lie before 1970"


def test_of_two_equal_keys_the_last_one_counts():
    for payload in (b'{"v": 1, "v": 2}', b'{"v": "x", "v": 2}', b'{"v": 1, "\\u0076": 2}'):
        assert of_json(**VALUE).decode(payload).values.tolist() == [[2.0]]
        assert of_json(**VALUE).decode_all([payload] * 2)[0].values.tolist() == [[2.0]] * 2


@pytest.mark.parametrize(
    "more",
    [b'"unit": "\xb0C"', b'"n": 1e999', b'"n": ' + b"9" * 400, b'"a": {"v": true}', b'"a": [[[{}]]]', b'"v2": null'],
)
def test_what_stands_in_fields_that_nobody_named_does_not_matter(more):
    payload = b'{"v": 1.5, "ts": 7, ' + more + b"}"
    assert told(of_json(**TIMED).decode(payload)) == [[(7.0, [1.5])]]
    assert told(of_json(**TIMED).decode_all([payload] * 3)[0]) == [[(7.0, [1.5])]] * 3


@pytest.mark.parametrize(
    ("keys", "payload", "why"),
    [
        (VALUE, b"[", "not-json"),
        (VALUE, b'{"v": 1} x', "not-json"),
        (VALUE, b'{"v": NaN}', "not-json"),
        (VALUE, b'{"v": 1, "x": "\xff}', "not-json"),
        ({"value": "\u00fc"}, b'{"\xfc": 1}', "not-json"),
        (VALUE, b"[" * 100_000, "not-json"),
        (VALUE, b'{"v":' * 100_000, "not-json"),
        (VALUE, b"[" * 50_000 + b"]" * 50_000, "not-json"),
        (VALUE, b"   ", "not-json"),
        (VALUE, b"5", "wrong-type"),
        (VALUE, b'"v"', "wrong-type"),
        (VALUE, b"null", "wrong-type"),
        (VALUE, b"[1, 2]", "wrong-type"),
        (VALUE, b"[]", "empty"),
        (VALUE, b"{}", "missing-field"),
        (VALUE, b'[{"v": 1}, {}]', "missing-field"),
        (VALUE, b'{"v": true}', "wrong-type"),
        (VALUE, b'{"v": "1.5"}', "wrong-type"),
        (VALUE, b'{"v": null}', "wrong-type"),
        (VALUE, b'{"v": [1]}', "wrong-type"),
        (VALUE, b'{"v": {"v": 1}}', "wrong-type"),
        (VALUE, b'{"v": 1e300}', "not-finite"),
        (VALUE, b'{"v": 1e999}', "not-finite"),
        (VALUE, b'{"v": ' + b"9" * 400 + b"}", "not-finite"),
        (VALUE, b'{"v": ' + b"9" * 40_000 + b"}", "not-finite"),
        (VALUE, b"[" + b'{"v":1},' * MAX_ROWS + b'{"v":1}]', "too-many-rows"),
        (TIMED, b'{"v": 1}', "missing-field"),
        (TIMED, b'{"v": 1, "ts": null}', "bad-time"),
        (TIMED, b'{"v": 1, "ts": true}', "bad-time"),
        (TIMED, b'{"v": 1, "ts": -1}', "bad-time"),
        (TIMED, b'{"v": 1, "ts": 1e11}', "bad-time"),
        (TIMED, b'{"v": 1, "ts": ' + b"9" * 400 + b"}", "bad-time"),
        (TIMED, b'{"v": 1, "ts": "soon"}', "bad-time"),
        (TIMED, b'{"v": 1, "ts": "20260301"}', "bad-time"),
        (TIMED, b'{"v": 1, "ts": "1700000000"}', "bad-time"),
        (TIMED, b'{"v": 1, "ts": "1969-12-31T23:59:59Z"}', "bad-time"),
        (TIMED, b'{"v": 1, "ts": "9999-12-31T23:59:59-23:59"}', "bad-time"),
        (ROWS, b'{"v": 1}', "wrong-type"),
        (ROWS, b'{"v": []}', "empty"),
        (ROWS, b'[{"v": [1]}, {"v": []}]', "empty"),
        (ROWS, b'{"v": [1, true]}', "wrong-type"),
        (ROWS, b'{"v": [1, [2]]}', "wrong-type"),
        (ROWS, b'{"v": [[[1]]]}', "wrong-type"),
        (ROWS, b'{"v": [[1, 2]]}', "channel-count"),
        (ROWS, b'{"v": [[]]}', "channel-count"),
        (ROWS, b'{"v": [1, 1e300]}', "not-finite"),
        (ROWS, b'{"v": [1,2,3,4,5,6,7]}', "too-many-rows"),
        (ROWS, b'[{"v": [1,2,3,4]}, {"v": [5,6,7]}]', "too-many-rows"),
        (STAMPED, b'{"v": [1, 2], "ts": [1, 2, 3]}', "bad-time"),
        (STAMPED, b'{"v": [1, 2], "ts": [1, null]}', "bad-time"),
        (STAMPED, b'{"v": [1], "ts": []}', "bad-time"),
        (CLOCKED, b'{"v": [1], "t0": 1}', "missing-field"),
        (CLOCKED, b'{"v": [1], "t0": 1, "dt": 0}', "bad-time"),
        (CLOCKED, b'{"v": [1], "t0": 1, "dt": -1}', "bad-time"),
        (CLOCKED, b'{"v": [1], "t0": 1, "dt": "1"}', "bad-time"),
        (CLOCKED, b'{"v": [1, 2], "t0": 1, "dt": 1e200}', "bad-time"),
        (CLOCKED, b'{"v": [1, 2], "t0": 1, "dt": ' + b"9" * 400 + b"}", "bad-time"),
    ],
)  # fmt: skip
def test_a_bad_json_payload_has_its_reason(keys, payload, why):
    form = of_json(**keys)
    assert reason(form, payload) == why
    assert [error.reason for _, error in form.decode_all([payload])[1]] == [why]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b'{"v": [1, 2]}', "channel-count"),
        (b'{"v": [[1, 2], [3]]}', "channel-count"),
        (b'{"v": [[1, 2], 3]}', "wrong-type"),
        (b'{"v": [[1, 2, 3]]}', "channel-count"),
        (b'{"v": [[1, null]]}', "wrong-type"),
    ],
)
def test_a_row_has_as_many_values_as_the_model_has_channels(payload, why):
    assert reason(of_json(2, **ROWS), payload) == why


# --- times


@pytest.mark.parametrize(
    ("unit", "stamp", "t"),
    [
        (None, 1700000000.25, 1700000000.25),
        (None, "2023-11-14T22:13:20Z", 1.7e9),
        (None, "2023-11-15T00:13:20+02:00", 1.7e9),
        (None, "2023-11-14 22:13:20", 1.7e9),  # no offset: UTC
        (None, "2023-11-14T22:13:20.123456789Z", 1700000000.123456),
        ("s", 1.7e9, 1.7e9),
        ("ms", 1700000000123, 1700000000.123),
        ("us", 1700000000123456, 1700000000.123456),
        ("ns", 1700000000123456789, 1700000000.123456789),
        ("iso", "2023-11-14T22:13:20Z", 1.7e9),
    ],
)
def test_a_stamp_becomes_the_nearest_float64_of_seconds(unit, stamp, t):
    form = of_json(**TIMED, time_unit=unit)
    payload = json.dumps({"v": 1, "ts": stamp}).encode()
    assert form.decode(payload).t.tolist() == [t]
    assert form.decode_all([payload] * 3)[0].t.tolist() == [t] * 3


@pytest.mark.parametrize(("unit", "stamp"), [("iso", 1.7e9), ("s", "2023-11-14T22:13:20Z"), ("ms", "1700000000123")])
def test_a_stamp_of_the_other_kind_than_time_unit_is_refused(unit, stamp):
    assert reason(of_json(**TIMED, time_unit=unit), {"v": 1, "ts": stamp}) == "bad-time"


@pytest.mark.parametrize(("stamp", "unit"), [(1700000000123, "ms"), (1.7e15, "us"), (1.7e18, "ns")])
def test_the_refusal_of_milliseconds_names_the_setting_that_helps(stamp, unit):
    with pytest.raises(BadMessage, match=f'time_unit = "{unit}"'):
        of_json(**TIMED).decode(json.dumps({"v": 1, "ts": stamp}).encode())


def test_without_time_stamps_a_block_ends_at_its_arrival():
    rows, bad = of_json(**ROWS).decode_all([b'{"v": [1, 2, 3]}', b"x", b'{"v": [4]}', b'{"v": [5, 6]}'])
    assert [index for index, _ in bad] == [1]
    arrival = np.array([100.0, 200.0, 300.0, 400.0])
    assert spread(rows, arrival, 2.0).tolist() == [96.0, 98.0, 100.0, 300.0, 398.0, 400.0]
    assert spread(rows, arrival, None).tolist() == [100.0, 100.0, 100.0, 300.0, 400.0, 400.0]


def test_a_refused_message_beside_a_block_does_not_stop_the_spreading():
    # As many rows as messages: one refused, one of two rows.
    rows, _ = of_json(**ROWS).decode_all([b"x", b'{"v": [1, 2]}'])
    assert spread(rows, np.array([100.0, 200.0]), 1.0).tolist() == [199.0, 200.0]


# --- binary


@pytest.mark.parametrize(
    ("dtype", "code", "scale", "offset", "raw", "values"),
    [
        ("float32", "f", 1.0, 0.0, [1.5, -2.0], [1.5, -2.0]),
        ("float64", "d", 1.0, 0.0, [1.5, 0.1], [1.5, 0.1]),
        ("int16", "h", 0.01, -5.0, [1000, -32768], [5.0, -332.68]),
        ("float32", "f", 1.0, 3.0, [1.5, -2.0], [4.5, 1.0]),
    ],
)
def test_a_binary_block_is_little_endian_rows_scaled(dtype, code, scale, offset, raw, values):
    form = binary(dtype, 1, scale, offset)
    rows = form.decode(struct.pack(f"<{len(raw)}{code}", *raw))
    assert rows.values.ravel().tolist() == np.float32(values).tolist()
    assert rows.values.flags.writeable


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"\0" * 7, "bad-length"),
        (b"\0" * 4, "bad-length"),
        (b"\0" * 8 * (MAX_ROWS + 1), "too-many-rows"),
        (struct.pack("<4f", 1, 2, math.nan, 4), "not-finite"),
        (struct.pack("<2f", 1, math.inf), "not-finite"),
        (b"\x01\x00\x80\x7f" * 2, "not-finite"),  # a signalling NaN
    ],
)
def test_a_binary_block_is_whole_rows_of_finite_numbers(payload, why):
    form = binary(channels=2)
    assert reason(form, payload) == why
    assert [error.reason for _, error in form.decode_all([payload, payload])[1]] == [why, why]


def test_a_scale_may_not_push_a_value_beyond_float32():
    assert reason(binary("float64", scale=1e300), struct.pack("<d", 1e300)) == "not-finite"


# --- what cannot work is said at the start


@pytest.mark.parametrize(
    ("settings", "channels", "key"),
    [
        (NumberPayload(format="number"), 2, "payload.format"),
        (JsonPayload(format="json", value="v"), 3, "payload.value"),
        (JsonPayload(format="json", channels=["a", "b"]), 3, "payload.channels"),
        (JsonPayload(format="json", channels=["a", "b"]), 1, "payload.channels"),
    ],
)
def test_a_format_that_cannot_fill_the_channels_is_a_config_error(settings, channels, key):
    with pytest.raises(ConfigError) as caught:
        decoder(settings, channels, MAX_ROWS)
    assert [problem.key for problem in caught.value.problems] == [key]


# --- properties

QUICK = settings(max_examples=40)  # each runs for many formats

FORMS = [
    number(),
    of_json(**VALUE),
    of_json(**TIMED),
    of_json(**TIMED, time_unit="ns"),
    of_json(**TIMED, time_unit="iso"),
    of_json(2, channels=["v", "a.0"], time="ts"),
    of_json(2, channels=["a.v", "v"], time="a.ts"),
    of_json(value='"', time="ts"),
    of_json(2, **STAMPED, time_unit="us"),
    of_json(**CLOCKED, time_unit="iso"),
    of_json(**ROWS),
    of_json(2, **ROWS),
    of_json(interval_s=1.0, **STAMPED),
    of_json(2, **CLOCKED),
    binary(),
    binary("float64", 2, 1e200, 1.0),
    binary("int16", 3, 0.5, 1.0),
]

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**400), 10**400), st.floats(allow_nan=False),
    st.floats(0, 1e10), st.integers(10**17, 10**19), st.text(max_size=5), st.datetimes().map(str),
)  # fmt: skip
KEYS = st.sampled_from(["v", "a", "ts", "t0", "dt", "x"])
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=20
)
PLAUSIBLE = st.fixed_dictionaries(
    {"v": st.lists(st.integers(-9, 9) | st.floats(-9, 9), max_size=8) | st.integers(-9, 9) | LEAVES},
    optional={
        "ts": st.integers(0, 10**10) | st.lists(st.integers(0, 10**10), max_size=8) | LEAVES,
        "t0": st.integers(0, 10**10) | LEAVES,
        "dt": st.floats(1e-3, 9) | LEAVES,
        "a": st.lists(LEAVES, max_size=2),
    },
)
SPOKEN = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"1,2", b"[3", b"4]", b"5}", b'{"v":1', b'"v":2}', b"},{", b"1],[2", b"nan", b"1_0", b" 7 "]),
    st.integers().map(lambda n: str(n).encode()),
    st.floats().map(lambda n: repr(n).encode()),
    (DOCUMENTS | PLAUSIBLE | st.lists(PLAUSIBLE, max_size=4)).map(lambda value: json.dumps(value).encode()),
    st.lists(st.floats(width=32), max_size=8).map(lambda n: struct.pack(f"<{len(n)}f", *n)),
)


@pytest.mark.parametrize("form", FORMS)
@QUICK
@given(payload=SPOKEN)
def test_decode_gives_finite_rows_or_a_reason_whatever_the_bytes(form, payload):
    try:
        rows = form.decode(payload)
    except BadMessage as error:
        assert_told(error)
    else:
        assert rows.count.tolist() == [len(rows.values)]
        assert 1 <= len(rows.values) <= MAX_ROWS
        assert np.isfinite(rows.values).all()
        assert np.isnan(rows.t).all() or ((rows.t >= 0) & (rows.t < 1e11)).all()


@pytest.mark.parametrize("form", FORMS)
@QUICK
@given(payloads=st.lists(SPOKEN, max_size=30))
@example(payloads=[b'{"v":1}', b"1,2", b'{"v":3}', b"[3", b"4]", b'{"v":5}'])
@example(payloads=[b"1", b"1,2", b"3"] * 7)
def test_many_messages_give_what_each_gives_alone(form, payloads):
    alone, refused = [], []
    for index, payload in enumerate(payloads):
        try:
            alone.append(told(form.decode(payload))[0])
        except BadMessage as error:
            alone.append([])
            refused.append((index, str(error)))
    rows, bad = form.decode_all(payloads)
    assert told(rows) == alone
    assert [(index, str(error)) for index, error in bad] == refused


@pytest.mark.parametrize(("path", "shape"), [("v", b'{"v": %s}'), ("v.0", b'{"v": [%s]}')])
def test_a_drain_larger_than_a_bulk_keeps_its_order(monkeypatch, path, shape):
    monkeypatch.setattr(rows_module, "BULK_BYTES", 50)
    payloads = [shape % (b"%d" % n) for n in range(100)] + [b"x"] + [shape % (b"7" * 30)] * 3 + [b"y"]
    rows, bad = of_json(value=path).decode_all(payloads)
    assert rows.values.ravel().tolist() == [*range(100), *[np.float32(float("7" * 30))] * 3]
    assert [index for index, _ in bad] == [100, 104]


@QUICK
@given(payload=SPOKEN | st.decimals(allow_nan=False).map(lambda n: str(n).encode()))
def test_a_number_is_what_the_obvious_decoder_says(payload):
    assert_equal(number(), payload, naive.number(payload))


@QUICK
@given(
    payload=st.binary(max_size=48), shape=st.sampled_from(["float32", "float64", "int16"]), channels=st.integers(1, 3)
)
def test_a_binary_block_is_what_the_obvious_decoder_says(payload, shape, channels):
    form = binary(shape, channels, 0.3, -7.0)
    assert_equal(form, payload, naive.binary(payload, shape, 0.3, -7.0, channels, MAX_ROWS))


SHAPES = [(VALUE, 1), (ROWS, 1), (ROWS, 2)]
TIMED_SHAPES = [(TIMED, 1), ({"channels": ["v", "a.0"], "time": "ts"}, 2)]
TIMED_SHAPES += [(keys, channels) for keys in (CLOCKED, STAMPED) for channels in (1, 2)]


@pytest.mark.parametrize(
    ("keys", "channels"),
    SHAPES + [({**keys, "time_unit": unit}, width) for keys, width in TIMED_SHAPES for unit in (None, "ms", "ns")],
)
@QUICK
@given(document=PLAUSIBLE | st.lists(PLAUSIBLE, max_size=4) | DOCUMENTS)
def test_json_is_what_the_obvious_decoder_says(keys, channels, document):
    payload_settings = JsonPayload(format="json", **keys)
    payload = json.dumps(document).encode()
    form = decoder(payload_settings, channels, MAX_ROWS, 0.5)
    assert_equal(form, payload, naive.json_object(payload, payload_settings, channels, MAX_ROWS, 0.5))


def assert_told(error: BadMessage) -> None:
    assert error.reason in REJECT_REASONS
    assert len(str(error)) < 400, "what a message says of itself may not flood the log"


def assert_equal(form: Format, payload: bytes, expected: list[naive.Row] | None) -> None:
    rows, bad = form.decode_all([payload])
    if expected is None:
        assert len(bad) == 1
    else:
        assert told(rows) == [expected]
