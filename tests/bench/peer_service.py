"""An anomaly service as one would write it in an afternoon: each message is parsed, stored and scored by itself.

python -m tests.bench.peer_service LIBRARY MODEL PORT FILTER QOS: LIBRARY is paho or aiomqtt. "ready", and then, at each
line that comes in, the messages so far.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading

import numpy as np
import onnxruntime as ort

WINDOW = 64


class Scorer:
    """One row per message into its sensor's window; a full window is scored and held against a threshold."""

    def __init__(self, model: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._windows: dict[str, tuple[np.ndarray, list[int]]] = {}
        self.count = self.alarms = 0

    def take(self, topic: str, payload: bytes) -> None:
        window, rows = self._windows.setdefault(topic, (np.zeros((1, WINDOW, 1), np.float32), [0]))
        window[0, :-1] = window[0, 1:]
        window[0, -1] = json.loads(payload)["value"]
        rows[0] += 1
        if rows[0] >= WINDOW:
            (score,) = self._session.run(["score"], {"window": window})
            self.alarms += float(score[0]) > 1e9
        self.count += 1


def by_paho(scorer: Scorer, port: int, topic_filter: str, qos: int) -> None:
    from paho.mqtt import client as paho

    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe(topic_filter, qos)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = lambda _c, _u, message: scorer.take(message.topic, message.payload)
    client.connect("127.0.0.1", port)
    client.loop_forever()


def by_aiomqtt(scorer: Scorer, port: int, topic_filter: str, qos: int) -> None:
    import aiomqtt

    async def listen() -> None:
        async with aiomqtt.Client("127.0.0.1", port) as client:
            await client.subscribe(topic_filter, qos)
            print("ready", flush=True)
            async for message in client.messages:
                scorer.take(str(message.topic), message.payload)

    asyncio.run(listen())


def main() -> None:
    library, model, port, topic_filter, qos = sys.argv[1:]
    scorer = Scorer(model)
    listen = {"paho": by_paho, "aiomqtt": by_aiomqtt}[library]
    threading.Thread(target=listen, args=(scorer, int(port), topic_filter, int(qos)), daemon=True).start()
    for _ in sys.stdin:
        print(scorer.count, flush=True)


if __name__ == "__main__":
    main()
