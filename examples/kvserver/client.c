/* kvserver/client.c: connections, and the loop of a thread that serves them.
 *
 * A client belongs to one thread, which alone reads, runs its commands and writes. Other threads reach it only by
 * client_post. It is an object: its subscriptions refer to it and it to them, and when it goes, the thread closes what
 * is open and forgets it; the collector frees the cycle.
 *
 * Bounds       what a client may keep of an unfinished request; of replies that it does not read: commands wait when
 *              an eighth of max_output is unsent, and are read no further; messages beyond max_output end it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kv.h"

enum { EVENTS = 64, READ_BYTES = 65536, TICK_MS = 100 };

struct server_options options = {
    .threads = 0,
    .port = 6379,
    .metrics_port = -1,
    .max_memory = (size_t)1 << 30,
    .max_bulk = (size_t)8 << 20,
    .max_output = (size_t)16 << 20,
    .max_clients = 10000,
};
struct server_counters counters;
atomic_bool server_stop;

static void client_destroy(ouro_object *self)
{
    struct client *client = (struct client *)self;
    for (size_t i = 0; i < client->mail_count; i++)
        ouro_decref(client->mail[i]);
    ouro_free(client->mail);
    pthread_mutex_destroy(&client->mail_lock);
}
static ouro_type client_type =
    OURO_TYPE(struct client, OURO_REFS(struct client, subscriptions), .destroy = client_destroy);

int listen_on(int *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)*port) };
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 511) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(address.sin_port);
    return fd;
}

/* ---- a client's life ---- */

static void client_accept(struct server_thread *thread, int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct client *client = NULL;
    if (atomic_load(&counters.clients) < (long)options.max_clients)
        client = ouro_new(&client_type);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };
    if (client == NULL || epoll_ctl(thread->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        ouro_xdecref(client);
        close(fd);
        atomic_fetch_add(&counters.refused, 1);
        return;
    }
    pthread_mutex_init(&client->mail_lock, NULL);
    client->fd = fd;
    client->thread = thread;
    client->next = thread->clients; /* our reference is the list's */
    if (client->next != NULL)
        client->next->previous = client;
    thread->clients = client;
    atomic_fetch_add(&counters.clients, 1);
    atomic_fetch_add(&counters.connections, 1);
}

/* What is not memory is given back now; the memory goes when the last reference does, or with its cycle. */
static void client_close(struct client *client)
{
    struct server_thread *thread = client->thread;
    close(client->fd); /* which takes it out of the epoll set */
    client->fd = -1;
    pubsub_leave(client);
    request_reset(&client->request);
    ouro_free(client->request.args);
    client->request.args = NULL;
    ouro_free(client->pending);
    client->pending = NULL;
    output_free(&client->out);
    if (client->previous != NULL)
        client->previous->next = client->next;
    else
        thread->clients = client->next;
    if (client->next != NULL)
        client->next->previous = client->previous;
    atomic_fetch_sub(&counters.clients, 1);
    ouro_decref(client);
}

static bool output_is_full(const struct client *client)
{
    return client->out.bytes > options.max_output / 8;
}

/* Listens for what the client can do now. */
static void client_watch(struct client *client)
{
    bool to_write = client->out.bytes > 0, paused = output_is_full(client);
    if (to_write == client->waits_to_write && paused == client->paused)
        return;
    client->waits_to_write = to_write;
    client->paused = paused;
    struct epoll_event event = { .events = (paused ? 0 : EPOLLIN) | (to_write ? EPOLLOUT : 0), .data.ptr = client };
    epoll_ctl(client->thread->epoll, EPOLL_CTL_MOD, client->fd, &event);
}

/* Runs the requests in the bytes, and says how many bytes they were. */
static size_t client_run(struct client *client, const char *bytes, size_t length)
{
    const char *at = bytes, *error = NULL;
    while (!client->closing && !output_is_full(client)) {
        enum parse_result result = request_parse(&client->request, &at, bytes + length, &error);
        if (result == PARSE_MORE)
            break;
        if (result == PARSE_WRONG) {
            atomic_fetch_add(&counters.protocol_errors, 1);
            reply_error(&client->out, error);
            client->closing = true;
            break;
        }
        if (client->request.count > 0)
            command_run(client);
        request_reset(&client->request);
    }
    return client->closing ? length : (size_t)(at - bytes);
}

/* Keeps the beginning of a request that is not all there. */
static bool client_keep(struct client *client, const char *bytes, size_t length)
{
    if (client->pending_bytes + length > client->pending_room) {
        size_t room = 2 * (client->pending_bytes + length);
        char *grown = ouro_realloc(client->pending, room);
        if (grown == NULL)
            return false;
        client->pending = grown;
        client->pending_room = room;
    }
    memcpy(client->pending + client->pending_bytes, bytes, length);
    client->pending_bytes += length;
    return true;
}

static bool client_take(struct client *client, const char *bytes, size_t length)
{
    if (client->pending_bytes == 0) { /* as a rule all of it is used at once */
        size_t used = client_run(client, bytes, length);
        return used == length || client_keep(client, bytes + used, length - used);
    }
    if (!client_keep(client, bytes, length))
        return false;
    size_t used = client_run(client, client->pending, client->pending_bytes);
    client->pending_bytes -= used;
    memmove(client->pending, client->pending + used, client->pending_bytes);
    if (client->pending_bytes == 0) {
        ouro_free(client->pending);
        client->pending = NULL;
        client->pending_room = 0;
    }
    return true;
}

/* Sends, goes on with requests that waited for room, and closes what is finished. False: the client is gone. */
static bool client_settle(struct client *client)
{
    for (;;) {
        bool was_full = output_is_full(client);
        if (output_send(&client->out, client->fd) != 0 || client->out.failed) {
            client_close(client);
            return false;
        }
        if (!was_full || output_is_full(client) || client->pending_bytes == 0 || client->closing)
            break;
        client_take(client, "", 0);
    }
    if (client->closing && client->out.bytes == 0) {
        client_close(client);
        return false;
    }
    client_watch(client);
    return true;
}

static void client_read(struct client *client, char *buffer)
{
    ssize_t got = read(client->fd, buffer, READ_BYTES);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 || !client_take(client, buffer, (size_t)got)) {
        client_close(client);
        return;
    }
    client_settle(client);
}

/* ---- messages from other threads ---- */

static bool mail_put(struct client *client, struct string *message)
{
    if (client->mail_count == client->mail_room) {
        size_t room = client->mail_room == 0 ? 16 : 2 * client->mail_room;
        struct string **mail = ouro_realloc(client->mail, room * sizeof *mail);
        if (mail == NULL)
            return false;
        client->mail = mail;
        client->mail_room = room;
    }
    client->mail[client->mail_count++] = ouro_newref(message);
    client->mail_bytes += message->length;
    return true;
}

static bool thread_announce(struct server_thread *thread, struct client *client)
{
    bool done = true;
    pthread_mutex_lock(&thread->mail_lock);
    if (thread->with_mail_count == thread->with_mail_room) {
        size_t room = thread->with_mail_room == 0 ? 16 : 2 * thread->with_mail_room;
        struct client **grown = ouro_realloc(thread->with_mail, room * sizeof(struct client *));
        done = grown != NULL;
        if (done) {
            thread->with_mail = grown;
            thread->with_mail_room = room;
        }
    }
    if (done)
        thread->with_mail[thread->with_mail_count++] = ouro_newref(client);
    pthread_mutex_unlock(&thread->mail_lock);
    server_wake(thread);
    return done;
}

void client_post(struct client *client, struct string *message)
{
    bool announce = false;
    pthread_mutex_lock(&client->mail_lock);
    if (client->mail_bytes + message->length > options.max_output || !mail_put(client, message))
        client->mail_refused = true; /* one message was lost: the client has to go */
    if (!client->mail_announced)
        announce = client->mail_announced = true;
    pthread_mutex_unlock(&client->mail_lock);
    if (announce && !thread_announce(client->thread, client)) {
        pthread_mutex_lock(&client->mail_lock);
        client->mail_announced = false;
        pthread_mutex_unlock(&client->mail_lock);
    }
}

/* Moves a client's mail to its output. A client that does not read while more comes is let go. */
static void client_take_mail(struct client *client)
{
    pthread_mutex_lock(&client->mail_lock);
    struct string **mail = client->mail;
    size_t count = client->mail_count;
    bool refused = client->mail_refused;
    client->mail = NULL;
    client->mail_count = client->mail_room = client->mail_bytes = 0;
    client->mail_announced = false;
    pthread_mutex_unlock(&client->mail_lock);
    for (size_t i = 0; i < count; i++) {
        if (client->fd >= 0)
            output_string(&client->out, mail[i]);
        ouro_decref(mail[i]);
    }
    ouro_free(mail);
    if (client->fd < 0)
        return;
    if (refused || client->out.bytes > options.max_output) {
        atomic_fetch_add(&counters.slow_dropped, 1);
        client_close(client);
        return;
    }
    client_settle(client);
}

static void thread_take_mail(struct server_thread *thread)
{
    uint64_t times;
    (void)!read(thread->wake, &times, sizeof times);
    pthread_mutex_lock(&thread->mail_lock);
    struct client **clients = thread->with_mail;
    size_t count = thread->with_mail_count;
    thread->with_mail = NULL;
    thread->with_mail_count = thread->with_mail_room = 0;
    pthread_mutex_unlock(&thread->mail_lock);
    for (size_t i = 0; i < count; i++) {
        client_take_mail(clients[i]);
        ouro_decref(clients[i]);
    }
    ouro_free(clients);
}

void server_wake(struct server_thread *thread)
{
    uint64_t one = 1;
    (void)!write(thread->wake, &one, sizeof one);
}

/* ---- the loop ---- */

static void thread_accept(struct server_thread *thread)
{
    for (unsigned n = 0; n < 16; n++) { /* others listen too */
        int fd = accept4(thread->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        client_accept(thread, fd);
    }
}

/* One thread at a time looks, and evicts no more than a part: what is counted under load is not exact. */
static void thread_tick(void)
{
    static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
    db_expire_some(now_ms());
    if (pthread_mutex_trylock(&turn) != 0)
        return;
    ouro_alloc_stats stats;
    ouro_stats_get(&stats);
    if (stats.allocated > options.max_memory) {
        size_t excess = stats.allocated - options.max_memory, part = options.max_memory / 4;
        db_evict(excess < part ? excess : part);
    }
    pthread_mutex_unlock(&turn);
}

/* A client may be closed while events for it are still in hand: those come with its turn, so close only at the end. */
static void thread_serve(struct server_thread *thread, const struct epoll_event *event, char *buffer)
{
    if (event->data.ptr == &thread->listener) {
        thread_accept(thread);
    } else if (event->data.ptr == &thread->wake) {
        thread_take_mail(thread);
    } else {
        struct client *client = event->data.ptr;
        if ((event->events & (EPOLLERR | EPOLLHUP)) != 0)
            client_close(client);
        else if ((event->events & EPOLLOUT) == 0 || client_settle(client))
            if ((event->events & EPOLLIN) != 0 && !client->closing)
                client_read(client, buffer);
    }
}

void *server_thread_run(void *arg)
{
    struct server_thread *thread = arg;
    struct epoll_event events[EVENTS];
    char *buffer = ouro_malloc(READ_BYTES);
    int64_t next_tick = 0;
    while (buffer != NULL && !atomic_load_explicit(&server_stop, memory_order_relaxed)) {
        int count = 0;
        OURO_BLOCKING /* collections do not wait for a thread that waits */
        {
            count = epoll_wait(thread->epoll, events, EVENTS, TICK_MS);
        }
        thread->now = now_ms();
        /* A message may close a client that has an event behind it: mail comes last. */
        const struct epoll_event *mail = NULL;
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr == &thread->wake)
                mail = &events[i];
            else
                thread_serve(thread, &events[i], buffer);
        if (mail != NULL)
            thread_serve(thread, mail, buffer);
        if (thread->now >= next_tick) {
            thread_tick();
            next_tick = thread->now + TICK_MS;
        }
    }
    while (thread->clients != NULL)
        client_close(thread->clients);
    ouro_free(buffer);
    return NULL;
}
