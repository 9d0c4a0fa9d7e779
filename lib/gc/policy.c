/* gc/policy.c: when to collect, and which generation.
 *
 * Owns        thresholds; counts of collections; what each generation has got; the allowances of threads.
 * Invariants  a thread's granted - allowance is the tracked objects that it made, less those that it freed, since the last
 *             collection, never less than 0 (as Python counts).
 * Sync        settings are single words. Counts are written with the world stopped, or by the thread whose they are.
 *
 * With thresholds that the program has set, collections come as Python's would. With the defaults:
 *   - a thread may make `budget` objects. The budget grows where young collections find little, and shrinks again;
 *   - all is collected as soon as what came to the middle and oldest generations, and was not looked at since, is more than
 *     a quarter of the oldest and more than a budget. So garbage is never more than a quarter of what lives and what is young.
 */
#include "gc/internal.h"

#define BUDGET_LEAST ((size_t)8192) /* of small objects: what the cache of a core holds */
#define BUDGET_MOST ((size_t)65536)
#define PIECE ((int64_t)1024) /* made between two looks at the settings while nothing is to be collected */
#define RETRY ((int64_t)64)   /* and while somebody else collects */

static size_t threshold[OURO_GC_GENERATIONS] = { BUDGET_LEAST, 10, 10 };
static const size_t threshold_default[OURO_GC_GENERATIONS] = { BUDGET_LEAST, 10, 10 };
static bool adapts = true, enabled = true;
static size_t budget = BUDGET_LEAST;
static size_t collections[OURO_GC_GENERATIONS]; /* of the next younger since its own; [0] is not used */
static size_t middle, pending, oldest;          /* objects: in the middle; new in the oldest; that survived in it */

static bool setting(const bool *word)
{
    return ouroi_atomic_load_relaxed(word); /* relaxed: a setting on its own */
}

static size_t number(const size_t *word)
{
    return ouroi_atomic_load_relaxed(word); /* relaxed: the same */
}

static int64_t made_by(const struct ouroi_object_thread *of)
{
    int64_t made = OUROI_OWNED_GET(&of->granted) - OUROI_OWNED_GET(&of->allowance);
    return made < 0 ? 0 : made;
}

static void add_made(struct ouroi_thread *thread, void *arg)
{
    const struct ouroi_object_thread *of = OUROI_OWNED_GET(&thread->object); /* threads come meanwhile */
    if (of != NULL)
        *(int64_t *)arg += made_by(of);
}

static int64_t made_by_all(void)
{
    int64_t made = 0;
    ouroi_thread_each(add_made, &made);
    return made;
}

static void grant(struct ouroi_object_thread *of, int64_t made, int64_t more)
{
    OUROI_OWNED_SET(&of->granted, made + more);
    OUROI_OWNED_SET(&of->allowance, more);
}

/* What one of the threads may make of what is left until a collection is due: all of it, if there is one. */
static int64_t share_of(int64_t left)
{
    int64_t threads = (int64_t)ouroi_thread_count();
    return threads <= 1 || left < 8 * threads ? left : left / threads;
}

static bool may_collect(void)
{
    return setting(&enabled) && number(&threshold[0]) != 0;
}

static int64_t allowed(int64_t made)
{
    if (!may_collect())
        return PIECE;
    if (setting(&adapts))
        return (int64_t)number(&budget);
    return share_of((int64_t)number(&threshold[0]) - made);
}

bool ouroi_policy_is_due(int *generation)
{
    int64_t made = made_by_all() + 1; /* with the one that is about to be */
    if (!may_collect() || made <= (int64_t)(setting(&adapts) ? number(&budget) : number(&threshold[0])))
        return false;
    *generation = 0;
    if (collections[1] > number(&threshold[1]))
        *generation = 1;
    if (setting(&adapts)) {
        if (pending + middle > oldest / 4 && pending + middle > number(&budget))
            *generation = 2;
    } else if (collections[2] > number(&threshold[2]) && pending >= oldest / 4) {
        *generation = 2;
    }
    return true;
}

/* A thread is about to make an object more than it was allowed. */
static void allowance_is_spent(struct ouroi_thread *thread)
{
    struct ouroi_object_thread *of = ouroi_object_thread(thread);
    int64_t made = made_by(of);
    if (ouroi_gc_is_inside() || !may_collect()) {
        grant(of, made, PIECE);
        return;
    }
    int generation;
    if (ouroi_policy_is_due(&generation)) {
        grant(of, made, RETRY); /* a collection grants anew */
        if (ouroi_gc_run_if_due())
            OUROI_OWNED_ADD(&of->allowance, 1); /* the object was counted already */
        return;
    }
    int64_t left = setting(&adapts) ? (int64_t)number(&budget) - made : allowed(made_by_all());
    grant(of, made, left < 0 ? 0 : left);
}

/* After a change of the settings; other threads look when their allowance is spent. */
static void grant_anew(void)
{
    struct ouroi_object_thread *of = ouroi_thread_self != NULL ? ouroi_object_thread(ouroi_thread_self) : NULL;
    if (of == NULL)
        return;
    int64_t made = made_by(of);
    int64_t left = !may_collect()     ? PIECE
                   : setting(&adapts) ? (int64_t)number(&budget) - made
                                      : (int64_t)number(&threshold[0]) - made_by_all();
    grant(of, made, left);
}

static void grant_thread(struct ouroi_thread *thread, void *arg)
{
    struct ouroi_object_thread *of = ouroi_object_thread(thread);
    if (of != NULL)
        grant(of, 0, *(const int64_t *)arg);
}

static void set_number(size_t *word, size_t value)
{
    ouroi_atomic_store_relaxed(word, value); /* relaxed: a number on its own, for ouro_gc_get_count */
}

void ouroi_policy_begin(int generation)
{
    int64_t each = allowed(0);
    ouroi_thread_each(grant_thread, &each);
    for (int i = 1; i <= generation; i++)
        set_number(&collections[i], 0);
    if (generation < 2)
        set_number(&collections[generation + 1], collections[generation + 1] + 1);
}

static void adapt(size_t candidates, size_t dead)
{
    size_t next = budget;
    if (dead < candidates / 8 && next < BUDGET_MOST)
        next *= 2;
    else if (dead > candidates / 4 && next > BUDGET_LEAST)
        next /= 2;
    set_number(&budget, next);
}

void ouroi_policy_end(int generation, size_t candidates, size_t dead)
{
    size_t survivors = candidates - dead;
    if (generation == 0) {
        middle += survivors;
        adapt(candidates, dead);
    } else {
        middle = 0;
        pending = generation == 1 ? pending + survivors : 0;
        oldest = generation == 2 ? survivors : oldest;
    }
}

void ouroi_policy_freeze(size_t unfrozen)
{
    for (int i = 1; i < OURO_GC_GENERATIONS; i++)
        set_number(&collections[i], 0);
    int64_t each = allowed(0);
    ouroi_thread_each(grant_thread, &each);
    middle = pending = 0;
    oldest = unfrozen;
}

/* The public part. */

void ouro_gc_enable(void)
{
    ouroi_atomic_store_relaxed(&enabled, true); /* relaxed: a setting on its own */
    grant_anew();
}

void ouro_gc_disable(void)
{
    ouroi_atomic_store_relaxed(&enabled, false); /* relaxed: the same */
    grant_anew();
}

bool ouro_gc_is_enabled(void)
{
    return setting(&enabled);
}

int ouro_gc_set_threshold(const size_t wanted[3])
{
    for (int i = 0; i < OURO_GC_GENERATIONS; i++) {
        size_t value = wanted != NULL ? wanted[i] : threshold_default[i];
        set_number(&threshold[i], value < INT64_MAX / 2 ? value : INT64_MAX / 2);
    }
    if (wanted == NULL)
        set_number(&budget, BUDGET_LEAST);
    ouroi_atomic_store_relaxed(&adapts, wanted == NULL); /* relaxed: a setting on its own */
    grant_anew();
    return 0;
}

void ouro_gc_get_threshold(size_t out[3])
{
    for (int i = 0; i < OURO_GC_GENERATIONS; i++)
        out[i] = number(&threshold[i]);
}

void ouro_gc_get_count(size_t count[3])
{
    count[0] = (size_t)made_by_all();
    count[1] = number(&collections[1]);
    count[2] = number(&collections[2]);
}

void ouroi_policy_start(void)
{
    ouroi_object_gc_hook = allowance_is_spent;
}
