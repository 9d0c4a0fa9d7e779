/* object/distribute.c: objects counted by each thread for itself.
 *
 * Owns        numbers of distributed objects; what no thread counts for itself (`base`).
 * Invariants  the sum of base and of all threads' counts is the object's count. The object's number is its local count; it
 *             has no owner, and the count in its shared word means nothing.
 * Sync        a thread's counts are its own; the world's stopper reads all. table_lock, rank QUEUE, guards numbers.
 * Source      "sloppy counters": Boyd-Wickizer et al., OSDI 2010.
 */
#include <errno.h>
#include <string.h>

#include "object/internal.h"

struct entry {
    ouro_object *obj; /* NULL: a free number */
    int64_t base;
};

static struct ouroi_lock table_lock = OUROI_LOCK_INIT(OUROI_RANK_QUEUE);
static struct entry **table; /* pages of entries, which stay where they are */
static size_t used, pages;

enum { PER_PAGE = 256, PAGES_MAX = 1 << 16 };

static struct entry *entry_of(const ouro_object *obj)
{
    uint32_t number = (uint32_t)OUROI_OWNED_GET(&obj->ouro_local_);
    return &table[number / PER_PAGE][number % PER_PAGE];
}

/* A free number, its entry in place. -1: no memory. */
static int64_t take_number(void)
{
    for (size_t i = 0; i < used; i++)
        if (table[i / PER_PAGE][i % PER_PAGE].obj == NULL)
            return (int64_t)i;
    if (used == pages * PER_PAGE) {
        if (table == NULL)
            table = ouroi_meta_alloc(PAGES_MAX * sizeof *table);
        struct entry *page = table != NULL && pages < PAGES_MAX ? ouroi_meta_alloc(PER_PAGE * sizeof *page) : NULL;
        if (page == NULL)
            return -1;
        table[pages++] = page;
    }
    return (int64_t)used++;
}

/* The slow way of a thread whose array has no place for the number yet. */
static OUROI_COLD void add_slowly(struct ouroi_object_thread *self, uint32_t number, int64_t n)
{
    if (self != NULL && number >= self->counts_room) {
        size_t room = ouroi_align_up((size_t)number + 1, 64);
        int64_t *more = ouroi_heap_realloc(self->counts, room * sizeof *more);
        if (more != NULL) {
            memset(more + self->counts_room, 0, (room - self->counts_room) * sizeof *more);
            self->counts = more;
            self->counts_room = room;
            self->counts[number] += n;
            return;
        }
    }
    /* relaxed: a count on its own */
    ouroi_atomic_fetch_add_relaxed(&table[number / PER_PAGE][number % PER_PAGE].base, n);
}

void ouroi_distributed_add(ouro_object *obj, int64_t n)
{
    struct ouroi_object_thread *self = ouroi_object_self;
    uint32_t number = (uint32_t)OUROI_OWNED_GET(&obj->ouro_local_);
    if (OUROI_LIKELY(self != NULL && number < self->counts_room))
        OUROI_OWNED_ADD(&self->counts[number], n);
    else
        add_slowly(self, number, n);
}

struct sum {
    uint32_t number;
    int64_t total;
};

static void add_thread(struct ouroi_thread *thread, void *arg)
{
    struct sum *sum = arg;
    struct ouroi_object_thread *of = ouroi_object_thread(thread);
    if (of != NULL && sum->number < of->counts_room)
        sum->total += OUROI_OWNED_GET(&of->counts[sum->number]);
}

int64_t ouroi_distributed_sum(const ouro_object *obj)
{
    struct sum sum = { (uint32_t)OUROI_OWNED_GET(&obj->ouro_local_), 0 };
    sum.total = ouroi_atomic_load_relaxed(&entry_of(obj)->base); /* relaxed: exact when nobody counts */
    ouroi_thread_each(add_thread, &sum);
    return sum.total;
}

static void forget_in_thread(struct ouroi_thread *thread, void *arg)
{
    struct sum *sum = arg;
    struct ouroi_object_thread *of = ouroi_object_thread(thread);
    if (of != NULL && sum->number < of->counts_room)
        OUROI_OWNED_SET(&of->counts[sum->number], 0);
}

void ouroi_distributed_forget(ouro_object *obj)
{
    struct sum sum = { (uint32_t)OUROI_OWNED_GET(&obj->ouro_local_), 0 };
    ouroi_lock_acquire(&table_lock);
    struct entry *entry = entry_of(obj);
    entry->obj = NULL;
    entry->base = 0;
    ouroi_lock_release(&table_lock);
    (void)sum;
    (void)forget_in_thread;
}

int ouro_distribute(void *object)
{
    ouro_object *obj = object;
    if (ouroi_thread_get() == NULL) {
        errno = ENOMEM;
        return -1;
    }
    int rc = 0;
    ouroi_world_stop();
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: the world is stopped */
    (void)shared;
    ouroi_world_start();
    if (rc != 0)
        errno = -rc;
    return rc == 0 ? 0 : -1;
}
