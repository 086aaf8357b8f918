"""The running daemon: builds everything, turns the pump, listens for signals, stops in order.

Threads: `main` waits for signals and feeds the watchdog; `pump` owns rings, models and alarms; `mqtt` fills the inbox;
the HTTP threads only read. A thread that dies takes the process with it. Shutdown follows the data: the source stops
reading, the pump scores what was accepted, the sink sends what was scored.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from daemon.assembly import build
from daemon.config import Config
from daemon.memory import keep_freed
from daemon.observation import observe, views
from daemon.pump import Pump
from daemon.watch.health import Health
from daemon.watch.metrics import Metrics
from daemon.watch.notify import Notifier
from daemon.watch.web.app import App
from daemon.watch.web.server import Server
from daemon.wire.inbox import Inbox
from daemon.wire.mqtt import CONNECTED, Broker
from daemon.wire.topics import status_topic

log = logging.getLogger("anomalyd")

#: How long a stop may take before what is left is given up, in seconds; systemd's default is 90.
STOP_S = 20.0


class Service:
    """One daemon, from its configuration. `run` blocks until it is asked to stop and returns the exit status."""

    def __init__(self, config: Config, file: str | Path = "") -> None:
        """Load the models and build all parts; nothing is connected yet.

        Raises ConfigError with everything that is wrong.
        """
        keep_freed()
        self.config = config
        self.health = Health()
        self.metrics = Metrics()
        self.lines = build(config, file)
        self.inbox = Inbox(config.limits.inbox_messages, config.limits.inbox_bytes)
        self.broker = Broker(
            config.mqtt,
            [topic for line in self.lines for topic in line.stream.topics],
            self.inbox,
            status_topic=status_topic(config.publish.prefix, config.mqtt.client_id),
            max_payload_bytes=config.limits.max_payload_bytes,
            outbox_messages=config.limits.outbox_messages,
            on_change=self._broker_changed,
        )
        self.pump = Pump(config, self.lines, self.inbox, self.broker, self.metrics, self.health)
        self.web = Server(App(views(self.metrics, self.health, config, self.lines, self.broker)), config.http.address)
        self.notify = Notifier()
        self._stop = threading.Event()
        self._failure: BaseException | None = None

    def stop(self) -> None:
        """Ask the daemon to stop; safe from any thread and from a signal handler."""
        self._stop.set()

    def run(self, *, signals: bool = True, ready: Callable[[], None] = lambda: None) -> int:
        """Run until stopped; return 0 after an orderly stop, 1 where a thread died.

        signals: handle SIGTERM and SIGINT (main thread only). ready: called once everything has started.
        """
        if signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stop())
        observe(self.metrics, self.health, self.lines, self.inbox, self.broker)
        self.web.start()
        pump = threading.Thread(target=self._guard, args=(self.pump.run,), name="pump", daemon=True)
        pump.start()
        self.broker.start()
        log.info("running url=%s http=%s:%d", self.config.mqtt.url, self.config.http.address[0], self.web.port)
        self.notify.ready(f"scoring {len(self.lines)} streams")
        ready()
        period_s = min(1.0, (self.notify.watchdog_s() or 2.0) / 3)
        while not self._stop.wait(period_s):
            if self.health.live(time.monotonic())[0]:
                self.notify.watchdog()
            if self.broker.failed is not None:
                self._fail(self.broker.failed)
        return self._shut_down(pump)

    def _shut_down(self, pump: threading.Thread) -> int:
        log.info("stopping")
        self.notify.stopping()
        self.health.stopping()
        if signals_again():
            log.info("a second signal ends the process at once")
        self.broker.stop_reading(STOP_S / 4)
        self.pump.finish()
        pump.join(STOP_S)
        if pump.is_alive():
            log.error("the pump did not finish within %g s; what it had not scored is lost", STOP_S)
        self.broker.stop(STOP_S / 4)
        self.web.stop()
        if self._failure is not None:
            log.critical("a thread died", exc_info=self._failure)
            return 1
        log.info("stopped windows=%d", self.pump.windows_scored)
        return 1 if pump.is_alive() else 0

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stop.set()

    def _broker_changed(self, state: str, detail: str) -> None:
        """Log the connection's changes, once each, and tell the health."""
        level = logging.INFO if state == CONNECTED else logging.WARNING
        log.log(level, "broker state=%s detail=%s", state, detail or "-")
        self.health.broker(connected=self.broker.connected, subscribed=state == CONNECTED, detail=detail)


def signals_again() -> bool:
    """Give the signals their default meaning back, so a second one ends the process; False off the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return False
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    return True
