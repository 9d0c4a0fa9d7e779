/* gc/collect.c: a collection from beginning to end.
 *
 * Owns        the turn to collect; the search that is going on.
 * Sync        [COLLECT]: who has the turn collects. It is kept while finalizers and callbacks run, with the world running.
 *
 * In order: the program's callbacks (start); the world stops; the dead are found; if some have finalizers, the world runs,
 * these run, and the world stops again to see what is dead still; what no clearing can free is put aside; weak references to
 * the dead are cleared; the world runs; callbacks of weak references; the dead are cleared, destroyed, freed; the program's
 * callbacks (stop).
 */
#include "gc/internal.h"

#include <errno.h>
#include <limits.h>

static struct ouroi_search search;
static uint32_t turn; /* 0: free, 1: taken, 2: taken and waited for */
static struct ouroi_thread *turn_owner;
static __thread bool inside __attribute__((tls_model("initial-exec"))); /* in a collection, or code that one runs */

bool ouroi_gc_is_inside(void)
{
    return inside;
}

void ouroi_gc_set_inside(bool is)
{
    inside = is;
}

/* The turn. */

static bool take_turn_now(void)
{
    uint32_t expected = 0;
    /* [COLLECT take] acquire, pairs with [COLLECT give]: what the last collection has left */
    if (!ouroi_atomic_cas_acquire(&turn, &expected, 1))
        return false;
    turn_owner = ouroi_thread_self;
    return true;
}

/* Waits for it; the thread counts as blocking meanwhile. */
static void take_turn(void)
{
    if (take_turn_now())
        return;
    ouro_blocking_begin();
    /* [COLLECT take] acquire, pairs with [COLLECT give] */
    while (ouroi_atomic_exchange_acquire(&turn, 2) != 0)
        ouroi_os.futex_wait(&turn, 2, 0);
    ouro_blocking_end();
    turn_owner = ouroi_thread_self;
}

static void give_turn(void)
{
    turn_owner = NULL;
    /* [COLLECT give] release, pairs with [COLLECT take] */
    if (ouroi_atomic_exchange_release(&turn, 0) == 2)
        ouroi_os.futex_wake(&turn, 1);
}

void ouroi_gc_turn_take(void)
{
    take_turn();
}

void ouroi_gc_turn_give(void)
{
    give_turn();
}

/* Pauses. */

static void merge(struct ouroi_thread *thread, void *arg)
{
    (void)arg;
    if (!thread->by_signal && thread->object != NULL)
        ouroi_object_merge_queue(thread);
}

static void begin_pause(struct ouroi_cycle *cycle)
{
    cycle->pause_began_ns = ouroi_os.now_ns();
    ouroi_world_stop();
    ouroi_figures_note_stop(ouroi_os.now_ns() - cycle->pause_began_ns);
    ouroi_thread_each(merge, NULL);
}

static void end_pause(struct ouroi_cycle *cycle)
{
    ouroi_world_start();
    uint64_t pause_ns = ouroi_os.now_ns() - cycle->pause_began_ns;
    ouroi_figures_note_pause(cycle->info.generation, pause_ns);
    cycle->info.pause_ns += pause_ns;
    cycle->longest_ns = pause_ns > cycle->longest_ns ? pause_ns : cycle->longest_ns;
    ouroi_object_drain(ouroi_thread_self); /* what merging has found dead */
}

/* Each is there when its turn comes, and while its finalizer runs. */
static void hold(const struct ouroi_list *objects)
{
    for (size_t i = 0; i < objects->count; i++)
        ouro_incref(objects->items[i]);
}

/* Finalizers, with the world running; stops it again, and finds what is dead still. */
static int finalize(struct ouroi_cycle *cycle)
{
    hold(&search.finalizers);
    cycle->keys = search.dead_keys;
    search.dead_keys = (struct ouroi_list){ 0 };
    hold(&cycle->keys);
    end_pause(cycle);
    for (size_t i = 0; i < search.finalizers.count; i++) {
        ouroi_object_finalize(search.finalizers.items[i]);
        ouro_decref(search.finalizers.items[i]);
    }
    search.finalizers.count = 0;
    begin_pause(cycle);
    return ouroi_search_again(&search, &cycle->keys);
}

/* The finalizers go to their thread, and what they can reach lives until the next collection. */
static int hand_finalizers_over(void)
{
    if (!ouroi_finalizers_room(search.finalizers.count) || ouroi_search_spare(&search, &search.finalizers) != 0)
        return -ENOMEM;
    hold(&search.finalizers);
    ouroi_finalizers_add(&search.finalizers);
    search.finalizers.count = 0;
    return 0;
}

/* What is done with the dead before the world runs again. */
static int prepare_death(struct ouroi_cycle *cycle)
{
    if (search.unclearable) {
        int rc = ouroi_death_spare_uncollectable(&search, &cycle->uncollectable);
        if (rc != 0)
            return rc;
    }
    cycle->save = (ouroi_gc_debug() & OURO_GC_DEBUG_SAVEALL) != 0;
    if (!ouroi_garbage_room(cycle->uncollectable.count + (cycle->save ? search.dead.count : 0)))
        return -ENOMEM;
    if (search.seen.count != 0) {
        int rc = ouroi_weak_prepare(&cycle->weak, (ouro_object *const *)search.seen.items, search.seen.count);
        if (rc != 0)
            return rc;
        cycle->has_weak = true;
        if (ouroi_weak_wants(&cycle->weak))
            ouroi_death_show_weak(&search, &cycle->weak);
    }
    /* Nothing can fail from here on. */
    ouroi_garbage_add(&cycle->uncollectable);
    if (cycle->save)
        ouroi_garbage_add(&search.dead);
    ouroi_death_prepare(&search, cycle->save);
    if (cycle->has_weak)
        ouroi_weak_clear(&cycle->weak);
    return 0;
}

static void finish(struct ouroi_cycle *cycle)
{
    cycle->info.collected = search.dead_count + cycle->distributed;
    cycle->info.uncollectable = cycle->uncollectable.count;
    ouroi_report_dead(&search, &cycle->uncollectable);
    if (cycle->has_weak) {
        if (!ouroi_finalizers_take_weak(&cycle->weak))
            ouroi_weak_call(&cycle->weak);
        ouroi_weak_drop(&cycle->weak, ouroi_death_drop_value, &search);
    }
    if (!cycle->save)
        ouroi_death_free(&search);
}

/* The stopped part and what follows. 0, or -ENOMEM: nothing was done, though finalizers may have run. */
static int run_cycle(struct ouroi_cycle *cycle)
{
    int generation = cycle->info.generation;
    begin_pause(cycle);
    ouroi_policy_begin(generation);
    cycle->distributed = ouroi_distributed_collect(ouroi_object_thread(ouroi_thread_self));
    int rc = ouroi_search_begin(&search, generation);
    if (rc == 0)
        rc = ouroi_search_run(&search, cycle->workers);
    cycle->info.workers = search.workers;
    cycle->info.candidates = search.candidates;
    if (rc == 0 && search.finalizers.count != 0)
        rc = ouroi_finalizers_have_thread() ? hand_finalizers_over() : finalize(cycle);
    if (rc == 0 && (search.dead.count != 0 || search.seen.count != 0))
        rc = prepare_death(cycle);
    if (rc == 0)
        ouroi_policy_end(generation, search.candidates, search.dead_count);
    else
        ouroi_search_abandon(&search);
    end_pause(cycle);
    for (size_t i = 0; i < cycle->keys.count; i++)
        ouro_decref(cycle->keys.items[i]);
    if (rc == 0)
        finish(cycle);
    return rc;
}

/* The turn is the caller's. */
static long run(int generation)
{
    struct ouroi_cycle cycle = { .info.generation = generation, .workers = ouro_gc_get_workers() };
    inside = true;
    if (cycle.workers > 1)
        ouroi_workers_prepare(cycle.workers);
    ouroi_finalizers_revive();
    ouroi_report_begin(&cycle.info);
    ouroi_callbacks_call(OURO_GC_START, &cycle.info);
    int rc = run_cycle(&cycle);
    ouroi_stats_add(&cycle, &search, rc);
    ouroi_figures_note_end(&cycle, &search, rc);
    ouroi_callbacks_call(OURO_GC_STOP, &cycle.info);
    ouroi_report_end(&cycle.info);
    ouroi_list_free(&cycle.uncollectable);
    ouroi_list_free(&cycle.keys);
    ouroi_search_reset(&search);
    inside = false;
    return rc != 0 ? rc : (long)(cycle.info.collected + cycle.info.uncollectable);
}

long ouroi_gc_run(int generation)
{
    if (inside)
        return 0;
    take_turn();
    long found = run(generation);
    give_turn();
    return found;
}

bool ouroi_gc_run_if_due(void)
{
    int generation;
    if (inside || !take_turn_now())
        return false;
    bool due = ouroi_policy_is_due(&generation);
    if (due)
        run(generation);
    give_turn();
    return due;
}

/* The child of a fork has the forking thread's collection, if that has one; another's is over, and what it held stays. */
void ouroi_collect_fork_child(struct ouroi_thread *thread)
{
    if (turn != 0 && (turn_owner == NULL || turn_owner != thread)) {
        turn = 0;
        turn_owner = NULL;
        ouroi_search_fork_child(&search);
    }
}
