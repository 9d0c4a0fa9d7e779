/* workloads/conns.c: a server's connections: accepted by one thread, served by another, answers freed by the one that writes them.
 *
 * Owns        the connections of each worker; rings between all threads.
 * Invariants  a connection is on one worker's table; what travels in a ring is a connection to adopt or a response to free.
 * Sync        the rings'.
 * Source      none
 */
#include "loads.h"
#include "ring.h"
#include "sizes.h"
#include "stamp.h"

enum { CONNS_OPEN = 128, CONNS_HEADERS = 8, CONNS_BUFFER_BYTES = 4096, CONNS_REQUESTS = 16, CONNS_UNDER_WAY = 64 };

enum conns_kind { CONNS_CONNECTION, CONNS_RESPONSE };

struct connection {
    enum conns_kind kind;
    unsigned requests_left;
    char *buffer;
    size_t buffer_bytes;
    char *peer_name;
    char session[256];
};

struct request {
    char *headers[CONNS_HEADERS];
    unsigned header_count;
    char *path;
};

struct response {
    enum conns_kind kind;
    char *head;
    void *body;
};

struct conns {
    struct ouroi_ring *rings; /* [from * threads + to] */
    struct ouroi_sizes header_sizes;
    struct ouroi_sizes body_sizes;
};

struct worker {
    struct conns *shared;
    unsigned index;
    unsigned threads;
    unsigned closed;
    struct ouroi_rand rand;
    unsigned open;
    struct connection *connections[CONNS_OPEN];
};

static struct connection *connection_new(struct worker *self)
{
    struct connection *connection = ouroi_must(calloc(1, sizeof *connection));
    connection->kind = CONNS_CONNECTION;
    connection->requests_left = 1 + ouroi_rand_below(&self->rand, 2 * CONNS_REQUESTS);
    connection->buffer_bytes = CONNS_BUFFER_BYTES;
    connection->buffer = ouroi_stamp_malloc(CONNS_BUFFER_BYTES);
    connection->peer_name = ouroi_stamp_malloc(32);
    return connection;
}

static void connection_close(struct connection *connection)
{
    ouroi_stamp_free(connection->buffer);
    ouroi_stamp_free(connection->peer_name);
    free(connection);
}

static void response_free(struct response *response)
{
    ouroi_stamp_free(response->head);
    ouroi_stamp_free(response->body);
    free(response);
}

static void worker_take(struct worker *self, void *item)
{
    if (item == ouroi_ring_closed)
        self->closed++;
    else if (*(enum conns_kind *)item == CONNS_RESPONSE)
        response_free(item);
    else if (self->open < CONNS_OPEN)
        self->connections[self->open++] = item;
    else
        connection_close(item); /* too busy: turned away */
}

static bool worker_poll(struct worker *self)
{
    bool any = false;
    for (unsigned from = 0; from < self->threads; from++) {
        void *item;
        struct ouroi_ring *ring = &self->shared->rings[from * self->threads + self->index];
        for (unsigned got = 0; got < 32 && (item = ouroi_ring_try_pop(ring)) != NULL; got++) {
            worker_take(self, item);
            any = true;
        }
    }
    return any;
}

/* Hands an item to another thread; while that one is busy, does own work, so that no two wait for each other. */
static void worker_send(struct worker *self, unsigned to, void *item)
{
    unsigned turns = 0;
    while (!ouroi_ring_try_push(&self->shared->rings[self->index * self->threads + to], item))
        if (!worker_poll(self))
            ouroi_ring_wait(&turns);
}

static unsigned worker_other(struct worker *self)
{
    unsigned to = ouroi_rand_below(&self->rand, self->threads - 1);
    return to >= self->index ? to + 1 : to;
}

/* Reads, parses, answers: the request dies here, the response at the thread that writes it out. */
static void worker_serve(struct worker *self, struct connection *connection)
{
    struct request *request = ouroi_must(malloc(sizeof *request));
    request->header_count = 3 + ouroi_rand_below(&self->rand, CONNS_HEADERS - 2);
    request->path = ouroi_stamp_malloc(ouroi_sizes_draw(&self->shared->header_sizes, &self->rand));
    for (unsigned i = 0; i < request->header_count; i++)
        request->headers[i] = ouroi_stamp_malloc(ouroi_sizes_draw(&self->shared->header_sizes, &self->rand));
    if (ouroi_rand_below(&self->rand, 32) == 0 && connection->buffer_bytes < 4 * CONNS_BUFFER_BYTES) {
        ouroi_stamp_check(connection->buffer);
        connection->buffer_bytes *= 2;
        connection->buffer = ouroi_must(realloc(connection->buffer, connection->buffer_bytes));
        ouroi_stamp_set(connection->buffer, connection->buffer_bytes);
    }
    struct response *response = ouroi_must(malloc(sizeof *response));
    response->kind = CONNS_RESPONSE;
    response->head = ouroi_stamp_malloc(192 + ouroi_rand_below(&self->rand, 128));
    response->body = ouroi_stamp_malloc(ouroi_sizes_draw(&self->shared->body_sizes, &self->rand));
    for (unsigned i = 0; i < request->header_count; i++)
        ouroi_stamp_free(request->headers[i]);
    ouroi_stamp_free(request->path);
    free(request);
    worker_send(self, worker_other(self), response);
}

static void worker_step(struct worker *self)
{
    if (self->open < CONNS_OPEN / 2)
        worker_send(self, worker_other(self), connection_new(self));
    if (self->open == 0)
        return;
    unsigned at = ouroi_rand_below(&self->rand, self->open);
    struct connection *connection = self->connections[at];
    worker_serve(self, connection);
    if (--connection->requests_left == 0) {
        self->connections[at] = self->connections[--self->open];
        connection_close(connection);
    }
}

static void conns_member(struct ouroi_member *member)
{
    struct worker *self = ouroi_must(calloc(1, sizeof *self));
    self->shared = member->shared;
    self->index = member->index;
    self->threads = member->threads;
    self->rand = ouroi_rand_seed(member->seed);
    for (uint64_t i = 0; i < member->ops; i++) {
        worker_poll(self);
        worker_step(self);
    }
    for (unsigned to = 0; to < self->threads; to++)
        worker_send(self, to, ouroi_ring_closed);
    for (unsigned turns = 0; self->closed < self->threads;)
        if (!worker_poll(self))
            ouroi_ring_wait(&turns);
    while (self->open > 0)
        connection_close(self->connections[--self->open]);
    free(self);
}

void ouroi_conns_run(const struct ouroi_job *job)
{
    static struct conns shared;
    shared.rings = ouroi_ring_mesh_new(job->threads, job->threads, CONNS_UNDER_WAY);
    ouroi_sizes_lognormal(&shared.header_sizes, job->seed, 40, 0.6, 16, 512);
    ouroi_sizes_lognormal(&shared.body_sizes, job->seed + 1, 1200, 1.2, 64, 64 << 10);
    ouroi_team_run(job, job->threads, job->ops, conns_member, &shared);
    ouroi_ring_mesh_free(shared.rings, job->threads, job->threads);
}
