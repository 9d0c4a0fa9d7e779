/* gc/dump.c: the object graph, for the ouro tool. The format is in docs/formats.md.
 *
 * Owns        what was gathered of the graph, until it is written.
 * Invariants  with the world stopped each object is looked at once, in address order, by one of several workers, who encodes
 *             it; nothing is looked up but whether a referent has a record of its own. How often an object is referred to
 *             from outside is for the reader to find: its count less the references in the file. What has no state (a leaf)
 *             is recorded where it is referred to, and may be so more than once.
 * Sync        runs are taken by a cursor; each worker has chunks of its own. They are written with the world running.
 */
#include "gc/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    RUNS_AT_ONCE = 4,
    AHEAD = 12,           /* blocks */
    LEAVES_KNOWN = 16384, /* of a worker: that it has recorded last */
    NAME_MOST = 4096,
};

struct worker {
    struct dump *dump;
    struct ouroi_stream nodes, leaves;
    size_t edges;
    ouro_object *ring[OUROI_RING]; /* leaves on their way to the cache */
    unsigned ring_at;
    ouro_object *known[LEAVES_KNOWN];
} __attribute__((aligned(OUROI_CACHE_LINE)));

struct dump {
    struct ouroi_list runs;
    bool no_memory;
    size_t next __attribute__((aligned(OUROI_CACHE_LINE))); /* of runs */
    unsigned count __attribute__((aligned(OUROI_CACHE_LINE)));
    struct worker *workers;
    size_t worker_room;
    uint8_t *types; /* by number: whether some object is of it */
    size_t type_room;
    struct ouroi_stream type_records, info, end;
    uint64_t pause_ns;
};

static void note_type(const struct dump *dump, uint32_t type)
{
    ouroi_atomic_store_relaxed(&dump->types[type], (uint8_t)1); /* relaxed: all write the same, read after the phase */
}

/* The record of an object but for its references. False: none, as somebody is about to free it. */
OUROI_INLINE bool put_object(struct worker *worker, struct ouroi_stream *stream, const ouro_object *obj, unsigned where,
                             unsigned flags, uint64_t block_bytes)
{
    const uint64_t special =
        OURO_SHARED_SPECIAL_ | OURO_FLAG_QUEUED_ | OURO_FLAG_DYING_ | OURO_FLAG_FINALIZED_ | OURO_FLAG_SEEN_;
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: the world is stopped */
    struct ouroi_record record = {
        .address = (uintptr_t)obj,
        .where = where,
        .flags = flags,
        .type = ouroi_type_index(shared),
        .items = ouroi_object_items(obj),
        .block_bytes = block_bytes,
        .count = (int64_t)(shared >> 32) - (int64_t)(OURO_SHARED_ZERO_ >> 32) + obj->ouro_local_,
    };
    if (OUROI_UNLIKELY((shared & special) != OURO_FLAG_ALIVE_)) {
        record.count = (shared & OURO_FLAG_IMMORTAL_) != 0 ? 1 : ouroi_object_count(obj);
        record.flags |= (shared & OURO_FLAG_FINALIZED_ ? OUROI_RECORD_FINALIZED : 0u) |
                        (shared & OURO_FLAG_SEEN_ ? OUROI_RECORD_SEEN : 0u) |
                        (shared & OURO_FLAG_DISTRIBUTED_ ? OUROI_RECORD_DISTRIBUTED : 0u) |
                        (shared & OURO_FLAG_IMMORTAL_ ? OUROI_RECORD_IMMORTAL : 0u);
    }
    if (record.count <= 0)
        return false;
    if (ouroi_stream_put(stream, &record))
        note_type(worker->dump, record.type);
    return true;
}

/* Leaves. */

OUROI_INLINE uint64_t block_bytes_of(const ouro_object *leaf)
{
    struct ouroi_run *run = ouroi_slice_at(leaf)->run;
    return OUROI_LIKELY(run != NULL && run->kind == OUROI_RUN_POOL && !ouroi_options.secure)
               ? ouroi_pool_of(run)->block_bytes
               : ouro_block_size(leaf);
}

static void put_leaf(struct worker *worker, ouro_object *leaf)
{
    size_t hash = ((uintptr_t)leaf >> 4) * 0x9e3779b97f4a7c15u >> 50;
    if (worker->known[hash] == leaf)
        return;
    worker->known[hash] = leaf;
    /* One that is not there, by an error of the program, is left out: the reader says that it is missing. */
    uint64_t shared = ouroi_atomic_load_relaxed(&leaf->ouro_shared_); /* relaxed: the world is stopped */
    uint32_t type = ouroi_type_index(shared);
    if (ouroi_shared_is_alive(shared) && ouroi_types[type >> 12] != NULL &&
        ouroi_types[type >> 12][type & 4095] != NULL)
        put_object(worker, &worker->leaves, leaf, OUROI_WHERE_UNTRACKED, 0, block_bytes_of(leaf));
}

static void see_leaf(struct worker *worker, ouro_object *leaf)
{
    ouro_object **slot = &worker->ring[worker->ring_at++ % OUROI_RING];
    __builtin_prefetch(leaf);
    if (*slot != NULL)
        put_leaf(worker, *slot);
    *slot = leaf;
}

static void put_last_leaves(struct worker *worker)
{
    for (unsigned i = 0; i < OUROI_RING; i++)
        if (worker->ring[i] != NULL)
            put_leaf(worker, worker->ring[i]);
}

/* Nodes. */

OUROI_INLINE void put_referent(struct worker *worker, ouro_object *referent)
{
    struct ouroi_slice *slice = ouroi_slice_at(referent);
    ouroi_stream_refer(&worker->nodes, (uintptr_t)referent);
    worker->edges++;
    if (slice != NULL && slice->states == NULL)
        see_leaf(worker, referent);
}

static void visit_referent(ouro_object *referent, void *arg)
{
    put_referent(arg, referent);
}

static void put_referents(struct worker *worker, ouro_object *obj)
{
    const ouro_type *type = ouroi_type_of(obj);
    for (size_t i = 0; i < type->ref_count; i++) {
        /* relaxed: the world is stopped */
        ouro_object *ref = ouroi_atomic_load_relaxed((ouro_object **)(void *)((char *)obj + type->refs[i]));
        if (ref != NULL)
            put_referent(worker, ref);
    }
    ouro_object **items = (ouro_object **)(void *)((char *)obj + type->size);
    size_t count = type->items_are_refs ? ouroi_object_items(obj) : 0;
    for (size_t i = 0; i < count; i++)
        if (items[i] != NULL)
            put_referent(worker, items[i]);
    if (OUROI_UNLIKELY(type->traverse != NULL))
        type->traverse(obj, visit_referent, worker);
    ouroi_stream_end_refs(&worker->nodes);
}

static void put_node(struct worker *worker, ouro_object *obj, int8_t state, uint64_t block_bytes)
{
    int generation = ouroi_state_generation(state);
    if (OUROI_LIKELY(generation >= 0)) {
        if (put_object(worker, &worker->nodes, obj, (unsigned)generation, 0, block_bytes))
            put_referents(worker, obj);
    } else { /* one that is dead is being collected by another thread */
        put_object(worker, &worker->nodes, obj, OUROI_WHERE_UNTRACKED,
                   state == OUROI_STATE_DEAD ? OUROI_RECORD_DEAD : 0, block_bytes);
    }
}

static void put_run(struct worker *worker, struct ouroi_run *run)
{
    const struct ouroi_slice *slice = ouroi_slice_find(run->start);
    struct ouroi_patch patch = { .states = slice->states, .start = run->start, .run = run, .blocks = 1 };
    const struct ouroi_pool *pool = run->kind == OUROI_RUN_POOL ? ouroi_pool_of(run) : NULL;
    if (pool != NULL) {
        patch.block_bytes = pool->block_bytes;
        patch.blocks = pool->capacity > OUROI_SPARSE_MAX ? pool->carved : pool->capacity;
    }
    size_t block_bytes = pool != NULL ? pool->block_bytes : run->bytes;
    for (uint32_t i = 0; i < patch.blocks; i++) {
        ouro_object *obj = ouroi_patch_object(&patch, i);
        __builtin_prefetch(ouroi_patch_object(&patch, i + AHEAD)); /* past the end it does no harm */
        if ((pool == NULL || ouroi_pool_is_carved(pool, i)) && ouroi_object_is_alive(obj))
            put_node(worker, obj, ouroi_state_get(&patch.states[i]), block_bytes);
    }
}

static void work(void *arg, unsigned index, unsigned count)
{
    struct dump *dump = arg;
    struct worker *worker = &dump->workers[index];
    (void)count;
    for (;;) {
        /* relaxed: numbers, each given once */
        size_t first = ouroi_atomic_fetch_add_relaxed(&dump->next, (size_t)RUNS_AT_ONCE);
        for (size_t i = first; i < first + RUNS_AT_ONCE && i < dump->runs.count; i++)
            put_run(worker, dump->runs.items[i]);
        if (first >= dump->runs.count || worker->nodes.failed || worker->leaves.failed)
            break;
    }
    put_last_leaves(worker);
}

/* Gathering, the world being stopped. */

static void add_run(struct ouroi_run *run, void *arg)
{
    struct dump *dump = arg;
    dump->no_memory = dump->no_memory || !ouroi_list_push(&dump->runs, run);
}

static int prepare(struct dump *dump, unsigned workers)
{
    void *items = NULL;
    size_t pages = 0;
    while (pages < sizeof ouroi_types / sizeof *ouroi_types && ouroi_types[pages] != NULL)
        pages++;
    if (ouroi_memory_grow(&items, &dump->type_room, 0, pages * 4096 + 1, 1) != 0)
        return -ENOMEM;
    dump->types = items;
    items = NULL;
    if (ouroi_memory_grow(&items, &dump->worker_room, 0, workers, sizeof *dump->workers) != 0)
        return -ENOMEM;
    dump->workers = items;
    dump->count = workers;
    for (unsigned i = 0; i < workers; i++)
        dump->workers[i].dump = dump;
    return 0;
}

/* Names may be gone with their types once the world runs. */
static void put_types(struct dump *dump)
{
    struct ouroi_stream *out = &dump->type_records;
    for (uint32_t i = 0; i < dump->type_room; i++) {
        if (dump->types[i] == 0)
            continue;
        const ouro_type *type = ouroi_types[i >> 12][i & 4095];
        const char *name = ouroi_type_name(type);
        ouroi_stream_number(out, i);
        ouroi_stream_number(out, type->size);
        ouroi_stream_number(out, type->item_size);
        ouroi_stream_number(out, (type->ref_count != 0 ? 1u : 0u) | (type->items_are_refs ? 2u : 0u) |
                                     (type->traverse != NULL ? 4u : 0u) | (type->clear != NULL ? 8u : 0u) |
                                     (type->finalize != NULL ? 16u : 0u) | (type->destroy != NULL ? 32u : 0u) |
                                     (type->extra_size != NULL ? 64u : 0u));
        ouroi_stream_text(out, name, strnlen(name, NAME_MOST));
    }
}

static int gather(struct dump *dump)
{
    ouroi_nodes_each(false, add_run, dump);
    size_t blocks = dump->runs.count * (OUROI_SLICE_BYTES / 64); /* or so */
    size_t workers = blocks / ouroi_search_worker_objects, most = ouro_gc_get_workers();
    workers = workers < 1 ? 1 : workers > most ? most : workers;
    if (dump->no_memory || prepare(dump, (unsigned)workers) != 0)
        return -ENOMEM;
    ouroi_workers_run((unsigned)workers, work, dump);
    put_types(dump);
    bool failed = dump->type_records.failed;
    for (unsigned i = 0; i < dump->count; i++)
        failed |= dump->workers[i].nodes.failed || dump->workers[i].leaves.failed;
    return failed ? -ENOMEM : 0;
}

/* What is said of all: known when the world runs again. */
static int frame(struct dump *dump)
{
    struct timespec now;
    size_t records = 0, edges = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    ouroi_stream_number(&dump->info, (uint64_t)getpid());
    ouroi_stream_number(&dump->info, (uint64_t)now.tv_sec);
    ouroi_stream_number(&dump->info, dump->pause_ns);
    ouroi_stream_text(&dump->info, OURO_VERSION_STRING, sizeof OURO_VERSION_STRING - 1);
    ouroi_stream_text(&dump->info, program_invocation_short_name, strnlen(program_invocation_short_name, NAME_MOST));
    for (unsigned i = 0; i < dump->count; i++) {
        records += dump->workers[i].nodes.records + dump->workers[i].leaves.records;
        edges += dump->workers[i].edges;
    }
    ouroi_stream_number(&dump->end, records);
    ouroi_stream_number(&dump->end, edges);
    return dump->info.failed || dump->end.failed ? -ENOMEM : 0;
}

/* Writing. */

static int write_all(int fd, struct iovec *parts, int count)
{
    while (count > 0) {
        ssize_t wrote = writev(fd, parts, count);
        if (wrote < 0 && (errno == EAGAIN || errno == EINTR)) { /* also where the program asked not to wait */
            struct pollfd ready = { .fd = fd, .events = POLLOUT };
            if (errno == EAGAIN && poll(&ready, 1, -1) < 0 && errno != EINTR)
                return -errno;
            continue;
        }
        if (wrote < 0)
            return -errno;
        size_t left = (size_t)wrote;
        for (; count > 0 && left >= parts->iov_len; parts++, count--)
            left -= parts->iov_len;
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + left;
            parts->iov_len -= left;
        }
    }
    return 0;
}

static int write_stream(int fd, struct ouroi_stream *stream, const char *kind)
{
    int rc = 0;
    for (struct ouroi_dump_chunk *chunk = stream->first; chunk != NULL && rc == 0; chunk = chunk->next) {
        struct ouroi_dump_head head;
        memcpy(head.kind, kind, sizeof head.kind);
        head.crc = ouroi_little32(ouroi_crc32(chunk->bytes, chunk->used));
        head.bytes = ouroi_little64(chunk->used);
        struct iovec parts[] = { { &head, sizeof head }, { chunk->bytes, chunk->used } };
        rc = write_all(fd, parts, 2);
    }
    ouroi_stream_free(stream);
    return rc;
}

static int write_dump(int fd, struct dump *dump)
{
    struct ouroi_dump_file file = { OUROI_DUMP_MAGIC, ouroi_little32(OUROI_DUMP_VERSION), 0 };
    struct iovec part = { &file, sizeof file };
    int rc = write_all(fd, &part, 1);
    if (rc == 0)
        rc = write_stream(fd, &dump->info, "INFO");
    if (rc == 0)
        rc = write_stream(fd, &dump->type_records, "TYPE");
    for (unsigned i = 0; i < dump->count && rc == 0; i++) {
        rc = write_stream(fd, &dump->workers[i].nodes, "OBJS");
        if (rc == 0)
            rc = write_stream(fd, &dump->workers[i].leaves, "OBJS");
    }
    return rc == 0 ? write_stream(fd, &dump->end, "END ") : rc;
}

static void free_dump(struct dump *dump)
{
    void *items = dump->types;
    ouroi_memory_free(&items, &dump->type_room, 1);
    for (unsigned i = 0; i < dump->count; i++) {
        ouroi_stream_free(&dump->workers[i].nodes);
        ouroi_stream_free(&dump->workers[i].leaves);
    }
    items = dump->workers;
    ouroi_memory_free(&items, &dump->worker_room, sizeof *dump->workers);
    ouroi_stream_free(&dump->type_records);
    ouroi_stream_free(&dump->info);
    ouroi_stream_free(&dump->end);
    ouroi_list_free(&dump->runs);
}

int ouro_gc_dump_graph(int fd)
{
    struct dump dump = { 0 };
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -1;
    if ((flags & O_ACCMODE) == O_RDONLY) {
        errno = EBADF;
        return -1;
    }
    if (!ouroi_gc_may_stop())
        return -1;
    ouroi_workers_prepare(ouro_gc_get_workers());
    uint64_t begin_ns = ouroi_os.now_ns();
    ouroi_world_stop();
    int rc = gather(&dump);
    ouroi_world_start();
    dump.pause_ns = ouroi_os.now_ns() - begin_ns;
    if (rc == 0)
        rc = frame(&dump);
    if (rc == 0)
        OURO_BLOCKING
            rc = write_dump(fd, &dump);
    free_dump(&dump);
    errno = rc != 0 ? -rc : errno;
    return rc != 0 ? -1 : 0;
}
