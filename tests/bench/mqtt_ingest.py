"""CPU seconds a subscriber spends per 100,000 one-sample messages, from the broker into the inbox: ours and stock paho.

python -m tests.bench.mqtt_ingest [--rate 20000] [--messages 100000] [--qos 0]
One line per fact; both run in turn against the same mosquitto, paced by the same publisher, as absolutes drift.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from paho.mqtt import client as paho

from daemon.wire.inbox import Ack, Inbox
from daemon.wire.mqtt import Broker
from daemon.wire.packets import Framer
from tests.brokers import Mosquitto, wait_until

SENSORS = 1000


def publish(port: int, rate: float, count: int, qos: int) -> None:
    """Send paced messages, a few each millisecond, as many devices would."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05bench")
    sock.recv(4)
    if qos:
        threading.Thread(target=lambda: all(iter(lambda: sock.recv(1 << 16), b"")), daemon=True).start()
    framer, sent, began = Framer(v5=False), 0, time.monotonic()
    while sent < count:
        due = min(int((time.monotonic() - began) * rate) - sent, count - sent)
        messages = [
            (f"sensors/s{i % SENSORS:04d}/data", b'{"v": %d.25, "ts": 1700000000.%03d}' % (i % 97, i % 1000))
            for i in range(sent, sent + due)
        ]
        if qos:
            out = b""
            for place, message in enumerate(messages):
                plain = framer.frame([message])
                split = 2 + 2 + len(message[0])
                packet_id = ((sent + place) % 65535 + 1).to_bytes(2, "big")
                out += bytes([0x32, plain[1] + 2]) + plain[2:split] + packet_id + plain[split:]
        else:
            out = framer.frame(messages)
        if out:
            sock.sendall(out)
        sent += due
        time.sleep(0.001)
    time.sleep(0.5)
    sock.sendall(b"\xe0\x00")


class Stock:
    """paho as it comes: one callback for each message, one put into the same inbox."""

    def __init__(self, broker: Mosquitto, inbox: Inbox, qos: int) -> None:
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="stock", manual_ack=bool(qos))
        self.client.on_message = lambda _c, _u, m: inbox.put(
            m.topic, m.payload, retained=m.retain, ack=Ack(m.mid, m.qos, 0) if m.qos else None
        )
        self.client.on_connect = lambda *_: self.client.subscribe("sensors/#", qos)
        self.ready = threading.Event()
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        self.ready.wait(10)

    def acknowledge(self, acks: list[Ack]) -> None:
        for ack in acks:
            self.client.ack(ack.packet_id, ack.qos)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Ours:
    """The daemon's own rim."""

    def __init__(self, broker: Mosquitto, inbox: Inbox, qos: int, coalesce_ms: float = 5.0) -> None:
        self.broker = Broker(
            broker.settings(qos=qos, client_id=f"ours{coalesce_ms}", coalesce_ms=coalesce_ms), ["sensors/#"], inbox,
            status_topic="s", max_payload_bytes=100_000, outbox_messages=10, on_change=lambda *_: None,
        )  # fmt: skip
        self.broker.start()
        wait_until(lambda: self.broker.connected and not self.broker._line.subscribing)
        self.acknowledge = self.broker.acknowledge

    def stop(self) -> None:
        self.broker.stop(5)


def measure(name: str, make, broker: Mosquitto, rate: float, count: int, qos: int) -> None:  # type: ignore[no-untyped-def]
    inbox = Inbox(10**6, 10**9)
    subscriber = make(broker, inbox, qos)
    arguments = [str(broker.port), str(rate), str(count), str(qos)]
    sender = subprocess.Popen([sys.executable, "-m", "tests.bench.mqtt_ingest", "--publish", *arguments])
    got = drains = 0
    began, used = time.monotonic(), time.process_time()
    while got < count:
        drain = inbox.drain(5)
        if not len(drain):
            break
        got += len(drain)
        drains += 1
        if drain.acks:
            subscriber.acknowledge(drain.acks)
    used, took = time.process_time() - used, time.monotonic() - began
    sender.wait()
    subscriber.stop()
    print(
        f"{name:<24} qos {qos}  {got:>7} of {count} messages  {got / took:>7.0f}/s"
        f"  {used / got * 1e5:6.3f} CPU s per 100k  {got / drains:6.1f} a drain"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--publish", nargs=4, metavar=("PORT", "RATE", "COUNT", "QOS"))
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--qos", type=int, default=0, choices=[0, 1])
    parser.add_argument("--broker-config", default="max_inflight_messages 0", help="a line of mosquitto.conf")
    options = parser.parse_args()
    if options.publish:
        publish(int(options.publish[0]), float(options.publish[1]), *map(int, options.publish[2:]))
        return
    with tempfile.TemporaryDirectory() as folder, Mosquitto(Path(folder), extra=options.broker_config) as broker:
        run = (broker, options.rate, options.messages, options.qos)
        measure("ours, coalesce 5 ms", Ours, *run)
        measure("ours, coalesce 0", lambda *a: Ours(*a, coalesce_ms=0), *run)
        measure("stock paho, on_message", Stock, *run)


if __name__ == "__main__":
    main()
