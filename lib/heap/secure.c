/* heap/secure.c: the hardened heap of OURO_SECURE=1. Every block has a header and a tail that tell damage, free blocks lie in
 * no list that a program could write to, freed memory is poisoned, kept aside for a while, and looked at before its reuse.
 * Large blocks end in a page that nobody can touch; of small blocks a random sample has its end at such a page,
 * and is out of reach altogether from its free until it leaves the quarantine.
 *
 * Owns        its pools, a bit map each of the blocks that are taken; the quarantine; the samples, each a run of one slice.
 * Invariants  a block's bit is set from its allocation until it leaves the quarantine;
 *             a living block's header is { size ^ secret, LIVE(p) }, a quarantined one's { size ^ secret, DEAD(p) };
 *             the bytes from the end of a living block to the end of its slot are TAIL, all of a quarantined one POISON;
 *             a run's guard is opened again before the run is given back. Where the kernel refuses one, or GUARDS are
 *             there, there is none.
 * Sync        one lock, rank SECURE: this heap is for finding errors, not for speed.
 * Source      the ideas are those of hardened_malloc (Micay), of the quarantine of AddressSanitizer (Serebryany 2012), and of
 *             sampled guarded blocks: GWP-ASan (Serebryany et al. 2023).
 */
#include "heap/internal.h"

#include <string.h>
#include <sys/resource.h>

enum {
    HEADER_BYTES = 16,
    TAIL_BYTES = 16, /* at least so many after a block */
    TAIL = 0xa5,
    POISON = 0xde,       /* even: in an object's header it says free */
    QUARANTINE = 1024,   /* blocks */
    BITMAP_WORDS = 64,   /* 4096 blocks at most */
    SAMPLE_EVERY = 1024, /* small blocks, in the mean */
    SAMPLES = 64,        /* at a time */
    GUARDS = 8192,       /* at a time: each makes two mappings more, of which the kernel allows 65530 by default */
};
#define QUARANTINE_BYTES ((size_t)16 << 20)

struct header {
    uint64_t size;
    uint64_t mark;
};

struct freed {
    char *p;
    struct ouroi_run *run;
    size_t size;
};

static struct ouroi_lock lock = OUROI_LOCK_INIT(OUROI_RANK_SECURE);
static uint64_t secret, random_state;
static struct ouroi_pool *pools[OUROI_CLASSES]; /* with room, linked both ways; pool->linked says so */
static struct freed quarantine[QUARANTINE];
static unsigned quarantine_first, quarantine_count;
static size_t quarantine_bytes;
static struct ouroi_ledger ledger;
static unsigned samples, guards; /* samples in quarantine too */
static unsigned unsampled;       /* blocks before the next sample */

static uint64_t live_mark(const void *p)
{
    return secret ^ (uintptr_t)p ^ 0x4c495645u;
}

static uint64_t dead_mark(const void *p)
{
    return secret ^ (uintptr_t)p ^ 0x44454144u;
}

static struct header *header_of(const void *p)
{
    return (struct header *)(void *)((uintptr_t)p - HEADER_BYTES);
}

static _Noreturn void report(const char *what, const void *p, const struct ouroi_run *run)
{
    if (run->kind == OUROI_RUN_POOL)
        ouroi_fail("%s: block %p (size class %u)", what, p, ((const struct ouroi_pool *)run)->block_bytes);
    ouroi_fail("%s: block %p (large block of %zu bytes)", what, p, run->bytes);
}

/* The slot that p lies in: its first byte and one past its last. */
static void slot_of(const void *p, const struct ouroi_run *run, char **start, char **end)
{
    if (run->kind != OUROI_RUN_POOL) {
        *start = (char *)run->start;
        *end = *start + run->bytes - (run->guarded ? ouroi_machine.page_bytes : 0);
        return;
    }
    const struct ouroi_pool *pool = (const struct ouroi_pool *)run;
    *start = (char *)run->start + ((uintptr_t)p - run->start) / pool->block_bytes * pool->block_bytes;
    *end = *start + pool->block_bytes;
}

static bool is_filled(const char *from, const char *to, unsigned char with)
{
    for (; from < to; from++)
        if ((unsigned char)*from != with)
            return false;
    return true;
}

/* Under a limit of data the page would be counted as gone, and, where the limit is reached, could not be had again. */
static bool is_data_limited(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
}

static void guard(struct ouroi_run *run)
{
    size_t page = ouroi_machine.page_bytes;
    run->guarded = guards < GUARDS && !is_data_limited() &&
                   ouroi_os.protect((void *)(run->start + run->bytes - page), page, false) == 0;
    guards += run->guarded;
}

static bool is_in_guard(const void *p, const struct ouroi_run *run)
{
    return run->guarded && (uintptr_t)p - run->start >= run->bytes - ouroi_machine.page_bytes;
}

/* Makes all of a run usable again. False: the kernel will not. */
static bool open_run(struct ouroi_run *run)
{
    if (!run->guarded)
        return true;
    if (ouroi_os.protect((void *)run->start, run->bytes, true) != 0)
        return false;
    run->guarded = run->asleep = 0;
    guards--;
    return true;
}

static bool is_sample(const struct ouroi_run *run)
{
    return run->kind == OUROI_RUN_LARGE && run->slices == 1; /* what is large by its size has more */
}

/* Bit maps of pools that are no more, linked by their first word. */
static uint64_t *free_bitmaps;

static uint64_t *new_bitmap(void)
{
    uint64_t *bitmap = free_bitmaps;
    if (bitmap == NULL)
        return ouroi_meta_alloc(BITMAP_WORDS * sizeof *bitmap);
    free_bitmaps = (uint64_t *)(uintptr_t)bitmap[0];
    memset(bitmap, 0, BITMAP_WORDS * sizeof *bitmap);
    return bitmap;
}

static void drop_bitmap(uint64_t *bitmap)
{
    bitmap[0] = (uintptr_t)free_bitmaps;
    free_bitmaps = bitmap;
}

static void link_pool(struct ouroi_pool *pool)
{
    struct ouroi_pool **first = &pools[pool->run.size_class];
    pool->previous = NULL;
    pool->next = *first;
    if (*first != NULL)
        (*first)->previous = pool;
    *first = pool;
    pool->linked = true;
}

static void unlink_pool(struct ouroi_pool *pool)
{
    if (pool->next != NULL)
        pool->next->previous = pool->previous;
    if (pool->previous != NULL)
        pool->previous->next = pool->next;
    else
        pools[pool->run.size_class] = pool->next;
    pool->next = pool->previous = NULL;
    pool->linked = false;
}

static struct ouroi_pool *new_pool(unsigned size_class)
{
    uint64_t *bitmap = new_bitmap();
    struct ouroi_pool *pool = bitmap != NULL ? ouroi_pool_new(ouroi_arena_node(), size_class, false) : NULL;
    if (pool == NULL) {
        if (bitmap != NULL)
            drop_bitmap(bitmap);
        return NULL;
    }
    ouroi_pool_drop_marks(pool);
    pool->live = bitmap;
    pool->carved = pool->capacity;
    ouroi_arena_note_used((ptrdiff_t)((size_t)pool->carved * pool->block_bytes));
    link_pool(pool);
    return pool;
}

/* An empty pool goes back, if its class has another. */
static void drop_pool(struct ouroi_pool *pool)
{
    if (pool->next == NULL && pool->previous == NULL)
        return;
    unlink_pool(pool);
    drop_bitmap(pool->live);
    pool->live = NULL;
    ouroi_pool_release(pool);
}

/* A random free slot of the pool, which has one. */
static char *take_slot(struct ouroi_pool *pool)
{
    uint32_t at = (uint32_t)(ouroi_random_next(&random_state) % pool->capacity);
    while ((pool->live[at / 64] >> at % 64 & 1) != 0)
        at = at + 1 == pool->capacity ? 0 : at + 1;
    pool->live[at / 64] |= (uint64_t)1 << at % 64;
    OUROI_OWNED_ADD(&pool->used, 1);
    if (pool->used == pool->capacity)
        unlink_pool(pool);
    return (char *)pool->run.start + (size_t)at * pool->block_bytes;
}

static char *take_small(unsigned size_class)
{
    struct ouroi_pool *pool = pools[size_class];
    if (pool == NULL && (pool = new_pool(size_class)) == NULL)
        return NULL;
    return take_slot(pool);
}

/* A large block of which only the first slice is in the map may begin, for its user, in another one. */
static void set_inner_slice(const void *p, struct ouroi_run *run, struct ouroi_run *value)
{
    uintptr_t slice = ouroi_align_down((uintptr_t)p, OUROI_SLICE_BYTES);
    if (run->kind == OUROI_RUN_HUGE && slice != run->start)
        ouroi_slices_set(slice, 1, value);
}

/* Runs that the kernel would not open: a limit came after the guard. */
static struct ouroi_run *stuck;

static void free_run(struct ouroi_run *run)
{
    if (run->kind == OUROI_RUN_HUGE) {
        guards -= run->guarded;
    } else if (!open_run(run)) {
        ouroi_run_member(run)->next = stuck;
        stuck = run;
        return;
    }
    samples -= is_sample(run);
    ouroi_run_member(run)->next = NULL;
    ouroi_large_free(run);
}

static void free_large(const void *p, struct ouroi_run *run)
{
    struct ouroi_run *again = stuck;
    set_inner_slice(p, run, NULL);
    free_run(run);
    if (again != NULL && again == stuck) {
        stuck = ouroi_run_member(again)->next;
        free_run(again);
    }
}

/* A small block whose end is at a guard, where it is the turn of one; else NULL. */
static char *take_sample(size_t lead, size_t size)
{
    size_t page = ouroi_machine.page_bytes, bytes = ouroi_align_up(lead + size, page) + page;
    if (unsampled > 0) {
        unsampled--;
        return NULL;
    }
    unsampled = (unsigned)(ouroi_random_next(&random_state) % (2 * SAMPLE_EVERY));
    if (samples == SAMPLES || bytes > OUROI_SLICE_BYTES)
        return NULL;
    char *start = ouroi_large_alloc(bytes, lead, false);
    if (start == NULL)
        return NULL;
    samples++;
    guard(ouroi_run_find(start));
    return start;
}

/* Lets the oldest quarantined block go, after a look at it. */
static void leave_quarantine(void)
{
    struct freed freed = quarantine[quarantine_first];
    char *start, *end;
    quarantine_first = (quarantine_first + 1) % QUARANTINE;
    quarantine_count--;
    quarantine_bytes -= freed.size;
    slot_of(freed.p, freed.run, &start, &end);
    if (!freed.run->asleep && (!is_filled(freed.p, end, POISON) || header_of(freed.p)->mark != dead_mark(freed.p)))
        report("write after free", freed.p, freed.run);
    if (freed.run->kind != OUROI_RUN_POOL) {
        free_large(freed.p, freed.run);
        return;
    }
    struct ouroi_pool *pool = ouroi_pool_of(freed.run);
    uint32_t at = (uint32_t)(((uintptr_t)start - freed.run->start) / pool->block_bytes);
    pool->live[at / 64] &= ~((uint64_t)1 << at % 64);
    OUROI_OWNED_ADD(&pool->settled_frees, 1);
    if (!pool->linked)
        link_pool(pool);
    OUROI_OWNED_ADD(&pool->used, (uint32_t)-1);
    if (pool->used == 0)
        drop_pool(pool);
}

/* A look at all that is in quarantine, at the end of the process. */
__attribute__((destructor)) static void check_quarantine(void)
{
    if (!ouroi_options.secure)
        return;
    ouroi_lock_acquire(&lock);
    for (unsigned i = 0; i < quarantine_count; i++) {
        struct freed freed = quarantine[(quarantine_first + i) % QUARANTINE];
        char *start, *end;
        slot_of(freed.p, freed.run, &start, &end);
        if (!freed.run->asleep && !is_filled(freed.p, end, POISON))
            report("write after free", freed.p, freed.run);
    }
    ouroi_lock_release(&lock);
}

static void start_secret(void)
{
    int local;
    secret = random_state = ouroi_os.now_ns() * 0x9e3779b97f4a7c15u ^ (uintptr_t)&local;
    unsampled = (unsigned)(ouroi_random_next(&random_state) % (2 * SAMPLE_EVERY));
}

static void *alloc_noted(size_t alignment, size_t size, const struct ouroi_site *site, size_t asked)
{
    size_t lead = alignment < HEADER_BYTES ? HEADER_BYTES : alignment;
    if (size > PTRDIFF_MAX - TAIL_BYTES || alignment > PTRDIFF_MAX / 4 || size + TAIL_BYTES > PTRDIFF_MAX - lead)
        return NULL;
    size_t bytes = lead + size + TAIL_BYTES;
    size_t small = ouroi_class_aligned(lead, bytes);
    ouroi_lock_acquire(&lock);
    if (secret == 0)
        start_secret();
    char *start;
    for (;;) {
        start = small == 0 ? ouroi_large_alloc(bytes + ouroi_machine.page_bytes, lead, false) : take_sample(lead, size);
        if (small != 0 && start == NULL)
            start = take_small(ouroi_class_of(small));
        if (start != NULL && small == 0)
            guard(ouroi_run_find(start));
        if (start != NULL || quarantine_count == 0)
            break;
        while (quarantine_count > 0)
            leave_quarantine();
    }
    if (start != NULL && site != NULL)
        ouroi_traced_note(&ledger, ouroi_run_find(start), start, site, asked);
    ouroi_lock_release(&lock);
    if (start == NULL)
        return NULL;
    struct ouroi_run *run = ouroi_run_find(start);
    char *p = start + lead, *slot, *end;
    slot_of(start, run, &slot, &end);
    if (is_sample(run) && run->guarded)
        p = (char *)ouroi_align_down((uintptr_t)end - size, lead);
    *header_of(p) = (struct header){ size ^ secret, live_mark(p) };
    if (small != 0)
        memset(p, POISON, size);
    else
        set_inner_slice(p, run, run);
    memset(p + size, TAIL, (size_t)(end - p) - size);
    return p;
}

static OUROI_NOINLINE void *alloc_traced(size_t alignment, size_t size, size_t asked, const char *type)
{
    struct ouroi_site site;
    size_t lead = alignment < HEADER_BYTES ? HEADER_BYTES : alignment;
    size_t small =
        size <= PTRDIFF_MAX - TAIL_BYTES && alignment <= PTRDIFF_MAX / 4 && size + TAIL_BYTES <= PTRDIFF_MAX - lead
            ? ouroi_class_aligned(lead, lead + size + TAIL_BYTES)
            : 0;
    bool chosen = ouroi_traced_chosen(small != 0 ? small : asked);
    if (chosen)
        ouroi_traced_site(&site, type);
    return alloc_noted(alignment, size, chosen ? &site : NULL, asked);
}

void *ouroi_secure_alloc(size_t alignment, size_t size, size_t asked, const char *type)
{
    if (OUROI_UNLIKELY(ouroi_traced_mode() != OUROI_TRACING_OFF))
        return alloc_traced(alignment, size, asked, type);
    return alloc_noted(alignment, size, NULL, asked);
}

void ouroi_secure_settle(void)
{
    ouroi_lock_acquire(&lock);
    ouroi_lock_release(&lock);
}

void ouroi_secure_each_ledger(void (*fn)(struct ouroi_ledger *ledger, void *arg), void *arg)
{
    ouroi_lock_acquire(&lock);
    if (ledger.counts != NULL)
        fn(&ledger, arg);
    ouroi_lock_release(&lock);
}

void ouroi_secure_look(const void *p, struct ouroi_run *run, void (*fn)(uint64_t token, void *arg), void *arg)
{
    char *start, *end;
    ouroi_lock_acquire(&lock);
    slot_of(p, run, &start, &end);
    if (run->kind != OUROI_RUN_POOL ||
        ((uintptr_t)p - run->start) / ouroi_pool_of(run)->block_bytes < ouroi_pool_of(run)->capacity)
        fn(ouroi_traced_token(run, p), arg);
    ouroi_lock_release(&lock);
}

/* The size of a living block; stops the process if p is none. */
static size_t check_living(const void *p, const struct ouroi_run *run, const char *what)
{
    char *start, *end;
    char line[64];
    slot_of(p, run, &start, &end);
    if (run->asleep) {
        ouroi_format(line, sizeof line, "%s of a freed block", what);
        report(line, p, run);
    }
    const struct header *header = header_of(p);
    bool inside = (uintptr_t)p % OUROI_ALIGN == 0 && (const char *)header >= start && !is_in_guard(header, run);
    if (inside && header->mark == dead_mark(p)) {
        ouroi_format(line, sizeof line, "%s of a freed block", what);
        report(line, p, run);
    }
    if (!inside || header->mark != live_mark(p)) {
        ouroi_format(line, sizeof line, "%s inside a block, or of one written to before its start", what);
        report(line, p, run);
    }
    size_t size = header->size ^ secret;
    if (size > (size_t)(end - (const char *)p))
        report("write before the start of a block", p, run);
    if (!is_filled((const char *)p + size, end, TAIL))
        report("write past the end of a block", p, run);
    return size;
}

void ouroi_secure_free(void *p, struct ouroi_run *run, size_t size, bool sized)
{
    ouroi_lock_acquire(&lock);
    size_t have = check_living(p, run, "free");
    if (sized && have != size)
        report("free with a size that it was not allocated with", p, run);
    char *start, *end;
    if (run->kind == OUROI_RUN_LARGE && !is_sample(run))
        open_run(run); /* poison will tell */
    slot_of(p, run, &start, &end);
    ouroi_traced_forget(&ledger, run, p);
    header_of(p)->mark = dead_mark(p);
    if (run->kind == OUROI_RUN_HUGE) {
        free_large(p, run);
    } else {
        memset(p, POISON, (size_t)(end - (char *)p));
        if (is_sample(run) && run->guarded)
            run->asleep = ouroi_os.protect(start, (size_t)(end - start), false) == 0;
        size_t bytes = (size_t)(end - start);
        while (quarantine_count > 0 && (quarantine_count == QUARANTINE || quarantine_bytes + bytes > QUARANTINE_BYTES))
            leave_quarantine();
        quarantine[(quarantine_first + quarantine_count++) % QUARANTINE] = (struct freed){ p, run, bytes };
        quarantine_bytes += bytes;
    }
    ouroi_lock_release(&lock);
}

/* A block that stays where it is: see region.c. */
static OUROI_NOINLINE void note_again(const void *p, struct ouroi_run *run, size_t size)
{
    struct ouroi_site site;
    if (ouroi_traced_mode() == OUROI_TRACING_SAMPLED && ouroi_traced_token(run, p) == 0)
        return;
    ouroi_traced_site(&site, NULL);
    ouroi_lock_acquire(&lock);
    ouroi_traced_forget(&ledger, run, p);
    ouroi_traced_note(&ledger, run, p, &site, size);
    ouroi_lock_release(&lock);
}

void *ouroi_secure_realloc(void *p, struct ouroi_run *run, size_t size)
{
    size_t old = check_living(p, run, "realloc");
    char *start, *end;
    slot_of(p, run, &start, &end);
    size_t room = (size_t)(end - (char *)p);
    if (size + TAIL_BYTES <= room && (size >= room / 2 || room <= 128)) {
        header_of(p)->size = size ^ secret;
        if (size > old && run->kind == OUROI_RUN_POOL)
            memset((char *)p + old, POISON, size - old);
        memset((char *)p + size, TAIL, room - size);
        if (OUROI_UNLIKELY(ouroi_traced_mode() != OUROI_TRACING_OFF))
            note_again(p, run, size);
        return p;
    }
    void *fresh = ouroi_secure_alloc(OUROI_ALIGN, size, size, NULL);
    if (fresh == NULL)
        return NULL;
    memcpy(fresh, p, size < old ? size : old);
    ouroi_secure_free(p, run, 0, false);
    return fresh;
}

size_t ouroi_secure_usable(const void *p, struct ouroi_run *run)
{
    return check_living(p, run, "usable_size");
}

void ouroi_secure_count(struct ouroi_heap_counts *counts)
{
    ouroi_lock_acquire(&lock);
    counts->quarantined = quarantine_count;
    for (unsigned i = 0; i < quarantine_count; i++) {
        const struct ouroi_run *run = quarantine[(quarantine_first + i) % QUARANTINE].run;
        if (run->kind == OUROI_RUN_POOL) {
            counts->frees[run->size_class]++;
        } else {
            counts->large_blocks--;
            counts->large_waiting++;
            counts->large_bytes -= run->bytes;
        }
    }
    ouroi_lock_release(&lock);
}

void ouroi_secure_fork_prepare(void)
{
    ouroi_lock_acquire(&lock);
}

void ouroi_secure_fork_done(bool child)
{
    if (child)
        ouroi_lock_reset(&lock);
    else
        ouroi_lock_release(&lock);
}
