"""Topics: what feeds which stream, and under which name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from daemon.config import Stream
from daemon.errors import BadMessage, ConfigError
from daemon.wire import topics
from daemon.wire.topics import Router


def stream(name="s", filters=("plant/#",), sensor="{topic}"):
    return Stream(name=name, topics=list(filters), sensor=sensor, model="m.onnx")


def refusal(router, topic):
    with pytest.raises(BadMessage) as caught:
        router.route(topic)
    return caught.value.reason


def test_template_names_topic_levels_from_1():
    router = Router([stream(filters=["plant/+/line1/+/vibration"], sensor="{2}/{4}")], "anomaly")
    assert router.route("plant/hall3/line1/pump7/vibration") == ((0, "hall3/pump7"),)


def test_whole_topic_and_literal_text():
    router = Router([stream(sensor="x-{topic}!")], "anomaly")
    assert router.route("plant/a") == ((0, "x-plant/a!"),)


def test_a_topic_feeds_every_stream_that_asks_for_it():
    router = Router([stream("a", ["plant/+"], "{2}"), stream("b", ["other"]), stream("c", ["#"])], "anomaly")
    assert router.route("plant/p1") == ((0, "p1"), (2, "plant/p1"))


def test_two_filters_of_one_stream_feed_it_once():
    assert Router([stream(filters=["plant/#", "plant/+"])], "anomaly").route("plant/a") == ((0, "plant/a"),)


def test_topics_that_nobody_asked_for_are_refused():
    assert refusal(Router([stream()], "anomaly"), "elsewhere/a") == "no-stream"


def test_our_own_output_is_refused_even_where_a_filter_lets_it_in():
    router = Router([stream(filters=["#"])], "site/anomaly")
    assert refusal(router, "site/anomaly/score/s/x") == "own-output"
    assert refusal(router, "site/anomaly") == "own-output"
    assert router.route("site/anomaly2") == ((0, "site/anomaly2"),)


def test_a_topic_without_the_named_level_is_refused():
    assert refusal(Router([stream(sensor="{3}")], "anomaly"), "plant/a") == "sensor-name"


def test_a_stream_that_cannot_name_the_sensor_does_not_take_it_from_one_that_can():
    assert Router([stream("a", sensor="{3}"), stream("b", sensor="{2}")], "anomaly").route("plant/x") == ((1, "x"),)


@pytest.mark.parametrize("name", ["", "a\nb", "a\x7fb", "a\x85b", "\u2028", "x" * 257, "é" * 129, "a+", "#b"])
def test_names_that_would_break_a_topic_a_log_or_a_label_are_refused(name):
    assert refusal(Router([stream(sensor="{2}")], "anomaly"), f"plant/{name}") == "sensor-name"


def test_the_longest_name_passes():
    assert Router([stream(sensor="{2}")], "anomaly").route("plant/" + "é" * 128) == ((0, "é" * 128),)


def test_a_template_that_no_topic_can_fill_is_a_config_error():
    with pytest.raises(ConfigError, match=r"stream.s.sensor: got '\{3\}', expected levels that 'plant/\+' has: 1 to 2"):
        Router([stream(filters=["plant/+"], sensor="{3}")], "anomaly")


def test_a_shared_subscription_matches_what_it_shares():
    router = Router([stream(filters=["$share/workers/plant/+"], sensor="{2}")], "anomaly")
    assert router.route("plant/a") == ((0, "a"),)
    assert refusal(router, "$share/workers/plant/a") == "no-stream"


def test_output_topics():
    assert topics.score_topic("anomaly", "vib", "hall3/p7") == "anomaly/score/vib/hall3/p7"
    assert topics.alarm_topic("a/b", "vib", "p7") == "a/b/alarm/vib/p7"
    assert topics.state_topic("anomaly", "vib", "p7") == "anomaly/state/vib/p7"
    assert topics.status_topic("anomaly", "line+1#") == "anomaly/status/line_1_"


LEVEL = st.sampled_from(["", "a", "b", "ab", "$a", "$"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
FILTER = st.builds(
    lambda levels, tail: "/".join(levels + tail),
    st.lists(LEVEL | st.just("+"), min_size=0, max_size=4),
    st.sampled_from([[], ["#"]]),
).filter(bool)


@given(pattern=FILTER, topic=TOPIC)
def test_filters_match_what_mqtt_says(pattern, topic):
    assert topics.matches(pattern.split("/"), topic.split("/")) == topic_matches_sub(pattern, topic)
