/* object/distribute.c: objects counted by each thread for itself.
 *
 * Owns        numbers of distributed objects; what no thread counts for itself (`base`).
 * Invariants  the sum of base and of all threads' counts is the object's count. The object's number is its local count; it
 *             has no owner, and the count in its shared word means nothing.
 * Sync        a thread's counts are its own; the world's stopper reads and changes all, and the table of numbers. Who asks for
 *             a count without stopping the world looks at all: [SUM].
 * Source      "sloppy counters": Boyd-Wickizer et al., OSDI 2010.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "object/internal.h"

struct entry {
    ouro_object *obj; /* NULL: a free number */
    int64_t base;
};

static struct entry **table; /* pages of entries, which stay where they are */
static size_t used, pages;
static size_t first_free; /* no number below is free */

enum { PER_PAGE = 256, PAGES_MAX = 1 << 16 };

static struct entry *entry_of(const ouro_object *obj)
{
    uint32_t number = (uint32_t)OUROI_OWNED_GET(&obj->ouro_local_);
    return &table[number / PER_PAGE][number % PER_PAGE];
}

/* A free number, its entry in place. -1: no memory. */
static int64_t take_number(void)
{
    for (; first_free < used; first_free++)
        if (table[first_free / PER_PAGE][first_free % PER_PAGE].obj == NULL)
            return (int64_t)first_free;
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

/* Room for the number; twice what there was, so that all that is outgrown is no more than what is in use. */
static struct ouroi_counts *grow(struct ouroi_object_thread *self, uint32_t number)
{
    const struct ouroi_counts *before = self->counts;
    size_t room = ouroi_align_up((size_t)number + 1, 64);
    if (before != NULL && room < 2 * before->room)
        room = 2 * before->room;
    struct ouroi_counts *counts = ouroi_meta_alloc(sizeof *counts + room * sizeof counts->at[0]);
    if (counts == NULL)
        return NULL;
    counts->room = room;
    ouroi_section_begin();
    if (before != NULL)
        memcpy(counts->at, before->at, before->room * sizeof before->at[0]);
    /* [SUM grow] release, pairs with [SUM look]: room and counts */
    ouroi_atomic_store_release(&self->counts, counts);
    ouroi_section_end();
    ouro_self_.counts = counts->at;
    ouro_self_.room = (uint32_t)room;
    return counts;
}

void ouroi_distributed_add(ouro_object *obj, int64_t n)
{
    /* Past its end a thread's struct may be another's. */
    struct ouroi_object_thread *self = ouroi_thread_self != NULL ? ouroi_object_self : NULL;
    uint32_t number = (uint32_t)OUROI_OWNED_GET(&obj->ouro_local_);
    struct ouroi_counts *counts = self != NULL ? self->counts : NULL;
    if (self != NULL && (counts == NULL || number >= counts->room))
        counts = grow(self, number);
    if (counts != NULL)
        OUROI_OWNED_ADD(&counts->at[number], n);
    else
        /* relaxed: a count on its own */
        ouroi_atomic_fetch_add_relaxed(&table[number / PER_PAGE][number % PER_PAGE].base, n);
}

struct sum {
    uint32_t number;
    int64_t total;
};

static struct ouroi_counts *counts_of(struct ouroi_thread *thread)
{
    struct ouroi_object_thread *of = ouroi_object_thread(thread);
    /* [SUM look] acquire, pairs with [SUM grow] */
    return of != NULL ? ouroi_atomic_load_acquire(&of->counts) : NULL;
}

static void add_thread(struct ouroi_thread *thread, void *arg)
{
    struct sum *sum = arg;
    struct ouroi_counts *counts = counts_of(thread);
    if (counts != NULL && sum->number < counts->room)
        sum->total += OUROI_OWNED_GET(&counts->at[sum->number]);
}

int64_t ouroi_distributed_sum(const ouro_object *obj)
{
    struct sum sum = { (uint32_t)OUROI_OWNED_GET(&obj->ouro_local_), 0 };
    sum.total = ouroi_atomic_load_relaxed(&entry_of(obj)->base); /* relaxed: exact when nobody counts */
    ouroi_thread_each(add_thread, &sum);
    return sum.total;
}

static void take_from_thread(struct ouroi_thread *thread, void *arg)
{
    struct sum *sum = arg;
    struct ouroi_counts *counts = counts_of(thread);
    if (counts == NULL || sum->number >= counts->room)
        return;
    sum->total += counts->at[sum->number];
    counts->at[sum->number] = 0;
}

void ouroi_distributed_sum_up(ouro_object *obj)
{
    struct entry *entry = entry_of(obj);
    struct sum sum = { (uint32_t)obj->ouro_local_, entry->base };
    ouroi_thread_each(take_from_thread, &sum);
    entry->obj = NULL;
    entry->base = 0;
    first_free = sum.number < first_free ? sum.number : first_free;
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: the world is stopped */
    shared = (shared & 0xffffffffu & ~(uint64_t)OURO_FLAG_DISTRIBUTED_) | OURO_SHARED_ZERO_;
    obj->ouro_local_ = 0;
    /* relaxed: the same */
    ouroi_atomic_store_relaxed(&obj->ouro_shared_, shared + (uint64_t)sum.total * OURO_SHARED_ONE_);
}

size_t ouroi_distributed_collect(struct ouroi_object_thread *self)
{
    size_t found = 0;
    for (size_t i = 0; i < used; i++) {
        ouro_object *obj = table[i / PER_PAGE][i % PER_PAGE].obj;
        if (obj == NULL || ouroi_distributed_sum(obj) != 0)
            continue;
        ouroi_distributed_sum_up(obj);
        ouroi_object_put_dying(self, obj);
        found++;
    }
    return found;
}

/* With the world stopped. */
static int distribute(ouro_object *obj)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: the world is stopped */
    if ((shared & OURO_FLAG_DISTRIBUTED_) != 0)
        return 0;
    if ((shared & OURO_FLAG_IMMORTAL_) != 0)
        return -EINVAL;
    if ((shared & OURO_FLAG_MERGED_) == 0) {
        struct ouroi_thread *owner = ouroi_thread_of(obj->ouro_owner_);
        /* In the middle of a count, or on its way to a queue: another time. */
        if (owner->by_signal)
            return -EAGAIN;
        ouroi_object_merge_queue(owner);
        shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: the same */
        if ((shared & OURO_FLAG_QUEUED_) != 0)
            return -EAGAIN;
    }
    int64_t number = take_number();
    if (number < 0)
        return -ENOMEM;
    struct entry *entry = &table[number / PER_PAGE][number % PER_PAGE];
    entry->base = ouroi_object_count(obj);
    entry->obj = obj;
    ouroi_atomic_store_relaxed(&obj->ouro_owner_, 0); /* relaxed: the same */
    obj->ouro_local_ = (int32_t)number;
    shared = (shared & 0xffffffffu) | OURO_SHARED_ZERO_ | OURO_FLAG_MERGED_ | OURO_FLAG_DISTRIBUTED_;
    ouroi_atomic_store_relaxed(&obj->ouro_shared_, shared); /* relaxed: the same */
    return 0;
}

int ouro_distribute(void *obj)
{
    int rc = ouroi_thread_get() != NULL ? -EAGAIN : -ENOMEM;
    for (unsigned try = 0; rc == -EAGAIN; try++) {
        if (try > 0)
            sched_yield();
        ouroi_world_stop();
        rc = distribute(obj);
        ouroi_world_start();
    }
    ouroi_object_drain(ouroi_thread_self);
    if (rc == 0)
        return 0;
    errno = -rc;
    return -1;
}

/* A thread that goes leaves its counts to everybody. */
void ouroi_distributed_leave(struct ouroi_object_thread *self)
{
    struct ouroi_counts *counts = self->counts;
    for (size_t i = 0; counts != NULL && i < counts->room; i++) {
        if (counts->at[i] == 0)
            continue;
        /* relaxed: counts on their own */
        ouroi_atomic_fetch_add_relaxed(&table[i / PER_PAGE][i % PER_PAGE].base, counts->at[i]);
        OUROI_OWNED_SET(&counts->at[i], 0);
    }
}
