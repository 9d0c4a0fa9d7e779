/* sched/search.c: the collector's deque; a search of the dead by two and three workers, of which each may be the last to find
 * that nothing is left to be done.
 *
 * Held to     each item of the deque is got once; what is reachable lives, what is not is found, by whatever worker; the
 *             search ends.
 */
#include <string.h>

#include "gc/internal.h"
#include "harness.h"
#include "os/os.h"
#include "world/internal.h"

#include <ouro/ouro.h>

/* The deque, nearly full, so that its owner finds it so and items are overwritten. */
enum { GIVEN = 3, ITEMS = OUROI_DEQUE_ROOM - 1 + GIVEN, STOLEN = 2 };

static struct ouroi_deque deque;
static unsigned char got[ITEMS];

static void get(void *item)
{
    if (item == NULL)
        return;
    uintptr_t index = (uintptr_t)item / 16 - 1;
    expect(index < ITEMS, "what came out of the deque never went in");
    expect(got[index]++ == 0, "an item was got twice");
}

static void *item_of(unsigned index)
{
    return (void *)(uintptr_t)((index + 1) * 16);
}

/* few: two items only, so that the last is fought for. */
static void fill(unsigned items)
{
    memset(&deque, 0, sizeof deque);
    memset(got, 0, sizeof got);
    for (unsigned i = 0; i < items; i++)
        expect(ouroi_deque_give(&deque, item_of(i)), "the deque is full too early");
    share_nothing();
    share(&deque, sizeof deque);
}
static unsigned filled;
static void fill_nearly(void)
{
    fill(filled = OUROI_DEQUE_ROOM - 1);
}
static void fill_two(void)
{
    fill(filled = 2);
}

static void give_and_take(void)
{
    for (unsigned i = 0; i < GIVEN; i++)
        while (!ouroi_deque_give(&deque, item_of(filled + i)))
            get(ouroi_deque_take(&deque));
    get(ouroi_deque_take(&deque));
}
static void give_against_steal(unsigned thread)
{
    if (thread == 0)
        give_and_take();
    else
        for (unsigned i = 0; i < STOLEN; i++)
            get(ouroi_deque_steal(&deque));
}
static void take_against_steal(unsigned thread)
{
    for (unsigned i = 0; i < STOLEN; i++)
        get(thread == 0 ? ouroi_deque_take(&deque) : ouroi_deque_steal(&deque));
}
static unsigned given;
static void give_some(unsigned thread)
{
    give_against_steal(thread);
    given = GIVEN;
}
static void give_none(unsigned thread)
{
    take_against_steal(thread);
    given = 0;
}

static void all_got(void)
{
    void *item;
    while ((item = ouroi_deque_take(&deque)) != NULL)
        get(item);
    for (unsigned i = 0; i < filled + given; i++)
        expect(got[i] == 1, "an item was lost");
}

static bool look_at_words(unsigned thread, const void *address, const char *file)
{
    (void)thread;
    return is_shared(address, file);
}

/* The search. Thread 0 collects; the others are its workers. */

struct node {
    ouro_object base;
    struct node *refs[4];
};
static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, refs[0], refs[1], refs[2], refs[3]));

enum { RING = 3, TREE = 1 + 4 + 16 };
static struct {
    void (*work)(void *arg, unsigned index, unsigned count);
    void *arg;
    uint32_t number; /* of jobs so far; a futex word, and `unfinished` is one */
    uint32_t unfinished;
    bool over;
} job;
static struct node *root, *ring;
static struct ouroi_search search;
static size_t dead;

static void run_here(unsigned count, void (*work)(void *arg, unsigned index, unsigned count), void *arg)
{
    job.work = work;
    job.arg = arg;
    job.unfinished = count - 1;
    share_nothing();
    share(&search.idle, sizeof search.idle);
    for (unsigned i = 0; i < count; i++)
        share(&search.searchers[i].deque, sizeof search.searchers[i].deque);
    job.number++;
    ouroi_os.futex_wake(&job.number, count);
    work(arg, 0, count);
    while (job.unfinished != 0)
        ouroi_os.futex_wait(&job.unfinished, job.unfinished, 0);
}

static void be_a_worker(unsigned index)
{
    for (uint32_t seen = 0;;) {
        while (job.number == seen)
            ouroi_os.futex_wait(&job.number, seen, 0);
        seen++;
        if (job.over)
            return;
        job.work(job.arg, index, search.workers);
        job.unfinished--;
        ouroi_os.futex_wake(&job.unfinished, 1);
    }
}

static void collect(unsigned workers)
{
    ouroi_world_stop();
    ouroi_workers_hook = run_here;
    expect(ouroi_search_begin(&search, 0) == 0 && ouroi_search_run(&search, workers) == 0, "no memory");
    expect(search.workers == workers, "another number of workers");
    dead = search.dead_count;
    ouroi_search_abandon(&search);
    ouroi_search_reset(&search);
    ouroi_workers_hook = NULL;
    ouroi_world_start();
    job.over = true;
    job.number++;
    ouroi_os.futex_wake(&job.number, workers);
}

static void two_search(unsigned thread)
{
    if (thread == 0)
        collect(2);
    else
        be_a_worker(thread);
}
static void three_search(unsigned thread)
{
    if (thread == 0)
        collect(3);
    else
        be_a_worker(thread);
}

static struct node *new_node(void)
{
    struct node *node = ouro_new(&node_type);
    expect(node != NULL, "no memory");
    return node;
}

static struct node *new_tree(unsigned level)
{
    struct node *node = new_node();
    for (unsigned i = 0; level > 0 && i < 4; i++)
        node->refs[i] = new_tree(level - 1);
    return node;
}

/* A tree that is held, and a ring that is not. */
static void make(unsigned thread)
{
    memset(&job, 0, sizeof job);
    share_nothing();
    if (thread != 0)
        return;
    expect(ouro_thread_register() == 0, "no memory");
    ouro_gc_disable();
    root = new_tree(2);
    ring = new_node();
    struct node *last = ring;
    for (unsigned i = 1; i < RING; i++)
        last = last->refs[0] = new_node();
    last->refs[0] = ring;
}

static void found(void)
{
    expect(dead >= RING, "something dead was not found");
    expect(dead <= RING, "something that lives was found dead");
}

static void unmake(unsigned thread)
{
    if (thread != 0)
        return;
    struct node *next = ring->refs[0];
    ring->refs[0] = NULL;
    ouro_decref(next); /* down to the first again, by way of all */
    ouro_decref(root);
    ouro_safepoint();
    ouro_thread_unregister();
}

#define DEQUE(name_, threads_, preemptions_, begin_, body_)                                                        \
    {                                                                                                              \
        .name = (name_), .threads = (threads_), .preemptions = (preemptions_), .begin = (begin_), .body = (body_), \
        .end = all_got, .look = look_at_words                                                                      \
    }
#define SEARCH(name_, threads_, preemptions_, body_)                                                            \
    {                                                                                                           \
        .name = (name_), .threads = (threads_), .preemptions = (preemptions_), .before = make, .body = (body_), \
        .done = found, .after = unmake, .look = look_at_words                                                   \
    }

const struct ouroi_scenario scenarios[] = {
    DEQUE("give and take against steal", 2, 4, fill_nearly, give_some),
    DEQUE("take against steal", 2, ALL, fill_two, give_none),
    DEQUE("take against two that steal", 3, 3, fill_two, give_none),
    SEARCH("search by two", 2, 2, two_search),
    SEARCH("search by three", 3, 1, three_search),
};
const unsigned scenario_count = sizeof scenarios / sizeof scenarios[0];
const char program_name[] = "sched_search";

void scenarios_start(void)
{
    ouroi_search_worker_objects = 1;
}
