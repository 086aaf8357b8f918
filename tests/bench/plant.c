/* A plant and its control room in one process, without a library: publishes paced readings to an MQTT broker, hears the
   scores, and says how old each one's last sample was when the score came.

   plant PORT RATE SECONDS SENSORS WINDOW HOP [EVERY]
   First WINDOW rows of each sensor, and up to HOP - 1 more so that windows fall due one after the other; then RATE
   messages a second (0: as fast as the broker takes them). "filled" comes out between the two, and JSON at the end. Each reading bears the time it
   was sent at, and a score bears its window's last reading's: their difference is the whole way, broker twice. With EVERY,
   "sent N" comes out each EVERY seconds between. Beyond 20,000 a second what is due is written once a millisecond. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int come_in(int port, const char *id) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  unsigned char packet[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0}, answer[4];
  if (connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  size_t n = strlen(id);
  packet[1] = 12 + n;
  packet[13] = n;
  memcpy(packet + 14, id, n);
  if (write(fd, packet, 14 + n) < 0 || recv(fd, answer, 4, MSG_WAITALL) != 4 || answer[3]) die("CONNECT");
  return fd;
}

static void hear(int fd, const char *filter) {
  unsigned char packet[64] = {0x82, 0, 0, 1, 0, 0}, answer[5];
  size_t n = strlen(filter);
  packet[1] = 5 + n;
  packet[5] = n;
  memcpy(packet + 6, filter, n);
  packet[6 + n] = 0;
  if (write(fd, packet, 7 + n) < 0 || recv(fd, answer, 5, MSG_WAITALL) != 5) die("SUBSCRIBE");
}

static size_t reading(unsigned char *out, int sensor, long row, double t) {
  char topic[32], text[64];
  int a = sprintf(topic, "plant/s%05d", sensor);
  int b = sprintf(text, "{\"v\":%ld.%02ld,\"ts\":%.6f}", row * 37 % 5, row * 61 % 97, t);
  out[0] = 0x30;
  out[1] = 2 + a + b;
  out[2] = 0;
  out[3] = a;
  memcpy(out + 4, topic, a);
  memcpy(out + 4 + a, text, b);
  return 4 + a + b;
}

static unsigned char heard[1 << 20], sending[1 << 18];
static size_t have;
static double *ages;
static size_t scores, counted, most = 8000000;

/* Read what there is; ages count from `since` on. */
static void listen_to(int fd, double since) {
  ssize_t n = recv(fd, heard + have, sizeof heard - 1 - have, MSG_DONTWAIT);
  if (n <= 0) return;
  double t = now();
  have += n;
  size_t p = 0;
  while (have - p > 1) {
    size_t length = 0, q = p + 1;
    int shift = 0;
    do {
      if (q >= have) goto out;
      length |= (size_t)(heard[q] & 127) << shift;
      shift += 7;
    } while (heard[q++] & 128);
    if (q + length > have) break;
    if (heard[p] >> 4 == 3) {
      char *found = memmem(heard + q, length, "\"timestamp\":", 12);
      double stamp = found ? strtod(found + 12, NULL) : 0;
      scores++;
      if (stamp >= since && counted < most) ages[counted++] = t - stamp;
    }
    p = q + length;
  }
out:
  memmove(heard, heard + p, have -= p);
}

static void say(int fd, int ears, size_t n, double since) {
  for (size_t at = 0; at < n;) {
    struct pollfd both[2] = {{fd, POLLOUT, 0}, {ears, POLLIN, 0}};
    poll(both, 2, 1000);
    if (both[1].revents) listen_to(ears, since);
    if (!(both[0].revents & POLLOUT)) continue;
    ssize_t sent = send(fd, sending + at, n - at, MSG_DONTWAIT);
    if (sent > 0) at += sent;
  }
}

static void rest(int ears, double until, double since) {
  for (double left; (left = until - now()) > 0;) {
    struct timespec wait = {left, (left - (long)left) * 1e9};
    struct pollfd one = {ears, POLLIN, 0};
    if (ppoll(&one, 1, &wait, NULL) > 0) listen_to(ears, since);
  }
}

static int by_size(const void *a, const void *b) { return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b); }
static double ms(double q) { return counted ? 1e3 * ages[(size_t)(q * (counted - 1))] : -1; }

int main(int argc, char **argv) {
  if (argc != 7 && argc != 8) return fprintf(stderr, "plant PORT RATE SECONDS SENSORS WINDOW HOP [EVERY]\n"), 2;
  int port = atoi(argv[1]), sensors = atoi(argv[4]), window = atoi(argv[5]), hop = atoi(argv[6]);
  double rate = atof(argv[2]), seconds = atof(argv[3]), never = 1e18, every = argc == 8 ? atof(argv[7]) : never;
  ages = malloc(most * sizeof *ages);
  prctl(PR_SET_TIMERSLACK, 1);
  int mouth = come_in(port, "plant-mouth"), ears = come_in(port, "plant-ears");
  hear(ears, "anomaly/score/#");
  long row = 0;
  for (; row < window + hop; row++) { /* fill the windows, at a pace every broker takes */
    size_t n = 0;
    for (int s = 0; s < sensors; s++) {
      if (row >= window + s % hop) continue;
      n += reading(sending + n, s, row, now());
      if (n > 2000 || s == sensors - 1) {
        say(mouth, ears, n, never);
        n = 0;
        rest(ears, now() + 0.002, never);
      }
    }
    if (n) say(mouth, ears, n, never);
  }
  rest(ears, now() + 1.0, never);
  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  scores = 0;
  puts("filled");
  fflush(stdout);
  double begin = now(), end = begin + seconds, next = begin + every;
  long sent = 0;
  while (now() < end) {
    long due = rate > 0 ? (long)((now() - begin) * rate) - sent : 1000;
    size_t n = 0;
    for (; due > 0 && n < sizeof sending - 128; due--, sent++) n += reading(sending + n, sent % sensors, sent, now());
    if (n) say(mouth, ears, n, begin);
    if (rate > 0) rest(ears, rate > 20000 ? now() + 0.001 : begin + (sent + 1) / rate, begin);
    if (now() >= next) {
      printf("sent %ld\n", sent);
      fflush(stdout);
      next += every;
    }
  }
  double took = now() - begin;
  getrusage(RUSAGE_SELF, &after);
  size_t in_time = scores;
  rest(ears, now() + 1.5, begin);
  qsort(ages, counted, sizeof *ages, by_size);
  double cpu = after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec +
               (after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1e6;
  printf("{\"sent_hz\": %.0f, \"scores_hz\": %.0f, \"scores\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
         "\"p999_ms\": %.3f, \"cpu\": %.3f}\n",
         sent / took, in_time / took, counted, ms(.5), ms(.99), ms(.999), cpu / took);
}
