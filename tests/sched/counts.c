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
 * That this can fail: tests/sched/variants.
 */
#include <sched.h>
#include <string.h>

#include "harness.h"
#include "object/object.h"
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
static _Atomic int given_back; /* references that thread 1 has left to thread 0 */
static __thread int me = NOBODY;

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

static bool look(unsigned thread, const void *address, const char *file)
{
    uintptr_t at = (uintptr_t)address, header = (uintptr_t)the.leaf;
    if (at - header < sizeof(ouro_object)) {
        expect(the.destroyed == 0 || the.looked_at_later || (int)thread == the.destroyer,
               "the header is looked at after destroy");
        return true;
    }
    return is_shared(address, file);
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
    share_world();
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

#define SCENARIO(name_, threads_, preemptions_, before_, body_, done_)                                              \
    {                                                                                                               \
        .name = (name_), .threads = (threads_), .preemptions = (preemptions_), .begin = begin, .before = (before_), \
        .body = (body_), .done = (done_), .after = leave, .end = end, .look = look                                  \
    }

const struct ouroi_scenario scenarios[] = {
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
const unsigned scenario_count = sizeof scenarios / sizeof scenarios[0];
const char program_name[] = "sched_counts";

void scenarios_start(void)
{
}
