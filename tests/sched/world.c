/* sched/world.c: stopping and starting the world against threads that work, block, come, go, stop it too, and fork.
 *
 * Held to     while a thread has stopped the world no other is at work with objects; everybody goes on after; a child of a
 *             fork can do everything.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "object/object.h"
#include "world/internal.h"

#include <ouro/ouro.h>

enum { NOBODY = -1 };

static int stopper;
static bool at_work[OUROI_SCHED_THREADS];
static pid_t parent;

static void nobody_else_works(unsigned self)
{
    for (unsigned i = 0; i < OUROI_SCHED_THREADS; i++)
        expect(i == self || !at_work[i], "a thread works while the world is stopped");
}

static void work(unsigned self)
{
    expect(stopper == NOBODY || stopper == (int)self, "a thread begins to work while the world is stopped");
    at_work[self] = true;
    ouroi_sched_point(&at_work, __FILE__);
    expect(stopper == NOBODY || stopper == (int)self, "the world is stopped around a thread at work");
    at_work[self] = false;
}

static void stop_and_start(unsigned self)
{
    ouroi_world_stop();
    expect(stopper == NOBODY, "two have stopped the world");
    stopper = (int)self;
    nobody_else_works(self);
    ouroi_sched_point(&at_work, __FILE__);
    nobody_else_works(self);
    stopper = NOBODY;
    ouroi_world_start();
}

static void begin(void)
{
    stopper = NOBODY;
}

static void join(unsigned thread)
{
    (void)thread;
    expect(ouro_thread_register() == 0, "no memory");
    ouro_safepoint();
    share_world();
    share(at_work, sizeof at_work);
}

/* The last does not; but there is a number for it. */
static void join_but_one(unsigned thread, unsigned threads)
{
    expect(ouro_thread_register() == 0, "no memory");
    if (thread == threads - 1)
        ouro_thread_unregister();
    share_world();
    share(at_work, sizeof at_work);
}
static void join_but_second(unsigned thread)
{
    join_but_one(thread, 2);
}
static void join_but_third(unsigned thread)
{
    join_but_one(thread, 3);
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
    ouro_safepoint();
    ouro_blocking_begin();
}

static bool look(unsigned thread, const void *address, const char *file)
{
    (void)thread;
    return getpid() == parent && is_shared(address, file);
}

static void against_safepoint(unsigned thread)
{
    if (thread == 0) {
        stop_and_start(thread);
    } else {
        work(thread);
        ouro_safepoint();
        work(thread);
        ouro_blocking_begin(); /* or the stopper would wait for it */
    }
}
static void against_region(unsigned thread)
{
    if (thread == 0) {
        stop_and_start(thread);
    } else {
        ouro_blocking_begin();
        ouro_blocking_end();
        work(thread);
        ouro_blocking_begin();
    }
}
static void comes_and_goes(unsigned thread)
{
    expect(ouro_thread_register() == 0, "no memory");
    work(thread);
    ouro_thread_unregister();
}
static void against_coming(unsigned thread)
{
    if (thread == 0)
        stop_and_start(thread);
    else
        comes_and_goes(thread);
}
static void against_going(unsigned thread)
{
    if (thread == 0) {
        stop_and_start(thread);
    } else {
        work(thread);
        ouro_thread_unregister();
    }
}
static void both_stop(unsigned thread)
{
    work(thread);
    stop_and_start(thread);
    work(thread);
    ouro_blocking_begin();
}
static void twice_against_region(unsigned thread)
{
    if (thread == 0) {
        stop_and_start(thread);
        stop_and_start(thread);
    } else {
        ouro_safepoint();
        work(thread);
        ouro_blocking_begin();
        ouro_blocking_end();
        work(thread);
        ouro_blocking_begin();
    }
}
static void two_stop_a_third_comes(unsigned thread)
{
    if (thread == 2) {
        comes_and_goes(thread);
        return;
    }
    stop_and_start(thread);
    ouro_blocking_begin();
}
static void two_stop_a_third_polls(unsigned thread)
{
    if (thread != 2) {
        stop_and_start(thread);
    } else {
        work(thread);
        ouro_safepoint();
        work(thread);
    }
    ouro_blocking_begin();
}

/* An agent of thread 2, which blocks, while thread 0 stops the world. */
static struct ouroi_thread *blocked;
static void join_and_note(unsigned thread)
{
    join(thread);
    if (thread == 2)
        blocked = ouroi_thread_self;
}
static void against_agent(unsigned thread)
{
    if (thread == 0) {
        stop_and_start(thread);
    } else if (thread == 1) {
        if (ouroi_thread_hold(blocked)) {
            expect(stopper == NOBODY, "an agent works while the world is stopped");
            ouroi_thread_release(blocked);
        }
    } else {
        ouro_blocking_begin();
        ouro_blocking_end();
        work(thread);
    }
    ouro_blocking_begin();
}

/* fork. */

struct leaf {
    ouro_object base;
};
static ouro_type leaf_type = OURO_TYPE(struct leaf);

static void child(void)
{
    alarm(20);
    struct leaf *leaf = ouro_new(&leaf_type);
    if (leaf == NULL || ouroi_thread_count() != 1)
        _exit(1);
    ouroi_world_stop();
    ouroi_world_start();
    ouro_decref(leaf);
    ouro_blocking_begin();
    ouro_blocking_end();
    ouro_thread_unregister();
    _exit(0);
}

static void fork_and_wait(void)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        child();
    expect(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "the child of a fork failed");
}
static void fork_against_coming(unsigned thread)
{
    if (thread == 0)
        fork_and_wait();
    else
        comes_and_goes(thread);
}
static void fork_against_region(unsigned thread)
{
    if (thread == 0) {
        fork_and_wait();
    } else {
        ouro_blocking_begin();
        ouro_blocking_end();
        work(thread);
    }
    ouro_blocking_begin();
}
static void fork_against_stop(unsigned thread)
{
    if (thread == 0)
        fork_and_wait();
    else
        stop_and_start(thread);
    ouro_blocking_begin();
}
static void fork_against_agent(unsigned thread)
{
    if (thread == 0)
        fork_and_wait();
    else
        against_agent(thread);
    if (thread == 0)
        ouro_blocking_begin();
}

#define SCENARIO(name_, threads_, preemptions_, before_, body_)                                                     \
    {                                                                                                               \
        .name = (name_), .threads = (threads_), .preemptions = (preemptions_), .begin = begin, .before = (before_), \
        .body = (body_), .after = leave, .end = end, .look = look                                                   \
    }

const struct ouroi_scenario scenarios[] = {
    SCENARIO("stop against a safepoint", 2, 3, join, against_safepoint),
    SCENARIO("stop against a region", 2, 3, join, against_region),
    SCENARIO("stop against one that comes", 2, 3, join_but_second, against_coming),
    SCENARIO("stop against one that goes", 2, 3, join, against_going),
    SCENARIO("two stop", 2, 2, join, both_stop),
    SCENARIO("two stops against a region", 2, 2, join, twice_against_region),
    SCENARIO("two stop, a third comes and goes", 3, 1, join_but_third, two_stop_a_third_comes),
    SCENARIO("two stop, a third passes a safepoint", 3, 1, join, two_stop_a_third_polls),
    SCENARIO("stop against an agent", 3, 2, join_and_note, against_agent),
    SCENARIO("fork against one that comes and goes", 2, 1, join_but_second, fork_against_coming),
    SCENARIO("fork against a region", 2, 1, join, fork_against_region),
    SCENARIO("fork against a stop", 2, 1, join, fork_against_stop),
    SCENARIO("fork against an agent", 3, 1, join_and_note, fork_against_agent),
};
const unsigned scenario_count = sizeof scenarios / sizeof scenarios[0];
const char program_name[] = "sched_world";

void scenarios_start(void)
{
    parent = getpid();
    ouroi_stop_warn_ns = 0;
}
