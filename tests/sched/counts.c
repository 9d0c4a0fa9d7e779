/* sched/counts.c: the protocol of the counts, in every schedule with few preemptions, and in random ones.
 *
 * Each scenario keeps its own count of the references that exist. What it holds the library to:
 *
 *   destroy is called once, when no reference is left, never before;
 *   no thread but the one that destroys an object looks at its header from then on (but where it was in a slot or weakly
 *   referenced, and its memory waits in limbo);
 *   where the owner has gone or is in a blocking region, the object is dead as soon as the last reference is dropped;
 *   a count that is left is exact at the end.
 *
 * That this can fail: README.md tells three mutations of the library which are found.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sched.h"
#include "object/object.h"
#include "os/os.h"
#include "weakref/internal.h"

#include <ouro/ouro.h>

struct leaf {
    ouro_object base;
    uint64_t mark;
};
#define MARK 0x6c6561662d6f6b21u
enum { NOBODY = -1 };

/* The object of a round, and what is known of it. */
static struct {
    struct leaf *leaf;
    int held;             /* references that exist */
    int destroyed;        /* times */
    int destroyer;        /* the thread that has called destroy and not yet come back */
    bool looked_at_later; /* it was in a slot or weakly referenced */
} the;
static ouro_slot slot;
static ouro_weakref *weak;
static int given_back; /* references that thread 1 has left to thread 0 */
static __thread int me = NOBODY;

static void expect(bool is, const char *what)
{
    if (!is)
        ouroi_sched_fail(what);
}

static void leaf_destroy(ouro_object *self)
{
    expect((struct leaf *)self == the.leaf, "destroy of another object");
    expect(the.destroyed == 0, "destroy is called twice");
    expect(the.held == 0, "destroy while somebody holds a reference");
    expect(((struct leaf *)self)->mark == MARK, "the object was overwritten");
    the.destroyed++;
    the.destroyer = me;
}

/* Its type has a destroy, so it is not plain: its death goes the longer way. */
static ouro_type leaf_type = { .name = "leaf", .size = sizeof(struct leaf), .destroy = leaf_destroy };

static void make(void)
{
    the.leaf = ouro_new(&leaf_type);
    expect(the.leaf != NULL, "no memory");
    the.leaf->mark = MARK;
    the.held = 1;
}

static void use(void)
{
    expect(the.destroyed == 0, "used after destroy");
    expect(the.leaf->mark == MARK, "the object was overwritten");
}

static void take(void)
{
    use();
    ouro_incref(the.leaf);
    the.held++;
    use();
}

static void drop(void)
{
    use();
    the.held--;
    ouro_decref(the.leaf);
    if (the.destroyer == me)
        the.destroyer = NOBODY; /* its memory is free */
}

/* Which words are shared: the object's header; the threads' states, requests and queues; slots, weak references, and what is
 * static in the library, such as its locks, but the heap's. */
enum { WORDS_MAX = 64 };
static struct range {
    uintptr_t begin, end;
} shared[WORDS_MAX];
static unsigned shared_count;
extern char __data_start[], _end[];

static void share(const void *at, size_t bytes)
{
    if (at != NULL && shared_count < WORDS_MAX)
        shared[shared_count++] = (struct range){ (uintptr_t)at, (uintptr_t)at + bytes };
}

static void share_thread(struct ouroi_thread *thread, void *arg)
{
    (void)arg;
    share(thread, sizeof *thread);
    share(thread->object, offsetof(struct ouroi_object_thread, dying));
    if (thread->object != NULL)
        share(&ouroi_object_thread(thread)->lock, sizeof(struct ouroi_lock));
    share(thread->self, sizeof *thread->self);
}

/* Whether a static word is the heap's, or that of a layer below, which have their own protocols, and whose words are looked
 * at in some rounds and not in others. */
static bool is_of_heap(const void *address, const char *file)
{
    static const char *const layers[] = { "lib/arena/", "lib/pool/", "lib/heap/" };
    for (unsigned i = 0; i < sizeof layers / sizeof layers[0]; i++)
        if (strstr(file, layers[i]) != NULL)
            return true;
    return strstr(file, "lib/sync/lock.c") != NULL && ((const struct ouroi_lock *)address)->rank >= OUROI_RANK_START;
}

static bool look(unsigned thread, const void *address, const char *file)
{
    uintptr_t at = (uintptr_t)address, header = (uintptr_t)the.leaf;
    if (at - header < sizeof(ouro_object)) {
        expect(the.destroyed == 0 || the.looked_at_later || (int)thread == the.destroyer,
               "the header is looked at after destroy");
        return true;
    }
    for (unsigned i = 0; i < shared_count; i++)
        if (at >= shared[i].begin && at < shared[i].end)
            return !is_of_heap(address, file);
    return false;
}

/* What all rounds have in common. The program's first thread is in a blocking region while the others run. */

static void begin(void)
{
    memset(&the, 0, sizeof the);
    the.destroyer = NOBODY;
    weak = NULL;
    given_back = 0;
}

static void join(unsigned thread)
{
    me = (int)thread;
    expect(ouro_thread_register() == 0, "no memory");
    ouro_safepoint();
}

static void share_all(void)
{
    shared_count = 0;
    ouroi_thread_each(share_thread, NULL);
    share(__data_start, (size_t)(_end - __data_start));
    share(weak, sizeof *weak);
}

static void leave(unsigned thread)
{
    (void)thread;
    if (ouro_thread_is_registered())
        ouro_safepoint();
    ouro_thread_unregister();
}

static void end(void)
{
    ouro_blocking_end();
    if (the.held > 0) {
        expect(the.destroyed == 0, "destroyed while somebody holds a reference");
        expect(ouroi_object_count(&the.leaf->base) == the.held, "the count is not the number of references");
        while (the.held > 0)
            drop();
    }
    expect(the.destroyed == 1, "never destroyed");
    if (weak != NULL) {
        expect(ouro_weakref_get(weak) == NULL, "a weak reference to a dead object");
        ouro_decref(weak);
    }
    ouroi_object_drain(ouroi_thread_self);
    ouro_blocking_begin();
}

/* Without a safepoint of anybody after. */
static void expect_dead_at_once(void)
{
    expect(the.held > 0 || the.destroyed == 1, "not destroyed though its owner is gone or blocked");
}

/* Thread 0 makes the object and hands a reference to each of the others. */
static void hand_out(unsigned thread, unsigned threads, unsigned each)
{
    join(thread);
    if (thread != 0)
        return;
    make();
    for (unsigned i = 0; i < (threads - 1) * each; i++)
        take();
    share_all();
}
static void hand_one(unsigned thread)
{
    hand_out(thread, 2, 1);
    share_all();
}
static void hand_two(unsigned thread)
{
    hand_out(thread, 2, 2);
    share_all();
}
static void hand_one_to_each_of_two(unsigned thread)
{
    hand_out(thread, 3, 1);
    share_all();
}
/* The other took its reference itself. */
static void other_took_one(unsigned thread)
{
    join(thread);
    if (thread == 0) {
        make();
    } else {
        take();
    }
    share_all();
}

/* The owner's part. */
static void owner_drops(void)
{
    use();
    drop();
}
static void owner_drops_at_safepoints(void)
{
    ouro_safepoint();
    drop();
    ouro_safepoint();
}
static void owner_blocks(void)
{
    drop();
    ouro_blocking_begin();
}
static void owner_goes(void)
{
    drop();
    ouro_thread_unregister();
}
static void owner_blocks_between(void)
{
    ouro_blocking_begin();
    ouro_blocking_end();
    take();
    drop();
    drop();
}

static void pair_and_last(unsigned thread)
{
    if (thread == 0) {
        owner_drops();
    } else {
        take();
        drop();
        drop();
    }
}
static void owner_counts_too(unsigned thread)
{
    take();
    drop();
    drop();
    (void)thread;
}
static void drop_two_runs(unsigned thread)
{
    if (thread == 0) {
        owner_drops_at_safepoints();
    } else {
        drop();
        drop();
    }
}
static void drop_two_keeps(unsigned thread)
{
    if (thread == 0) {
        ouro_safepoint();
        take();
        drop();
        ouro_safepoint();
    } else {
        drop();
        drop();
    }
}
static void drop_two_blocks(unsigned thread)
{
    if (thread == 0) {
        owner_blocks();
    } else {
        drop();
        drop();
    }
}
static void drop_two_goes(unsigned thread)
{
    if (thread == 0) {
        owner_goes();
    } else {
        drop();
        drop();
    }
}
/* The other drops more than it took, takes one, and gives both that it has back: the owner's count comes to zero while the
 * object is in its queue. */
static void gives_back(unsigned thread)
{
    if (thread == 0) {
        drop();
        while (given_back == 0)
            sched_yield();
        drop();
        drop();
        ouro_safepoint();
    } else {
        drop();
        take();
        given_back = 2;
    }
}
static void drop_one_goes(unsigned thread)
{
    if (thread == 0)
        owner_goes();
    else
        drop();
}
static void drop_one_blocks(unsigned thread)
{
    if (thread == 0)
        owner_blocks();
    else
        drop();
}
static void hold_against_end(unsigned thread)
{
    if (thread == 0)
        owner_blocks_between();
    else
        drop();
}

/* The owner blocks, or is gone, from the beginning; who comes last frees. */
static void two_drop_of_the_blocked(unsigned thread)
{
    hand_one_to_each_of_two(thread);
    if (thread == 2) /* the last to come here; thread 0 blocks in its body */
        share_all();
}
static void owner_of_three_blocks(unsigned thread)
{
    if (thread == 0)
        owner_blocks();
    else
        drop();
}
static void owner_of_three_goes(unsigned thread)
{
    if (thread == 0)
        owner_goes();
    else
        drop();
}
static void owner_of_three_runs(unsigned thread)
{
    if (thread == 0)
        owner_drops_at_safepoints();
    else
        drop();
}

/* The owner is gone, and was the last to join, so that its number is the next that is given out. */
static void owner_is_gone(unsigned thread, unsigned threads)
{
    join(thread);
    if (thread == threads - 1) {
        make();
        take();
        ouro_thread_unregister();
    }
    share_all();
}
static void second_is_gone(unsigned thread)
{
    owner_is_gone(thread, 2);
}
static void third_is_gone(unsigned thread)
{
    owner_is_gone(thread, 3);
}
/* The first decref of a thread that is gone registers it again, by its old number. */
static void both_drop(unsigned thread)
{
    (void)thread;
    drop();
}
static void both_drop_another_comes(unsigned thread)
{
    if (thread == 2)
        expect(ouro_thread_register() == 0, "no memory");
    else
        drop();
}

/* The owner goes, another thread comes and may get its number; a third drops. */
static void owner_hands_over(unsigned thread)
{
    me = (int)thread;
    if (thread != 1)
        hand_out(thread, 3, 1);
    share_all();
}
static void new_owner_of_number(unsigned thread)
{
    if (thread == 0) {
        owner_goes();
    } else if (thread == 1) {
        expect(ouro_thread_register() == 0, "no memory");
        ouro_safepoint();
        drop();
        ouro_safepoint();
    } else {
        drop();
    }
}

/* Slots. */
static void fill_slot(unsigned thread)
{
    join(thread);
    if (thread == 0) {
        make();
        the.looked_at_later = true;
        take();
        ouro_slot_exchange(&slot, the.leaf); /* the slot has one */
        drop();
    }
    share_all();
}
static void empty_slot(void)
{
    void *was = ouro_slot_exchange(&slot, NULL);
    expect(was == the.leaf, "the slot held something else");
    drop();
}
static void load_slot(void)
{
    void *found = ouro_slot_load(&slot);
    if (found == NULL)
        return;
    expect(found == the.leaf, "the slot held something else");
    the.held++;
    use();
    drop();
}
static void owner_empties(unsigned thread)
{
    if (thread == 0)
        empty_slot();
    else
        load_slot();
}
static void other_empties(unsigned thread)
{
    if (thread == 0)
        load_slot();
    else
        empty_slot();
}
static void store_null(unsigned thread)
{
    if (thread == 0) {
        the.held--;
        ouro_slot_store(&slot, NULL);
    } else {
        load_slot();
    }
}
static void two_others(unsigned thread)
{
    if (thread == 0)
        ouro_safepoint();
    else if (thread == 1)
        empty_slot();
    else
        load_slot();
}
static void two_others_owner_blocks(unsigned thread)
{
    if (thread == 0)
        ouro_blocking_begin();
    else
        two_others(thread);
}

/* Weak references. */
static void refer_weakly(unsigned thread)
{
    join(thread);
    if (thread == 0) {
        make();
        the.looked_at_later = true;
        weak = ouro_weakref_new(the.leaf, NULL, NULL);
        expect(weak != NULL, "no memory");
    }
    share_all();
}
static void get_weak(void)
{
    void *found = ouro_weakref_get(weak);
    if (found == NULL)
        return;
    expect(found == the.leaf, "the weak reference led to something else");
    the.held++;
    use();
    drop();
}
static void owner_drops_last(unsigned thread)
{
    if (thread == 0)
        drop();
    else
        get_weak();
}
static void other_drops_last(unsigned thread)
{
    if (thread == 0)
        get_weak();
    else
        drop();
}
static void owner_drops_last_and_goes(unsigned thread)
{
    if (thread == 0)
        owner_goes();
    else
        get_weak();
}

enum { ALL = 1000 }; /* preemptions: there are no more schedules than with that many */

#define SCENARIO(name_, threads_, preemptions_, before_, body_, done_)                                              \
    {                                                                                                               \
        .name = (name_), .threads = (threads_), .preemptions = (preemptions_), .begin = begin, .before = (before_), \
        .body = (body_), .done = (done_), .after = leave, .end = end, .look = look                                  \
    }

static const struct ouroi_scenario scenarios[] = {
    SCENARIO("owner's last against another's pair", 2, ALL, other_took_one, pair_and_last, NULL),
    SCENARIO("both count", 2, 3, hand_one, owner_counts_too, NULL),
    SCENARIO("drops more than it took, owner runs", 2, 3, hand_two, drop_two_runs, NULL),
    SCENARIO("drops more than it took, owner keeps one", 2, 3, hand_two, drop_two_keeps, NULL),
    SCENARIO("drops more than it took, owner blocks", 2, 3, hand_two, drop_two_blocks, expect_dead_at_once),
    SCENARIO("drops more than it took, owner goes", 2, 3, hand_two, drop_two_goes, NULL),
    SCENARIO("drops more than it took, gives the rest back", 2, 3, hand_two, gives_back, NULL),
    SCENARIO("drops one, owner blocks", 2, 3, hand_one, drop_one_blocks, expect_dead_at_once),
    SCENARIO("drops one, owner goes", 2, 3, hand_one, drop_one_goes, NULL),
    SCENARIO("hold against the end of a blocking region", 2, 3, hand_one, hold_against_end, NULL),
    SCENARIO("drops against the owner's coming again", 2, 3, second_is_gone, both_drop, NULL),
    SCENARIO("slot emptied by the owner", 2, 4, fill_slot, owner_empties, NULL),
    SCENARIO("slot emptied by another", 2, 4, fill_slot, other_empties, NULL),
    SCENARIO("slot set to NULL by the owner", 2, 4, fill_slot, store_null, NULL),
    SCENARIO("weak reference, the owner drops the last", 2, 3, refer_weakly, owner_drops_last, NULL),
    SCENARIO("weak reference, another drops the last", 2, 3, refer_weakly, other_drops_last, NULL),
    SCENARIO("weak reference, the owner drops and goes", 2, 3, refer_weakly, owner_drops_last_and_goes, NULL),
    SCENARIO("two droppers, owner runs", 3, 2, hand_one_to_each_of_two, owner_of_three_runs, NULL),
    SCENARIO("two droppers, owner blocks", 3, 2, two_drop_of_the_blocked, owner_of_three_blocks, expect_dead_at_once),
    SCENARIO("two droppers, owner goes", 3, 2, hand_one_to_each_of_two, owner_of_three_goes, NULL),
    SCENARIO("two drop what a gone owner left, who comes again", 3, 1, third_is_gone, both_drop_another_comes, NULL),
    SCENARIO("a number changes hands", 3, 1, owner_hands_over, new_owner_of_number, NULL),
    SCENARIO("slot of a running owner, two others", 3, 2, fill_slot, two_others, NULL),
    SCENARIO("slot of a blocked owner, two others", 3, 2, fill_slot, two_others_owner_blocks, expect_dead_at_once),
};

/* The kernel's part. */

static void (*kernel_wait)(uint32_t *word, uint32_t value, uint64_t timeout_ns);
static void (*kernel_wake)(uint32_t *word, unsigned count);

static void wait_here(uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
    if (!ouroi_sched_wait(word, value, timeout_ns != 0))
        kernel_wait(word, value, timeout_ns);
}

static void wake_here(uint32_t *word, unsigned count)
{
    if (!ouroi_sched_wake(word, count))
        kernel_wake(word, count);
}

/* In place of libc's: world/world.c waits with it for a pin to be dropped. */
int sched_yield(void)
{
    ouroi_sched_yield();
    return 0;
}

static void crashed(int signo)
{
    ouroi_sched_print();
    signal(signo, SIG_DFL);
    raise(signo);
}

static const char usage[] =
    "usage: sched_counts [--only TEXT] [--preemptions N] [--limit N] [--seed N] [--random N] [--changes N]\n"
    "                    [--replay SCHEDULE]\n"
    "--only: scenarios whose name has TEXT in it. --preemptions: at most so many, in place of what a scenario says.\n"
    "--limit: of schedules of one search. --random: schedules by random priorities, from --seed on. --replay: that schedule\n"
    "alone, as a failure printed it.\n";

static uint64_t number_of(const char *text)
{
    char *tail;
    unsigned long long value = strtoull(text, &tail, 10);
    if (*text == '\0' || *tail != '\0') {
        fputs(usage, stderr);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    const char *only = "", *replay = NULL;
    uint64_t most = UINT64_MAX, limit = 400000, seed = 1, count = 2000, changes = 3;
    struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {
        { "--preemptions", &most }, { "--limit", &limit },     { "--seed", &seed },
        { "--random", &count },     { "--changes", &changes },
    };
    for (int i = 1; i < argc; i += 2) {
        uint64_t *value = NULL;
        for (unsigned k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
            if (strcmp(argv[i], numbers[k].name) == 0)
                value = numbers[k].value;
        if (i + 1 < argc && value != NULL) {
            *value = number_of(argv[i + 1]);
        } else if (i + 1 < argc && strcmp(argv[i], "--only") == 0) {
            only = argv[i + 1];
        } else if (i + 1 < argc && strcmp(argv[i], "--replay") == 0) {
            replay = argv[i + 1];
        } else {
            fputs(usage, stderr);
            return 2;
        }
    }

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGABRT, crashed);
    signal(SIGSEGV, crashed);
    ouroi_options.purge_delay_ns = UINT64_MAX; /* no thread in the background */
    ouroi_machine.cpus = 1;                    /* nobody spins */
    kernel_wait = ouroi_os.futex_wait;
    kernel_wake = ouroi_os.futex_wake;
    ouroi_os.futex_wait = wait_here;
    ouroi_os.futex_wake = wake_here;
    ouro_blocking_begin();

    uint64_t total = 0;
    bool all_complete = true;
    for (unsigned i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        struct ouroi_scenario scenario = scenarios[i];
        if (strstr(scenario.name, only) == NULL)
            continue;
        if (most != UINT64_MAX)
            scenario.preemptions = (unsigned)most;
        struct ouroi_sched_result found;
        if (replay != NULL) {
            found = ouroi_sched_replay(&scenario, replay);
        } else {
            found = ouroi_sched_search(&scenario, limit);
            struct ouroi_sched_result random = ouroi_sched_random(&scenario, seed, count, (unsigned)changes);
            total += random.schedules;
            all_complete = all_complete && found.complete && found.diverged == 0;
        }
        total += found.schedules;
        printf("%-50s %7llu schedules, up to %u preemptions, %u steps%s", scenario.name,
               (unsigned long long)found.schedules, scenario.preemptions, found.steps_max,
               found.complete || replay != NULL ? "" : "; not all");
        if (found.diverged != 0)
            printf("; %llu diverged", (unsigned long long)found.diverged);
        printf("\n");
    }
    printf("%llu schedules, with %llu random ones of each scenario from seed %llu\n", (unsigned long long)total,
           (unsigned long long)(replay != NULL ? 0 : count), (unsigned long long)seed);
    return total > 0 && all_complete ? 0 : 1;
}
