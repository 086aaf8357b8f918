"""The broker rim against a real mosquitto: nothing lost, nothing twice, nothing silent."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from daemon.wire.inbox import Inbox
from daemon.wire.mqtt import DEGRADED, FAILED, Broker
from tests.brokers import PASSWORD, Mosquitto, Peer, ScriptedBroker, wait_until

CONNACK = {"3.1.1": b"\x20\x02\0\0", "5": b"\x20\x03\0\0\0"}


def publish(topic, payload, version="3.1.1", first=0x30, packet_id=b""):
    """Return a PUBLISH packet, of short length, as a broker sends it."""
    raw = topic if isinstance(topic, bytes) else topic.encode()
    rest = len(raw).to_bytes(2, "big") + raw + packet_id + (b"\0" if version == "5" else b"") + payload
    assert len(rest) < 128
    return bytes([first, len(rest)]) + rest


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Mosquitto(tmp_path_factory.mktemp("shared")) as broker:
        yield broker


@pytest.fixture
def start(request):
    """Start a Daemon on a broker; whatever the test left running is stopped."""
    started = []
    name = request.node.name.replace("[", "-").replace("]", "")

    def start(broker, filters=None, **more):
        daemon = Daemon(broker, filters or [f"{name}/#"], {"client_id": name[:100], **more})
        started.append(daemon)
        daemon.broker.start()
        return daemon

    yield start
    for daemon in started:
        daemon.broker.stop(5)
        assert daemon.broker.failed is None


@pytest.fixture
def topic(request):
    return request.node.name.replace("[", "-").replace("]", "") + "/t"


@pytest.fixture(params=["3.1.1", "5"])
def version(request):
    return request.param


class Daemon:
    """A Broker with its inbox, and all it said."""

    def __init__(self, broker, filters, more):
        options = {
            key: more.pop(key) for key in ("max_payload_bytes", "outbox_messages", "status_topic") if key in more
        }
        self.inbox = Inbox(more.pop("inbox_messages", 1000), 1_000_000)
        self.changes = []
        self.status = f"{filters[0].split('/')[0]}-status"
        self.broker = Broker(
            broker.settings(**more),
            filters,
            self.inbox,
            **({"status_topic": self.status, "max_payload_bytes": 1000, "outbox_messages": 100} | options),
            on_change=lambda state, reason: self.changes.append((state, reason)),
        )

    def connected(self, times=1):
        """Wait for a connection that has its subscriptions."""
        wait_until(lambda: self.broker.connects_total >= times and self.broker.connected, f"connected: {self.changes}")
        wait_until(lambda: not self.broker._line.subscribing, "subscribed")
        return self

    def take(self, count, *, acknowledge=True):
        """Return the next `count` payloads."""
        got = []
        while len(got) < count:
            drain = self.inbox.drain(20)
            assert len(drain), f"only {len(got)} of {count}: {got}"
            got += drain.payloads
            if acknowledge:
                self.broker.acknowledge(drain.acks)
        return got

    def error(self, *words):
        wait_until(
            lambda: all(word in self.broker.last_error for word in words), f"{words} in {self.broker.last_error}"
        )


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_arrive_in_order_at_each_qos(shared, start, topic, version, qos):
    daemon = start(shared, version=version, qos=qos).connected()
    with Peer(shared, v5=version == "5") as peer:
        for i in range(100):
            peer.publish(topic, b"%d" % i, qos)
    assert daemon.take(100) == [b"%d" % i for i in range(100)]


def test_a_broker_that_starts_later_is_found(tmp_path, start, topic):
    broker = Mosquitto(tmp_path)
    daemon = start(broker)
    daemon.error("cannot reach", str(broker.port))
    with broker:
        daemon.connected()
        with Peer(broker) as peer:
            peer.publish(topic, b"hello")
            assert daemon.take(1) == [b"hello"]


def test_after_kill_9_and_restart_the_qos_1_backlog_arrives_and_so_does_what_follows(tmp_path, start, topic, version):
    with Mosquitto(tmp_path) as broker:
        daemon = start(broker, version=version).connected()
        with Peer(broker) as peer:
            for i in range(5):
                peer.publish(topic, b"%d" % i)
        stale = []
        while len(stale) < 5:
            stale += daemon.inbox.drain(20).acks
        broker.save()
        broker.kill()
        wait_until(lambda: not daemon.broker.connected)
        broker.start()
        daemon.connected(2)
        daemon.broker.acknowledge(stale)  # ids of the old connection mean nothing now
        with Peer(broker) as peer:
            peer.publish(topic, b"after")
        assert daemon.take(6) == [b"0", b"1", b"2", b"3", b"4", b"after"]


def test_what_was_published_while_we_were_away_waits_for_us(shared, start, topic, version):
    daemon = start(shared, version=version).connected()
    daemon.broker.stop(5)
    with Peer(shared) as peer:
        for i in range(50):
            peer.publish(topic, b"%d" % i)
    assert start(shared, version=version).take(50) == [b"%d" % i for i in range(50)]


@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_not_acknowledged_comes_again_to_the_next_process(shared, start, topic, version, qos):
    first = start(shared, version=version, qos=qos).connected()
    with Peer(shared) as peer:
        peer.publish(topic, b"precious", qos)
    assert first.take(1, acknowledge=False) == [b"precious"]
    first.broker.stop(5)
    second = start(shared, version=version, qos=qos)
    assert second.take(1) == [b"precious"]
    assert second.broker.duplicates == 1
    second.broker.stop(5)
    third = start(shared, version=version, qos=qos).connected()
    assert len(third.inbox.drain(0.1)) == 0


def test_will_is_heard_when_we_die_and_status_when_we_live(shared, start, version):
    with Peer(shared, "#") as peer:
        daemon = start(shared, version=version, keepalive_s=60)
        daemon.broker.set_status("online", "all well")
        said = json.loads(peer.hear_on(daemon.status).payload)
        assert (said["status"], said["reason"]) == ("online", "all well")
        assert abs(said["since"] - time.time()) < 20
        daemon.broker._client.socket().shutdown(2)
        assert json.loads(peer.hear_on(daemon.status).payload) == {
            "status": "offline", "reason": "connection lost", "since": None,
        }  # fmt: skip
        assert json.loads(peer.hear_on(daemon.status).payload)["status"] == "online"
        daemon.broker.stop(5)
        while (said := json.loads(peer.hear_on(daemon.status).payload))["status"] == "online":
            pass  # QoS 1: once or more often
        assert (said["status"], said["reason"]) == ("offline", "stopped")


def test_password_lets_us_in_and_is_read_at_each_connect(tmp_path, start):
    with Mosquitto(tmp_path, password=True) as broker:
        secret = broker.folder / "password"
        secret.write_text("wrong\n")
        daemon = start(broker)
        daemon.error("refused us", "'line1'", "mqtt.password_file")
        secret.write_text(PASSWORD + "\n")
        daemon.connected()
        assert daemon.broker.last_error == ""


def test_password_never_shows(tmp_path, start, caplog, version):
    caplog.set_level("DEBUG")
    with Mosquitto(tmp_path, password=True) as broker:
        (broker.folder / "password").write_text("hush-hush")
        daemon = start(broker, version=version)
        daemon.error("refused us")
        assert "hush" not in caplog.text + str(daemon.changes)


def test_missing_password_file_is_named(tmp_path, start):
    with Mosquitto(tmp_path, password=True) as broker:
        (broker.folder / "password").unlink()
        start(broker).error("cannot read", "password")


def test_tls_lets_us_in_and_messages_through(tmp_path, start, topic, version):
    with Mosquitto(tmp_path, tls=True) as broker:
        daemon = start(broker, version=version).connected()
        with Peer(broker) as peer:
            for i in range(30):
                peer.publish(topic, b"%d" % i)
            peer.publish(topic, b"x" * 900)
        assert daemon.take(31)[-2:] == [b"29", b"x" * 900]


def test_a_burst_of_many_tls_records_arrives_whole(tmp_path, start, topic):
    with Mosquitto(tmp_path, tls=True) as broker:
        daemon = start(broker, qos=0, inbox_messages=10_000).connected()
        with Peer(broker) as peer:
            for i in range(3000):
                peer.client.publish(topic, b"%d" % i * 50, 0)
            assert daemon.take(3000) == [b"%d" % i * 50 for i in range(3000)]


def test_unknown_ca_and_wrong_host_name_are_said(tmp_path, start):
    with Mosquitto(tmp_path, tls=True) as broker:
        start(broker, ca_file=broker.folder / "other-ca.crt").error("TLS", "not trusted", "mqtt.ca_file")
        start(broker, url=f"mqtts://127.0.0.1:{broker.port}").error("TLS", "not trusted", "127.0.0.1", "host name")


def test_client_certificate_lets_us_in_and_its_lack_is_said(tmp_path, start):
    with Mosquitto(tmp_path, mtls=True) as broker:
        start(broker).connected()
        start(broker, cert_file=None, key_file=None).error("TLS", "mqtt.cert_file")


def test_retained_messages_are_marked(shared, start, topic, version):
    with Peer(shared) as peer:
        peer.publish(topic, b"old", retain=True)
        daemon = start(shared, version=version).connected()
        drain = daemon.inbox.drain(20)
        assert (drain.payloads, drain.retained) == ([b"old"], [True])
        peer.publish(topic, b"new", retain=True)
        drain = daemon.inbox.drain(20)
        assert (drain.payloads, drain.retained) == ([b"new"], [False])


def test_without_a_session_nothing_is_kept_for_us_and_without_a_status_topic_nothing_is_said(
    shared, start, topic, version
):
    with Peer(shared, f"{topic.split('/')[0]}-status") as peer:
        daemon = start(shared, version=version, session_expiry_s=0, status_topic="").connected()
        daemon.broker.set_status("online")
        daemon.broker.publish("a", b"", qos=1)
        assert daemon.broker.stop(5)
        peer.publish(topic, b"while away")
        again = start(shared, version=version, session_expiry_s=0).connected()
        peer.publish(topic, b"now")
        assert again.take(1) == [b"now"]
        assert again.broker.stop(5)
        assert peer.heard.empty()


def test_stolen_client_id_is_said(shared, start, version):
    one = start(shared, version=version).connected()
    two = start(shared, version=version)
    wait_until(lambda: one.broker.degraded or two.broker.degraded)
    said = wait_until(lambda: [reason for state, reason in one.changes + two.changes if state == DEGRADED])
    assert "another client uses client_id" in said[0]


def test_refused_subscription_is_said_and_others_work(start, version):
    def answer(sock):
        sock.recv(1000)
        sock.sendall(CONNACK[version])
        got = b""
        while b"allowed" not in got:
            got += sock.recv(1000)
        packet_id = got[got.index(b"\x82") + 2 :][:2]
        extra = b"\0" if version == "5" else b""
        sock.sendall(b"\x90" + bytes([4 + len(extra)]) + packet_id + extra + (b"\x87\1" if extra else b"\x80\1"))
        sock.sendall(publish("allowed", b"yes", version))
        sock.recv(1)

    with ScriptedBroker(answer) as broker:
        daemon = start(broker, ["forbidden/#", "allowed"], version=version, client_id="x" * 128)
        assert daemon.take(1) == [b"yes"]
        assert "the broker refuses the subscription 'forbidden/#'" in wait_until(lambda: daemon.broker.degraded)
        assert (DEGRADED, daemon.broker.degraded) in daemon.changes
        daemon.broker.stop(0.1)


def test_resubscribe_adds_and_drops_filters_also_those_changed_while_away(tmp_path, start):
    def heard(daemon, last):
        got = set()
        while last not in got:
            got |= set(daemon.take(1))
        return got

    with Mosquitto(tmp_path) as broker:
        daemon = start(broker, ["a/#", "b/#"]).connected()
        with Peer(broker) as peer:
            daemon.broker.resubscribe(["b/#", "c/#"])
            wait_until(lambda: peer.publish("c/1", b"c") or daemon.inbox.depth, "the new filter works")
            peer.publish("a/1", b"a")
            peer.publish("b/1", b"b")
            assert heard(daemon, b"b") == {b"b", b"c"}
        broker.stop()
        wait_until(lambda: not daemon.broker.connected)
        daemon.broker.resubscribe(["c/#"])
        broker.start()
        daemon.connected(2)
        with Peer(broker) as peer:
            peer.publish("b/1", b"nobody asks for this now")
            peer.publish("c/1", b"end")
        assert b"nobody asks for this now" not in heard(daemon, b"end")


def test_oversized_messages_are_told_and_acknowledged_never_kept(shared, start, topic, version):
    daemon = start(shared, version=version, max_payload_bytes=1000).connected()
    with Peer(shared) as peer:
        peer.publish(topic, b"x" * 5_000_000)
        peer.publish(topic, b"x" * 1001)
        peer.publish(topic, b"y" * 1000)
    oversized, payloads = [], []
    while len(payloads) < 1:
        drain = daemon.inbox.drain(20)
        oversized += drain.oversized
        payloads += drain.payloads
        daemon.broker.acknowledge(drain.acks)
    assert oversized == [(topic, 5_000_000), (topic, 1001)]
    assert payloads == [b"y" * 1000]
    daemon.broker.stop(5)
    with Peer(shared) as peer:  # a round trip: the broker has read our last words before we come in again
        peer.publish("elsewhere", b"")
    again = start(shared, version=version).connected()
    assert len(again.inbox.drain(0.1)) == 0


def test_a_full_inbox_loses_and_repeats_no_qos_1_message(tmp_path, start, topic, version):
    with Mosquitto(tmp_path, extra="max_inflight_messages 0") as broker:
        daemon = start(broker, inbox_messages=10, version=version).connected()
        with Peer(broker) as peer:
            for i in range(200):
                peer.publish(topic, b"%d" % i)
        wait_until(lambda: daemon.inbox.depth == 20)
        assert daemon.take(200) == [b"%d" % i for i in range(200)]
        assert (daemon.inbox.dropped, daemon.broker.duplicates, daemon.broker.disconnects) == (0, 0, 0)


def test_a_broker_that_waits_for_acknowledgements_does_not_wait_for_coalescing_too(start):
    def answer(sock):
        sock.recv(1000)
        sock.sendall(CONNACK["3.1.1"])
        sock.recv(1000)
        sent = acknowledged = 0
        while acknowledged < 4000:
            while sent < min(acknowledged + 40, 4000):
                sent += 4
                sock.sendall(publish("t", b"1", first=0x32, packet_id=sent.to_bytes(2, "big")))
            acknowledged += len(sock.recv(1000))
        sock.recv(1)

    with ScriptedBroker(answer) as broker:
        began = time.monotonic()
        daemon = start(broker, ["t"], coalesce_ms=20)
        assert len(daemon.take(1000)) == 1000
        assert time.monotonic() - began < 1.5  # 100 rounds of 20 ms would be 2 s
        daemon.broker.stop(0.1)


def test_qos_2_reaches_the_inbox_once_though_the_connection_breaks_before_and_after_its_acknowledgement(
    shared, start, topic, version
):
    daemon = start(shared, qos=2, version=version).connected()
    with Peer(shared) as peer:
        for i in range(6):
            peer.publish(topic, b"%d" % i, 2)
        drain = daemon.inbox.drain(20)
        acks, got = list(drain.acks), list(drain.payloads)
        while len(got) < 6:
            drain = daemon.inbox.drain(20)
            acks, got = acks + drain.acks, got + drain.payloads
        daemon.broker._client.socket().shutdown(2)
        daemon.connected(2)
        wait_until(lambda: daemon.broker.duplicates == 6)
        daemon.broker.acknowledge(acks[:3])
        wait_until(lambda: len(daemon.broker._line.receipts._held) == 3)
        daemon.broker._client.socket().shutdown(2)
        wait_until(lambda: not daemon.broker.connected)
        daemon.broker.acknowledge(acks[3:])
        daemon.connected(3)
        wait_until(lambda: not daemon.broker._line.receipts._held)
        peer.publish(topic, b"last", 2)
        assert daemon.take(1) == [b"last"]
    assert got == [b"%d" % i for i in range(6)]


def test_published_payloads_keep_their_order(shared, start, topic, version):
    daemon = start(shared, ["nothing"], version=version, outbox_messages=20_000).connected()
    with Peer(shared, topic.split("/")[0] + "/#") as peer:
        assert daemon.broker.publish_many([topic] * 5000, [b"%d" % i for i in range(5000)]) == 5000
        for i in range(50):
            assert daemon.broker.publish(topic + "/alarm", b"%d" % i, qos=1, retain=True)
        heard = [peer.hear() for _ in range(5050)]
        assert [m.payload for m in heard if m.topic == topic] == [b"%d" % i for i in range(5000)]
        assert [m.payload for m in heard if m.topic == topic + "/alarm"] == [b"%d" % i for i in range(50)]
    with Peer(shared, topic + "/alarm") as late:
        message = late.hear()
        assert (message.payload, message.retain) == (b"49", True)


def test_alarms_outrank_scores_while_away_and_drops_are_counted(tmp_path, start):
    broker = Mosquitto(tmp_path)
    daemon = start(broker, ["nothing"], outbox_messages=10)
    assert daemon.broker.publish_many(["score"] * 15, [b"%d" % i for i in range(15)]) == 10
    for i in range(4):
        daemon.broker.publish(f"alarm/{i}", b"!", qos=1, retain=True)
    assert daemon.broker.outbox_dropped == {"score": 9, "alarm": 0}
    assert daemon.broker.outbox_depth == 10
    broker.start()
    with broker, Peer(broker, "score", "alarm/#") as peer:
        heard = [peer.hear() for _ in range(4)]
        assert sorted(m.topic for m in heard if m.topic != "score")[:4] == [f"alarm/{i}" for i in range(4)]


def test_a_broker_that_reads_nothing_neither_blocks_the_pump_nor_fills_its_memory(tmp_path, start):
    with Mosquitto(tmp_path) as broker:
        daemon = start(broker, ["nothing"], outbox_messages=2000).connected()
        with Peer(broker, "alarm/#") as peer:
            broker.process.send_signal(signal.SIGSTOP)
            slowest = 0.0
            for _ in range(50):
                began = time.monotonic()
                daemon.broker.publish_many(["score"] * 1000, [bytes(1000)] * 1000)
                daemon.broker.publish("alarm/x", b"!", qos=1, retain=True)
                slowest = max(slowest, time.monotonic() - began)
                wait_until(lambda: daemon.broker.outbox_depth)
            assert slowest < 0.5
            assert daemon.broker.outbox_depth <= 2000 + 16
            assert daemon.broker.outbox_dropped["score"] > 10_000
            broker.process.send_signal(signal.SIGCONT)
            assert [peer.hear().payload for _ in range(50)] == [b"!"] * 50


def test_shutdown_lets_nothing_in_then_everything_out(shared, start, topic):
    daemon = start(shared, outbox_messages=5000).connected()
    out = "out/" + topic
    daemon.broker.set_status("online")
    with Peer(shared, out, daemon.status) as peer:
        assert json.loads(peer.hear().payload)["status"] == "online"
        assert daemon.broker.stop_reading(5)
        for i in range(10):
            peer.publish(topic, b"%d" % i)
        daemon.broker.publish_many([out] * 3000, [b"%d" % i for i in range(3000)])
        daemon.broker.publish(out, b"end", qos=1)
        assert daemon.broker.stop(10)
        heard = [peer.hear() for _ in range(3002)]
        assert {m.payload for m in heard} >= {b"%d" % i for i in range(3000)} | {b"end"}
        assert json.loads(heard[-1].payload)["status"] == "offline"
    assert daemon.inbox.depth == 0
    assert start(shared, [f"{topic.split('/')[0]}/#"]).take(10) == [b"%d" % i for i in range(10)]


def test_stop_without_a_broker_ends_at_once_unless_alarms_wait(tmp_path, start):
    broker = Mosquitto(tmp_path)
    daemon = start(broker)
    daemon.broker.publish("score", b"1")
    began = time.monotonic()
    assert daemon.broker.stop(30)
    assert time.monotonic() - began < 5
    daemon = start(broker, reconnect_max_s=0.05)
    daemon.broker.publish("alarm", b"!", qos=1)
    assert daemon.broker.stop(0.3)
    assert time.monotonic() - began >= 0.3


HOSTILE = {
    "topic that is not UTF-8": publish(b"a\xff", b"1"),
    "topic with a wildcard": publish("a/#", b"1"),
    "empty topic": publish("", b"1"),
    "topic longer than its packet": b"\x30\x04\xff\xffab",
    "QoS 3": publish("t", b"1", first=0x36, packet_id=b"\0\1"),
    "QoS 1 without packet id": publish("t", b"", first=0x32),
    "packet id 0": publish("t", b"1", first=0x32, packet_id=b"\0\0"),
    "length that never ends": b"\x30\xff\xff\xff\xff\xff",
    "control packet of 256 MiB": b"\x90\xff\xff\xff\x7f",
    "packet only clients send": b"\x82\x05\0\1\0\0\0",
    "PUBREL without packet id": b"\x62\x00",
    "SUBACK without packet id": b"\x90\x00",
    "a web server": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_broker_that_talks_nonsense_is_left_and_tried_again(start, what):
    def nonsense(sock):
        sock.recv(1000)
        sock.sendall(CONNACK["3.1.1"] + publish("t", b"good") + HOSTILE[what])
        while sock.recv(1000):
            pass

    def sense(sock):
        sock.recv(1000)
        sock.sendall(CONNACK["3.1.1"] + publish("t", b"better"))
        while sock.recv(1000):
            pass

    with ScriptedBroker(nonsense, sense) as broker:
        daemon = start(broker, ["t"])
        assert daemon.take(2) == [b"good", b"better"]
        assert any("broke the protocol" in reason for _, reason in daemon.changes)
        daemon.broker.stop(0.1)


def test_a_listener_that_never_answers_is_given_up(start, monkeypatch):
    monkeypatch.setattr("daemon.wire.line.CONNECT_S", 0.2)
    with ScriptedBroker(lambda sock: sock.recv(1000) and sock.recv(1000)) as broker:
        daemon = start(broker, ["t"])
        daemon.error("sent no CONNACK")
        daemon.broker.stop(0.1)


def test_a_mute_broker_is_noticed_by_keepalive(start):
    def mute(sock):
        sock.recv(1000)
        sock.sendall(CONNACK["5"][:1] + b"\x06\0\0\x03\x13\0\x01")  # MQTT 5: keepalive 1 s, says the broker
        while sock.recv(1000):
            pass

    with ScriptedBroker(mute) as broker:
        daemon = start(broker, ["t"], version="5")
        daemon.error("no answer from the broker")
        daemon.broker.stop(0.1)


def test_a_broker_that_asks_without_end_and_reads_no_answer_is_left(start):
    def ask(sock):
        sock.recv(1000)
        sock.sendall(CONNACK["3.1.1"])
        while True:
            sock.sendall(b"\x62\x02\0\1" * 10_000)

    with ScriptedBroker(ask) as broker:
        daemon = start(broker, ["t"])
        wait_until(lambda: any("does not read what we answer" in reason for _, reason in daemon.changes))
        daemon.broker.stop(0.1)


def test_a_bug_on_the_mqtt_thread_is_told_and_ends_it(shared, start):
    daemon = start(shared).connected()
    daemon.broker._line.reader.take = lambda batch: 1 / 0
    with Peer(shared) as peer:
        peer.publish(daemon.status[: -len("-status")] + "/x", b"1")
    wait_until(lambda: daemon.changes[-1][0] == FAILED)
    assert isinstance(daemon.broker.failed, ZeroDivisionError)
    assert daemon.broker.stop(5)
    daemon.broker.failed = None


def test_an_idle_connection_costs_next_to_no_processor_time(shared, start):
    daemon = start(shared).connected()
    thread = daemon.broker._thread.native_id

    def used():
        fields = Path(f"/proc/self/task/{thread}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    daemon.inbox.drain(1.0)
    assert used() - before < 0.1
