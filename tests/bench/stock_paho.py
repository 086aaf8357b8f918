"""What one would write first: paho's own loop, json.loads in on_message, one scalar written to the sensor's ring.

python -m tests.bench.stock_paho PORT FILTER QOS: "ready", and then, at each line that comes in, the messages so far.
"""

from __future__ import annotations

import json
import sys
import threading

import numpy as np
from paho.mqtt import client as paho

SENSORS, WINDOW = 1_000, 4_096


def main() -> None:
    port, topic_filter, qos = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    rings = np.zeros((SENSORS, WINDOW), np.float32)
    stamps = np.zeros((SENSORS, WINDOW))
    heads = [0] * SENSORS
    slots: dict[str, int] = {}
    count = 0

    def on_message(_client: paho.Client, _own: object, message: paho.MQTTMessage) -> None:
        nonlocal count
        document = json.loads(message.payload)
        slot = slots.setdefault(message.topic, len(slots))
        head = heads[slot]
        rings[slot, head] = document["value"]
        stamps[slot, head] = document["ts"]
        heads[slot] = (head + 1) % WINDOW
        count += 1

    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe(topic_filter, qos)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    threading.Thread(target=client.loop_forever, daemon=True).start()
    for _ in sys.stdin:
        print(count, flush=True)


if __name__ == "__main__":
    main()
