/* kvserver/info.c: what the server says of itself: INFO, and /metrics as OpenMetrics on a port of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kv.h"

/* Text that grows by lines, in a fixed place. */
struct text {
    size_t used;
    char bytes[16384];
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t room = sizeof text->bytes - text->used;
    int length = vsnprintf(text->bytes + text->used, room, format, args);
    if (length > 0)
        text->used += (size_t)length < room ? (size_t)length : room - 1;
    va_end(args);
}

static unsigned long long load(const atomic_ullong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* The collector's part: how often, how much, and what it cost in pauses. */
static void info_collector(struct text *text)
{
    ouro_gc_stats stats[OURO_GC_GENERATIONS];
    size_t count[OURO_GC_GENERATIONS];
    ouro_gc_get_stats(stats);
    ouro_gc_get_count(count);
    add(text, "# Collector\r\ngc_enabled:%d\r\ngc_workers:%u\r\n", ouro_gc_is_enabled(), ouro_gc_get_workers());
    uint64_t longest = 0;
    for (int g = 0; g < OURO_GC_GENERATIONS; g++) {
        add(text,
            "gc%d:collections=%llu,collected=%llu,uncollectable=%llu,pause_total_us=%llu,pause_max_us=%llu,count=%zu\r\n",
            g, (unsigned long long)stats[g].collections, (unsigned long long)stats[g].collected,
            (unsigned long long)stats[g].uncollectable, (unsigned long long)stats[g].pause_ns_total / 1000,
            (unsigned long long)stats[g].pause_ns_max / 1000, count[g]);
        longest = stats[g].pause_ns_max > longest ? stats[g].pause_ns_max : longest;
    }
    add(text, "gc_pause_max_us:%llu\r\n", (unsigned long long)longest / 1000);
    add(text, "gc_tracked_objects:%zu\r\ngc_garbage:%zu\r\n\r\n", ouro_gc_get_objects(-1, NULL, NULL),
        ouro_gc_garbage_count());
}

void info_reply(struct output *out)
{
    struct text text = { .used = 0 };
    ouro_alloc_stats stats;
    ouro_stats_get(&stats);
    add(&text, "# Server\r\nserver:ouroboros kvserver\r\nouro_version:%s\r\nprocess_id:%ld\r\n", OURO_VERSION_STRING,
        (long)getpid());
#ifdef KV_ATOMIC_COUNTS
    add(&text, "counts:atomic\r\n\r\n");
#else
    add(&text, "counts:ouroboros\r\n\r\n");
#endif
    add(&text, "# Clients\r\nconnected_clients:%ld\r\nmaxclients:%u\r\n\r\n", atomic_load(&counters.clients),
        options.max_clients);
    add(&text, "# Memory\r\nused_memory:%zu\r\nused_memory_peak:%zu\r\nused_memory_rss:%zu\r\nmaxmemory:%zu\r\n",
        stats.allocated, stats.peak_allocated, stats.resident, options.max_memory);
    add(&text, "arenas:%zu\r\npools:%zu\r\nthreads:%zu\r\n\r\n", stats.arenas, stats.pools, stats.threads);
    info_collector(&text);
    add(&text, "# Stats\r\ntotal_commands_processed:%llu\r\ntotal_connections_received:%llu\r\n",
        load(&counters.commands), load(&counters.connections));
    add(&text, "rejected_connections:%llu\r\nprotocol_errors:%llu\r\nslow_clients_dropped:%llu\r\n",
        load(&counters.refused), load(&counters.protocol_errors), load(&counters.slow_dropped));
    add(&text, "keyspace_hits:%llu\r\nkeyspace_misses:%llu\r\nexpired_keys:%llu\r\nevicted_keys:%llu\r\n",
        load(&db_counters.hits), load(&db_counters.misses), load(&db_counters.expired), load(&db_counters.evicted));
    add(&text, "pubsub_messages:%llu\r\n\r\n# Keyspace\r\ndb0:keys=%zu\r\n", load(&counters.messages), db_size());
    reply_bulk(out, text.bytes, text.used);
}

/* ---- /metrics ---- */

static void metric(struct text *text, const char *name, const char *type, const char *help, unsigned long long value)
{
    add(text, "# HELP kv_%s %s\n# TYPE kv_%s %s\nkv_%s%s %llu\n", name, help, name, type, name,
        strcmp(type, "counter") == 0 ? "_total" : "", value);
}

static void send_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = write(fd, bytes, length);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return;
        bytes += sent;
        length -= (size_t)sent;
    }
}

static void send_metrics(int fd)
{
    struct text text = { .used = 0 };
    add(&text, "HTTP/1.0 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
               "Connection: close\r\n\r\n");
    metric(&text, "commands", "counter", "Commands that were run.", load(&counters.commands));
    metric(&text, "connections", "counter", "Connections that were accepted.", load(&counters.connections));
    metric(&text, "clients", "gauge", "Clients that are connected.",
           (unsigned long long)atomic_load(&counters.clients));
    metric(&text, "keyspace_hits", "counter", "Keys that were looked up and found.", load(&db_counters.hits));
    metric(&text, "keyspace_misses", "counter", "Keys that were looked up and not found.", load(&db_counters.misses));
    metric(&text, "evicted_keys", "counter", "Keys that were evicted.", load(&db_counters.evicted));
    metric(&text, "expired_keys", "counter", "Keys whose time was over.", load(&db_counters.expired));
    send_all(fd, text.bytes, text.used);
    ouro_stats_write_prometheus(fd); /* the library's own, and the end of the page */
}

/* The beginning of the request is all that is looked at; who sends nothing for two seconds is left. */
static void serve_metrics(int fd)
{
    char request[512];
    struct timeval patience = { .tv_sec = 2 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    ssize_t got = read(fd, request, sizeof request);
    static const char wanted[] = "GET /metrics", none[] = "HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\n";
    if (got >= (ssize_t)sizeof wanted - 1 && memcmp(request, wanted, sizeof wanted - 1) == 0)
        send_metrics(fd);
    else if (got > 0)
        send_all(fd, none, sizeof none - 1);
    shutdown(fd, SHUT_WR);
    while (read(fd, request, sizeof request) > 0) { /* until the peer is done, or patience is over */
    }
}

/* A thread that touches no object: it is not registered, and no collection waits for it. */
void *metrics_run(void *listener)
{
    int fd = *(const int *)listener;
    while (!atomic_load(&server_stop)) {
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        if (poll(&wait, 1, 100) <= 0)
            continue;
        int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (peer < 0)
            continue;
        serve_metrics(peer);
        close(peer);
    }
    return NULL;
}
