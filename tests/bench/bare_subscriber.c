/* The yardstick: libmosquitto as it comes, its own loop, and a callback that only counts.

   bare_subscriber PORT FILTER QOS: "ready" comes out when the broker has granted the subscription, and then, at each
   line that comes in, the number of messages so far. */
#include <mosquitto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static volatile long count;
static char **arguments;

static void on_connect(struct mosquitto *client, void *own, int code) {
  (void)own, (void)code;
  mosquitto_subscribe(client, NULL, arguments[2], atoi(arguments[3]));
}

static void on_subscribe(struct mosquitto *client, void *own, int id, int n, const int *granted) {
  (void)client, (void)own, (void)id, (void)n, (void)granted;
  puts("ready");
  fflush(stdout);
}

static void on_message(struct mosquitto *client, void *own, const struct mosquitto_message *message) {
  (void)client, (void)own, (void)message;
  count++;
}

static void *loop(void *client) {
  mosquitto_loop_forever(client, 1000, 1);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc != 4) return fprintf(stderr, "bare_subscriber PORT FILTER QOS\n"), 2;
  arguments = argv;
  mosquitto_lib_init();
  struct mosquitto *client = mosquitto_new(NULL, true, NULL);
  mosquitto_connect_callback_set(client, on_connect);
  mosquitto_subscribe_callback_set(client, on_subscribe);
  mosquitto_message_callback_set(client, on_message);
  if (mosquitto_connect(client, "127.0.0.1", atoi(argv[1]), 60)) return fprintf(stderr, "no broker\n"), 1;
  pthread_t thread; /* loop_forever, not loop_start: nothing but the waiting for a question is in another thread */
  pthread_create(&thread, NULL, loop, client);
  while (getchar() != EOF) {
    printf("%ld\n", count);
    fflush(stdout);
  }
  _Exit(0);
}
