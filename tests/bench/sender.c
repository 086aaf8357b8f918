/* A paced MQTT publisher without a library: what a fleet of sensors sends, seen from the broker.

   sender PORT PREFIX KIND QOS RATE COUNT TOPICS TICK_US
   KIND one:   {"ts": seconds, "value": number}
        array: {"t0": seconds, "dt": 0.001, "values": [100 numbers]}
        block: 1,000 float32, little-endian
   COUNT messages go to PREFIX/s0000/data and on, TOPICS of them in turn, RATE a second (0: as fast as the broker takes
   them); every TICK_US all that is due by then goes out in one write. At QoS 1 it ends when all are acknowledged. One
   line of JSON comes out: {"took": seconds, "acked": n}. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { VARIANTS = 61, LONGEST = 4200, OUT = 1 << 18 };

static char body[VARIANTS][LONGEST]; /* what of a payload is the same each time */
static size_t body_bytes[VARIANTS];
static unsigned char out[OUT + LONGEST];
static long acked;

static double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int come_in(int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  const unsigned char hello[] = "\x10\x12\0\4MQTT\4\2\0\0\0\6sender";
  unsigned char answer[4];
  if (connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (write(fd, hello, 20) != 20 || recv(fd, answer, 4, MSG_WAITALL) != 4 || answer[3]) die("CONNECT");
  return fd;
}

static void prepare(const char *kind) {
  for (int v = 0; v < VARIANTS; v++) {
    char *at = body[v];
    if (!strcmp(kind, "one")) at += sprintf(at, ", \"value\": %d.%05d}", 20 + v % 7, v * 7919 % 100000);
    if (!strcmp(kind, "array")) {
      at += sprintf(at, ", \"dt\": 0.001, \"values\": [");
      for (int i = 0; i < 100; i++) at += sprintf(at, "%s%d.%05d", i ? ", " : "", 20 + i % 7, (v + i) * 7919 % 100000);
      at += sprintf(at, "]}");
    }
    if (!strcmp(kind, "block"))
      for (int i = 0; i < 1000; i++, at += 4) memcpy(at, &(float){20 + (v + i) % 1000 / 100.f}, 4);
    body_bytes[v] = at - body[v];
  }
}

static size_t message(unsigned char *to, const char *prefix, char kind, int qos, long number, int topics) {
  char topic[64], head[48];
  int t = sprintf(topic, "%s/s%04ld/data", prefix, number % topics);
  int h = kind == 'b' ? 0 : sprintf(head, "{\"%s\": %.6f", kind == 'o' ? "ts" : "t0", seconds(CLOCK_REALTIME));
  int v = number % VARIANTS;
  size_t length = 2 + t + (qos ? 2 : 0) + h + body_bytes[v], n = 0;
  to[n++] = 0x30 | qos << 1;
  for (size_t rest = length; n == 1 || rest; rest >>= 7) to[n++] = (rest & 127) | (rest > 127 ? 128 : 0);
  to[n++] = 0;
  to[n++] = t;
  memcpy(to + n, topic, t), n += t;
  if (qos) {
    unsigned id = number % 65535 + 1;
    to[n++] = id >> 8;
    to[n++] = id & 255;
  }
  memcpy(to + n, head, h), n += h;
  memcpy(to + n, body[v], body_bytes[v]);
  return n + body_bytes[v];
}

/* Everything a broker says to a publisher at QoS 1 is a PUBACK of four bytes. */
static void hear(int fd) {
  static unsigned char heard[1 << 16];
  static size_t odd;
  ssize_t n = recv(fd, heard, sizeof heard, MSG_DONTWAIT);
  if (n > 0) acked += (odd + n) / 4, odd = (odd + n) % 4;
}

static void say(int fd, size_t n) {
  for (size_t at = 0; at < n;) {
    struct pollfd one = {fd, POLLOUT | POLLIN, 0};
    poll(&one, 1, 1000);
    if (one.revents & POLLIN) hear(fd);
    if (!(one.revents & POLLOUT)) continue;
    ssize_t sent = send(fd, out + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) at += sent;
  }
}

int main(int argc, char **argv) {
  if (argc != 9) return fprintf(stderr, "sender PORT PREFIX KIND QOS RATE COUNT TOPICS TICK_US\n"), 2;
  const char *prefix = argv[2], kind = *argv[3];
  int qos = atoi(argv[4]), topics = atoi(argv[7]);
  double rate = atof(argv[5]), tick = atof(argv[8]) / 1e6;
  long count = atol(argv[6]), sent = 0;
  prctl(PR_SET_TIMERSLACK, 1);
  prepare(argv[3]);
  int fd = come_in(atoi(argv[1]));
  double begin = seconds(CLOCK_MONOTONIC), next = begin;
  while (sent < count) {
    long due = count;
    if (rate > 0) {
      next += tick;
      struct timespec until = {next, (next - (long)next) * 1e9};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
      due = (seconds(CLOCK_MONOTONIC) - begin) * rate;
      if (due > count) due = count;
    }
    while (sent < due) {
      size_t n = 0;
      for (; sent < due && n < (rate > 0 ? OUT : 1 << 14); sent++) n += message(out + n, prefix, kind, qos, sent, topics);
      say(fd, n);
    }
  }
  double took = seconds(CLOCK_MONOTONIC) - begin, patience = begin + took + 10;
  while (qos && acked < count && seconds(CLOCK_MONOTONIC) < patience) {
    poll(&(struct pollfd){fd, POLLIN, 0}, 1, 100);
    hear(fd);
  }
  if (write(fd, "\xe0\0", 2) != 2) die("DISCONNECT");
  printf("{\"took\": %.4f, \"acked\": %ld}\n", took, acked);
  return 0;
}
