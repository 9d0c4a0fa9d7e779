/* memory/scenarios.c: the scenarios: what memory does while a program grows, shrinks, changes and sleeps.
 *
 * Owns        what stays alive at the end of a scenario; it is meant to be there while the process idles.
 * Invariants  every block is counted in and out by its size as asked for; no table of pointers as large as the blocks themselves
 *             stands beside them: lists run through the blocks.
 * Sync        threads in turn: each ends its spike before the next begins.
 * Source      none
 */
#include "scenario.h"

#include "sizes.h"
#include "stamp.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

/* Counts are kept back and added up every so often, so that counting does not become the work. */
struct ledger {
    int64_t bytes;
};

enum { LEDGER_STEP = 64 << 10, SPIKE_THREADS = 64, HANDED_THREADS = 8, VECTOR_COUNT = 24 };

static void ledger_add(struct ledger *ledger, int64_t bytes)
{
    ledger->bytes += bytes;
    if (ledger->bytes > LEDGER_STEP || ledger->bytes < -LEDGER_STEP) {
        ouroi_live_add(ledger->bytes);
        ledger->bytes = 0;
    }
}

static void ledger_close(struct ledger *ledger)
{
    ouroi_live_add(ledger->bytes);
    ledger->bytes = 0;
}

/* A block on a list: the link, then a stamped rest. */
struct link {
    struct link *next;
    unsigned char rest[];
};

static struct link *link_new(struct link *next, size_t size, struct ledger *ledger)
{
    struct link *link = ouroi_must(malloc(size));
    link->next = next;
    ouroi_stamp_set(link->rest, size - sizeof *link);
    ledger_add(ledger, (int64_t)size);
    return link;
}

static void link_free(struct link *link, struct ledger *ledger)
{
    ledger_add(ledger, -(int64_t)(ouroi_stamp_check(link->rest) + sizeof *link));
    free(link);
}

static struct link *list_grow(const struct ouroi_sizes *sizes, size_t bytes, struct ouroi_rand *rand,
                              struct ledger *ledger)
{
    struct link *list = NULL;
    for (size_t grown = 0; grown < bytes;) {
        size_t size = ouroi_sizes_draw(sizes, rand);
        list = link_new(list, size, ledger);
        grown += size;
    }
    return list;
}

/* Frees each block with `percent` in a hundred; returns what is left. */
static struct link *list_thin(struct link *list, unsigned percent, struct ouroi_rand *rand, struct ledger *ledger)
{
    struct link *left = NULL;
    for (struct link *next; list != NULL; list = next) {
        next = list->next;
        if (ouroi_rand_below(rand, 100) < percent)
            link_free(list, ledger);
        else {
            list->next = left;
            left = list;
        }
    }
    return left;
}

static void uniform_sizes(struct ouroi_sizes *sizes, uint64_t seed, uint32_t min_bytes, uint32_t max_bytes)
{
    struct ouroi_rand rand = ouroi_rand_seed(seed);
    for (size_t i = 0; i < OUROI_SIZES; i++)
        sizes->bytes[i] = ouroi_rand_between(&rand, min_bytes, max_bytes);
}

static struct link *kept;

static void grow_and_free(const struct ouroi_scenario_job *job, unsigned percent, uint32_t min_bytes,
                          uint32_t max_bytes)
{
    struct ouroi_sizes sizes;
    struct ledger ledger = { 0 };
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    uniform_sizes(&sizes, job->seed, min_bytes, max_bytes);
    kept = list_grow(&sizes, job->scale_bytes, &rand, &ledger);
    kept = list_thin(kept, percent, &rand, &ledger);
    ledger_close(&ledger);
}

static void free_all_run(const struct ouroi_scenario_job *job)
{
    grow_and_free(job, 100, 16, 256);
}

static void free_most_run(const struct ouroi_scenario_job *job)
{
    grow_and_free(job, 90, 16, 256);
}

static void free_most_pages_run(const struct ouroi_scenario_job *job)
{
    grow_and_free(job, 90, 2 << 10, 8 << 10);
}

/* A quarter of the scale lives at the top of each phase and all of it dies before the next. */
static void phases_run(const struct ouroi_scenario_job *job)
{
    static const uint16_t phase_sizes[] = { 32, 512, 64, 2048, 128, 4096, 96, 1024, 48, 256 };
    struct ouroi_sizes sizes;
    struct ledger ledger = { 0 };
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    for (size_t phase = 0; phase < sizeof phase_sizes / sizeof phase_sizes[0]; phase++) {
        for (size_t i = 0; i < OUROI_SIZES; i++)
            sizes.bytes[i] = phase_sizes[phase];
        list_thin(list_grow(&sizes, job->scale_bytes / 4, &rand, &ledger), 100, &rand, &ledger);
    }
    ledger_close(&ledger);
}

static struct link **cache_entries; /* alive while the process idles */

/* The budget is half the scale; eight times the budget passes through; the victim is random; sizes drift upward by half. */
static void cache_run(const struct ouroi_scenario_job *job)
{
    struct ouroi_sizes sizes;
    struct ledger ledger = { 0 };
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    size_t budget = job->scale_bytes / 2;
    ouroi_sizes_lognormal(&sizes, job->seed, 300, 1.2, 16, 64 << 10);
    uint32_t slots = (uint32_t)(budget / 300);
    struct link **entries = ouroi_must(calloc(slots, sizeof(struct link *)));
    ledger_add(&ledger, (int64_t)(slots * sizeof(struct link *)));
    size_t held = 0;
    for (size_t passed = 0; passed < 8 * budget;) {
        size_t size = ouroi_sizes_draw(&sizes, &rand);
        size += size * (passed / (budget / 4)) / 64;
        while (held + size > budget) {
            struct link **victim = &entries[ouroi_rand_below(&rand, slots)];
            if (*victim != NULL) {
                held -= ouroi_stamp_check((*victim)->rest) + sizeof(struct link);
                link_free(*victim, &ledger);
                *victim = NULL;
            }
        }
        struct link **place = &entries[ouroi_rand_below(&rand, slots)];
        if (*place != NULL) {
            held -= ouroi_stamp_check((*place)->rest) + sizeof(struct link);
            link_free(*place, &ledger);
        }
        *place = link_new(NULL, size, &ledger);
        held += size;
        passed += size;
    }
    cache_entries = entries;
    ledger_close(&ledger);
}

struct spikes {
    const struct ouroi_scenario_job *job;
    struct ouroi_sizes sizes;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    unsigned turn;
    bool over;
};

struct spike_thread {
    struct spikes *spikes;
    unsigned index;
    pthread_t thread;
};

/* Waits for its turn, grows to a sixteenth of the scale, frees all, and sleeps until the scenario is over. */
static void *spike_main(void *arg)
{
    struct spike_thread *self = arg;
    struct spikes *spikes = self->spikes;
    struct ledger ledger = { 0 };
    struct ouroi_rand rand = ouroi_rand_seed(spikes->job->seed * 1000 + self->index);
    pthread_mutex_lock(&spikes->lock);
    while (spikes->turn != self->index)
        pthread_cond_wait(&spikes->moved, &spikes->lock);
    pthread_mutex_unlock(&spikes->lock);
    list_thin(list_grow(&spikes->sizes, spikes->job->scale_bytes / 16, &rand, &ledger), 100, &rand, &ledger);
    ledger_close(&ledger);
    pthread_mutex_lock(&spikes->lock);
    spikes->turn++;
    pthread_cond_broadcast(&spikes->moved);
    while (!spikes->over)
        pthread_cond_wait(&spikes->moved, &spikes->lock);
    pthread_mutex_unlock(&spikes->lock);
    return NULL;
}

/* The threads live on while the process idles, as a pool's do. */
static void spikes_run(const struct ouroi_scenario_job *job)
{
    static struct spikes spikes = { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER };
    static struct spike_thread threads[SPIKE_THREADS];
    spikes.job = job;
    ouroi_sizes_server(&spikes.sizes, job->seed, 4096);
    for (unsigned i = 0; i < SPIKE_THREADS; i++) {
        threads[i].spikes = &spikes;
        threads[i].index = i;
        if (pthread_create(&threads[i].thread, NULL, spike_main, &threads[i]) != 0)
            ouroi_bench_die("cannot start thread %u", i);
        pthread_detach(threads[i].thread);
    }
    pthread_mutex_lock(&spikes.lock);
    while (spikes.turn != SPIKE_THREADS)
        pthread_cond_wait(&spikes.moved, &spikes.lock);
    pthread_mutex_unlock(&spikes.lock);
}

struct grown {
    uint64_t *items;
    size_t used;
    size_t room;
};

/* Vectors grow in random turns by half of their size, up to half the scale together; what lives is what
 * was written (an element in each 512 bytes), not the room behind it. */
static void vectors_run(const struct ouroi_scenario_job *job)
{
    static struct grown vectors[VECTOR_COUNT];
    struct ledger ledger = { 0 };
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    enum { STEP = 64 };
    size_t total = 0;
    while (total < job->scale_bytes / 2) {
        struct grown *vector = &vectors[ouroi_rand_below(&rand, VECTOR_COUNT)];
        size_t goal = vector->used + vector->used / 4 + 512;
        for (; vector->used < goal; vector->used += STEP) {
            if (vector->used + STEP > vector->room) {
                vector->room = vector->room < 128 ? 128 : vector->room + vector->room / 2;
                vector->items = ouroi_must(realloc(vector->items, vector->room * sizeof(uint64_t)));
            }
            vector->items[vector->used] = vector->used;
            ledger_add(&ledger, (int64_t)(STEP * sizeof(uint64_t)));
            total += STEP * sizeof(uint64_t);
        }
    }
    for (size_t i = 0; i < VECTOR_COUNT; i++) {
        for (size_t at = 0; at < vectors[i].used; at += STEP)
            if (vectors[i].items[at] != at)
                ouroi_bench_die("a vector lost element %zu", at);
        free(vectors[i].items);
        ledger_add(&ledger, -(int64_t)(vectors[i].used * sizeof(uint64_t)));
    }
    ledger_close(&ledger);
}

struct handed {
    const struct ouroi_scenario_job *job;
    const struct ouroi_sizes *sizes;
    unsigned index;
    struct link *list;
    pthread_t thread;
};

static void *handed_main(void *arg)
{
    struct handed *self = arg;
    struct ledger ledger = { 0 };
    struct ouroi_rand rand = ouroi_rand_seed(self->job->seed * 1000 + self->index);
    self->list = list_grow(self->sizes, self->job->scale_bytes / HANDED_THREADS, &rand, &ledger);
    ledger_close(&ledger);
    return NULL;
}

/* Threads fill memory and exit; the main thread frees all of it but one block in twenty. */
static void handed_run(const struct ouroi_scenario_job *job)
{
    static struct handed threads[HANDED_THREADS];
    struct ouroi_sizes sizes;
    struct ledger ledger = { 0 };
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    ouroi_sizes_server(&sizes, job->seed, 4096);
    for (unsigned i = 0; i < HANDED_THREADS; i++) {
        threads[i] = (struct handed){ .job = job, .sizes = &sizes, .index = i };
        if (pthread_create(&threads[i].thread, NULL, handed_main, &threads[i]) != 0)
            ouroi_bench_die("cannot start thread %u", i);
    }
    for (unsigned i = 0; i < HANDED_THREADS; i++)
        pthread_join(threads[i].thread, NULL);
    for (unsigned i = 0; i < HANDED_THREADS; i++)
        for (struct link *list = list_thin(threads[i].list, 95, &rand, &ledger), *next; list != NULL; list = next) {
            next = list->next;
            list->next = kept;
            kept = list;
        }
    ledger_close(&ledger);
}

/* A set of page numbers with open addressing; grows by being made large enough at once. */
struct page_set {
    uintptr_t *slots;
    size_t mask;
    size_t count;
};

static void page_set_add(struct page_set *set, uintptr_t page)
{
    size_t at = (size_t)((uint64_t)page * UINT64_C(0x9e3779b97f4a7c15) >> 20) & set->mask;
    while (set->slots[at] != 0 && set->slots[at] != page)
        at = (at + 1) & set->mask;
    set->count += set->slots[at] == 0;
    set->slots[at] = page;
}

size_t ouroi_scenario_pinned_bytes(void)
{
    size_t blocks = 0;
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    for (const struct link *link = kept; link != NULL; link = link->next)
        blocks++;
    struct page_set set = { .mask = 1023 };
    while (set.mask < 4 * blocks)
        set.mask = 2 * set.mask + 1;
    size_t bytes = (set.mask + 1) * sizeof *set.slots;
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return 0;
    set.slots = pages;
    for (const struct link *link = kept; link != NULL; link = link->next) {
        uintptr_t first = (uintptr_t)link;
        uintptr_t last = first + sizeof *link + ouroi_stamp_check(link->rest) - 1;
        for (uintptr_t page = first / page_bytes; page <= last / page_bytes; page++)
            page_set_add(&set, page);
    }
    munmap(pages, bytes);
    return set.count * page_bytes;
}

const struct ouroi_scenario ouroi_scenarios[] = {
    { "free-all", "grows to the scale in blocks of 16 to 256 bytes, frees all, idles", free_all_run },
    { "free-most", "the same, but one block in ten stays", free_most_run },
    { "free-most-2k", "the same with blocks of 2 to 8 KiB, of which a page holds few", free_most_pages_run },
    { "phases", "a quarter of the scale in one size, freed; then in the next, ten times", phases_run },
    { "cache", "half the scale, random victims, sizes that drift", cache_run },
    { "spikes", "64 threads, one after the other, grow to a sixteenth of the scale and free it", spikes_run },
    { "vectors", "24 vectors grow by half of themselves to half the scale together", vectors_run },
    { "handed", "eight threads fill the scale and exit; another frees all but one block in twenty", handed_run },
};

const size_t ouroi_scenario_count = sizeof ouroi_scenarios / sizeof ouroi_scenarios[0];
