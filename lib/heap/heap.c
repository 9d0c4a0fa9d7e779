/* heap/heap.c: heaps come and go with their threads.
 *
 * Owns        the list of all heaps, the idle ones among them, the key whose destructor ends a heap's use.
 * Invariants  a heap is in the list for ever; it is used by one thread or idle; an idle heap has no pools and no batches.
 * Sync        heaps_lock, rank HEAPS; start_lock, rank START.
 */
#include "heap/internal.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define OWNED_ALONE_BYTES ((size_t)12 << 20) /* of the only thread, whose pools nobody else could use, but the kernel */
#define OWNED_BYTES ((size_t)2 << 20)        /* of one of several */
#define OWNED_ALL_BYTES ((size_t)32 << 20)   /* of all, where they are many */
#define OWNED_LEAST_BYTES ((size_t)256 << 10)

static struct ouroi_lock start_lock = OUROI_LOCK_INIT(OUROI_RANK_START);
static struct ouroi_lock heaps_lock = OUROI_LOCK_INIT(OUROI_RANK_HEAPS);
static struct ouroi_heap *all_heaps, *idle_heaps;
static unsigned thread_count;
static uint32_t heaps_made;
static uint32_t started;
static pthread_key_t key;
static bool has_key;

/* A pool without blocks, current wherever there is none. */
static struct ouroi_pool empty_pool;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" /* ranges of array elements: gcc's, and clang's; it has to be constant */
#define EMPTY_DIRECT [0 ... OUROI_DIRECT_MAX / 16] = &empty_pool
#define EMPTY_BINS [0 ... OUROI_CLASSES - 1] = { .current = &empty_pool, .pool = &empty_pool }
#define EMPTY_BATCHES [0 ... OUROI_BATCHES - 1] = { .pool = &empty_pool }
struct ouroi_heap ouroi_heap_empty = { .direct = { EMPTY_DIRECT },
                                       .bins = { EMPTY_BINS },
                                       .batches = { EMPTY_BATCHES } };
#pragma GCC diagnostic pop

__thread struct ouroi_heap *ouroi_heap_self __attribute__((tls_model("initial-exec"))) = &ouroi_heap_empty;
__thread struct ouroi_heap *ouroi_nodes_self __attribute__((tls_model("initial-exec"))) = &ouroi_heap_empty;
static __thread bool late __attribute__((tls_model("initial-exec")));

bool ouroi_heap_is_late(void)
{
    return late;
}

size_t ouroi_heap_owned_max(void)
{
    unsigned threads = ouroi_atomic_load_relaxed(&thread_count); /* relaxed: a count on its own */
    if (threads <= 1)
        return OWNED_ALONE_BYTES;
    if (OUROI_LIKELY(threads <= OWNED_ALL_BYTES / OWNED_BYTES))
        return OWNED_BYTES;
    return threads < OWNED_ALL_BYTES / OWNED_LEAST_BYTES ? OWNED_ALL_BYTES / threads : OWNED_LEAST_BYTES;
}

/* The thread's end. What other destructors, and libc, still allocate after this comes from a heap for latecomers. */
static void thread_ends(void *value)
{
    late = true;
    ouroi_heap_detach(value);
}

int ouroi_heap_start(void)
{
    /* [START look] acquire, pairs with [START done] */
    if (OUROI_LIKELY(ouroi_atomic_load_acquire(&started) != 0))
        return 0;
    ouroi_lock_acquire(&start_lock);
    int rc = 0;
    if (started == 0) {
        ouroi_os_init();
        ouroi_os_inject_from_environment();
        rc = ouroi_arena_init();
        if (rc == 0) {
            ouroi_pool_init();
            has_key = has_key || pthread_key_create(&key, thread_ends) == 0;
            ouroi_atomic_store_release(&started, 1); /* [START done] release, pairs with [START look] */
        }
    }
    ouroi_lock_release(&start_lock);
    return rc;
}

static struct ouroi_heap *new_heap(void)
{
    struct ouroi_heap *heap = idle_heaps;
    if (heap != NULL) {
        idle_heaps = heap->next_idle;
        return heap;
    }
    heap = ouroi_meta_alloc(sizeof *heap);
    if (heap == NULL)
        return NULL;
    memcpy(heap, &ouroi_heap_empty, sizeof *heap);
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        size_t room = OUROI_STASH_BYTES / ouroi_class_bytes(c);
        heap->bins[c].stash_room = room > OUROI_STASH_BLOCKS ? OUROI_STASH_BLOCKS : room == 0 ? 1 : (uint32_t)room;
        heap->bins[c].pool_bytes = ouroi_pool_slices(ouroi_class_bytes(c)) * (uint32_t)OUROI_SLICE_BYTES;
    }
    heap->number = heaps_made++;
    heap->next = all_heaps;
    all_heaps = heap;
    return heap;
}

static struct ouroi_heap *try_to_take_heap(bool nodes)
{
    ouroi_lock_acquire(&heaps_lock);
    struct ouroi_heap *heap = new_heap();
    if (heap != NULL) {
        heap->used = true;
        heap->nodes = nodes;
        ouroi_traced_heap_begins(heap);
        if (!nodes)
            ouroi_atomic_fetch_add_relaxed(&thread_count, 1); /* relaxed: a count on its own */
    }
    ouroi_lock_release(&heaps_lock);
    return heap;
}

static struct ouroi_heap *take_heap(bool nodes)
{
    struct ouroi_heap *heap = NULL;
    for (unsigned tries = 0; tries < OUROI_TRIES; tries++) {
        uint32_t since = ouroi_arena_purges();
        heap = try_to_take_heap(nodes);
        if (heap != NULL || !ouroi_arena_reclaim(since))
            break;
    }
    return heap;
}

int ouroi_nodes_attach(void)
{
    /* Its list of young runs lies in the thread's first heap, which is not to be made under a lock. */
    if (ouroi_heap_start() != 0)
        return -ENOMEM;
    if (ouroi_heap_self == &ouroi_heap_empty && !late && !ouroi_options.secure && ouroi_heap_attach() == NULL)
        return -ENOMEM;
    struct ouroi_heap *heap = take_heap(true);
    if (heap == NULL)
        return -ENOMEM;
    ouroi_nodes_self = heap;
    return 0;
}

void ouroi_nodes_detach(void)
{
    struct ouroi_heap *heap = ouroi_nodes_self;
    if (heap == &ouroi_heap_empty)
        return;
    ouroi_heap_detach(heap);
    ouroi_nodes_self = &ouroi_heap_empty;
}

struct ouroi_heap *ouroi_heap_attach(void)
{
    if (late || ouroi_heap_start() != 0)
        return NULL;
    struct ouroi_heap *heap = take_heap(false);
    if (heap == NULL)
        return NULL;
    ouroi_heap_self = heap;
    if (has_key) {
        int saved = errno;
        pthread_setspecific(key, heap); /* may allocate; from this heap */
        errno = saved;
    }
    return heap;
}

void ouroi_heap_detach(struct ouroi_heap *heap)
{
    ouroi_heap_flush_stashes(heap); /* as long as it is this thread's */
    if (!heap->nodes)
        ouroi_heap_self = &ouroi_heap_empty;
    ouroi_heap_flush_batches(heap);
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        struct ouroi_bin *bin = &heap->bins[c];
        struct ouroi_pool *pool = bin->pool;
        if (pool != &empty_pool) {
            ouroi_heap_make_current(heap, c, &empty_pool);
            ouroi_heap_let_go(heap, pool);
        }
        while ((pool = bin->first) != NULL) {
            ouroi_heap_remove_partial(heap, pool);
            ouroi_heap_let_go(heap, pool);
        }
    }
    OURO_ASSERT(heap->partial_bytes == 0);
    ouroi_lock_acquire(&heaps_lock);
    heap->used = false;
    heap->next_idle = idle_heaps;
    idle_heaps = heap;
    bool last = !heap->nodes && ouroi_atomic_fetch_sub_relaxed(&thread_count, 1) == 1; /* relaxed: a count on its own */
    ouroi_lock_release(&heaps_lock);
    if (last)
        ouroi_purger_last_heap_ends();
}

void ouroi_heap_each(void (*fn)(struct ouroi_heap *heap, void *arg), void *arg)
{
    ouroi_lock_acquire(&heaps_lock);
    for (struct ouroi_heap *heap = all_heaps; heap != NULL; heap = heap->next)
        fn(heap, arg);
    ouroi_lock_release(&heaps_lock);
}

void ouroi_heap_describe(struct ouroi_heap_view *view)
{
    view->first = (uintptr_t)&all_heaps;
    view->next = offsetof(struct ouroi_heap, next);
    view->heap_bytes = sizeof(struct ouroi_heap);
    view->used = offsetof(struct ouroi_heap, used);
    view->nodes = offsetof(struct ouroi_heap, nodes);
    view->bins = offsetof(struct ouroi_heap, bins);
    view->bin_bytes = sizeof(struct ouroi_bin);
    view->bin_stashed = offsetof(struct ouroi_bin, stashed);
    view->bin_unstashed = offsetof(struct ouroi_bin, unstashed);
    view->batches = offsetof(struct ouroi_heap, batches);
    view->batch_count = OUROI_BATCHES;
    view->batch_bytes = sizeof(struct ouroi_batch);
    view->batch_pool = offsetof(struct ouroi_batch, pool);
    view->batch_none = (uintptr_t)ouroi_heap_empty.batches[0].pool;
    view->batch_full = offsetof(struct ouroi_batch, full);
    view->batch_room = offsetof(struct ouroi_batch, room);
    view->batch_class = offsetof(struct ouroi_batch, size_class);
    view->secure = ouroi_options.secure;
}

/* fork: all locks are taken before, so that the child finds every structure whole; what other threads' heaps held at
 * that moment may be in the middle of something, and stays theirs. */

static void before_fork(void)
{
    ouroi_lock_acquire(&ouroi_trace_lock);
    ouroi_lock_acquire(&start_lock);
    ouroi_lock_acquire(&heaps_lock);
    ouroi_region_fork_prepare();
    ouroi_secure_fork_prepare();
    ouroi_arena_fork_stop_purges();
    ouroi_pool_fork_prepare();
    ouroi_arena_fork_prepare();
    ouroi_lock_acquire(&ouroi_intern_lock);
    ouroi_lock_all_held(true);
}

static void after_fork(bool child)
{
    ouroi_lock_all_held(false);
    void (*release)(struct ouroi_lock *) = child ? ouroi_lock_reset : ouroi_lock_release;
    release(&ouroi_intern_lock);
    ouroi_arena_fork_done(child);
    ouroi_pool_fork_done(child);
    ouroi_secure_fork_done(child);
    ouroi_region_fork_done(child);
    if (child) {
        ouroi_atomic_store_relaxed(&thread_count, ouroi_heap_self != &ouroi_heap_empty); /* relaxed: one thread */
    }
    release(&heaps_lock);
    release(&start_lock);
    release(&ouroi_trace_lock);
}

static void after_fork_parent(void)
{
    after_fork(false);
}

static void after_fork_child(void)
{
    after_fork(true);
}

__attribute__((constructor(101))) static void library_starts(void)
{
    if (ouroi_heap_start() == 0)
        pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}
