/* gc/internal.h: what the files of this layer share.
 *
 * Owns        the meaning of states; struct ouroi_search, all that a collection knows of the objects that it looks at.
 * Invariants  with the world running a state is YOUNG (or the block free), OLD1, OLD2, FROZEN, UNTRACKED or DEAD; DEAD
 *             only during a collection's last part, and only the collecting thread reads or writes it then.
 *             In a search, the world stopped, a candidate is, in that order:
 *               YOUNG      not looked at yet; a free block stays so
 *               -(1 + n)   n references that have not been seen to come from candidates; n at most COUNT_MAX
 *               INTERNAL   none left: -(1 + 0)
 *               EXTERNAL   referred to from outside for certain
 *               TABLED     counted in the table; HINT too, and reached already
 *               REACHED
 */
#ifndef OUROI_GC_INTERNAL_H
#define OUROI_GC_INTERNAL_H

#include <ouro/gc.h>

#include "gc/deque.h"
#include "gc/gc.h"
#include "object/object.h"
#include "weakref/weakref.h"

enum {
    OUROI_STATE_YOUNG = 0,
    OUROI_STATE_OLD1 = -127,
    OUROI_STATE_OLD2 = -126,
    OUROI_STATE_FROZEN = -125,
    OUROI_STATE_UNTRACKED = -124,
    OUROI_STATE_DEAD = -123,
    /* in a search */
    OUROI_STATE_EXTERNAL = -121,
    OUROI_STATE_INTERNAL = -1,
    OUROI_STATE_HINT = 125,
    OUROI_STATE_TABLED = 126,
    OUROI_STATE_REACHED = 127,
    OUROI_COUNT_MAX = 119,
};

/* The state of a survivor of a collection of `generation`, and of generation's own. */
OUROI_INLINE int8_t ouroi_state_after(int generation)
{
    return generation == 0 ? OUROI_STATE_OLD1 : OUROI_STATE_OLD2;
}
/* 0..2; 3: frozen; -1: anything else. */
OUROI_INLINE int ouroi_state_generation(int8_t state)
{
    return state == OUROI_STATE_YOUNG    ? 0
           : state == OUROI_STATE_OLD1   ? 1
           : state == OUROI_STATE_OLD2   ? 2
           : state == OUROI_STATE_FROZEN ? OURO_GC_FROZEN
                                         : OURO_GC_UNTRACKED;
}
/* States are bytes that threads write one by one while others look at their neighbours. */
OUROI_INLINE int8_t ouroi_state_get(const int8_t *state)
{
    return ouroi_atomic_load_relaxed(state); /* relaxed: the world is stopped, or any value that it had will do */
}
OUROI_INLINE void ouroi_state_set(int8_t *state, int8_t value)
{
    ouroi_atomic_store_relaxed(state, value); /* relaxed: see ouroi_state_get */
}

/* Memory of the collector's own, mapped, so that running out of it is noticed here (memory.c). */
/* Room for `wanted` items at least, of which `used` are kept. 0 or -ENOMEM: nothing changed. */
int ouroi_memory_grow(void **items, size_t *room, size_t used, size_t wanted, size_t item_bytes);
void ouroi_memory_free(void **items, size_t *room, size_t item_bytes);

struct ouroi_list {
    void **items;
    size_t count, room;
};
int ouroi_list_grow(struct ouroi_list *list, size_t room);
OUROI_INLINE bool ouroi_list_push(struct ouroi_list *list, void *item)
{
    if (OUROI_UNLIKELY(list->count == list->room) && ouroi_list_grow(list, list->count + 1) != 0)
        return false;
    list->items[list->count++] = item;
    return true;
}
/* Empties it; keeps a little room. */
void ouroi_list_reset(struct ouroi_list *list);
void ouroi_list_reset_to(struct ouroi_list *list, size_t kept_bytes); /* if that is more */
void ouroi_list_free(struct ouroi_list *list);

/* Counts that a byte cannot hold, by address (memory.c). */
struct ouroi_entry {
    ouro_object *object; /* NULL: empty */
    int64_t count;       /* references; 0: another searcher's table has it */
    int64_t seen;        /* that come from candidates */
    uint8_t kind;
    bool reached; /* of a key */
};
enum {
    OUROI_ENTRY_COUNT = 0, /* TABLED */
    OUROI_ENTRY_HINT = 1,  /* HINT */
    OUROI_ENTRY_KEY = 2,   /* an untracked key of a weak map that is a candidate */
};
struct ouroi_table {
    struct ouroi_entry *entries;
    size_t room, count; /* room: a power of two or 0 */
};
/* The entry, made if need be. NULL: no memory. */
struct ouroi_entry *ouroi_table_get(struct ouroi_table *table, ouro_object *object);
struct ouroi_entry *ouroi_table_find(const struct ouroi_table *table, const ouro_object *object);
void ouroi_table_reset(struct ouroi_table *table);
void ouroi_table_free(struct ouroi_table *table);

/* A run whose objects are looked at. */
struct ouroi_patch {
    int8_t *states;
    uintptr_t start;
    struct ouroi_run *run;
    uint32_t blocks, block_bytes;
    uint32_t dead, reached; /* after the sweep */
    bool sparse;            /* not every block was ever handed out */
};

#define OUROI_RING 8   /* states on their way to the cache */
#define OUROI_QUEUE 16 /* objects */

/* Objects of another NUMA node, on their way to its workers. */
struct ouroi_parcel {
    struct ouroi_parcel *next;
    size_t count;
    ouro_object *objects[126];
};

/* One of those who search; the only one where it is done serially. */
struct ouroi_searcher {
    struct ouroi_search *search;
    struct ouroi_table *table; /* own_table, or, of the only one, the search's */
    unsigned index, node;
    bool failed;    /* for want of memory */
    bool odd;       /* some of those that were subtracted are of types that are more than maps */
    uint64_t flags; /* of any that was counted: the shared words' */
    size_t near, far;
    bool helps;      /* looks into what is another node's */
    bool uncounted;  /* some have counts that `balance` does not know */
    int64_t balance; /* counts less references, of those that were counted and not reached; of the only searcher */
    struct ouroi_list stack; /* reached, and to be looked into */
    struct ouroi_list maps;  /* weak maps that were reached */
    struct ouroi_list roots; /* for hints: object, references from inside, by turns */
    struct ouroi_table own_table;
    struct ouroi_deque deque;
    struct ouroi_parcel *parcels[OUROI_NODES_MAX]; /* being filled, for each node; NULL: none */
    struct ouroi_parcel *empty;                    /* parcels to be filled */
    struct ouroi_list parcel_memory;               /* their mappings */
    struct ouroi_seen {
        int8_t *state;    /* NULL: empty */
        uintptr_t marked; /* the object's address: see ouroi_slice_set_candidate */
    } ring[OUROI_RING];
    unsigned ring_at;
    ouro_object *queue[OUROI_QUEUE]; /* NULL: empty */
    unsigned queue_at, queued;
    const ouro_object *from; /* debug builds: whose references are looked at */
} __attribute__((aligned(OUROI_CACHE_LINE)));

struct ouroi_search {
    int generation;
    unsigned workers;
    struct ouroi_patch *patches;
    size_t patch_count, patch_room;
    size_t blocks; /* of all patches: as many candidates at most */
    bool no_memory;
    bool has_maps; /* there are weak maps with entries */
    size_t keys;   /* in the table */
    struct ouroi_table table;
    size_t candidates;
    uint64_t near, far;               /* objects looked into by a worker of their node, and of another */
    size_t dead_count;                /* tracked ones */
    struct ouroi_list dead;           /* objects */
    struct ouroi_list finalizers;     /* of them, those whose finalizer has to run */
    struct ouroi_list dead_keys;      /* untracked keys of weak maps that only the dead refer to */
    struct ouroi_list seen;           /* those that may be weakly referred to, and untracked keys */
    bool complex;                     /* some of the dead have clear or traverse */
    bool unclearable;                 /* some have traverse and no clear */
    bool destroys;                    /* some have destroy */
    bool odd;                         /* some may be more than memory and a map of references */
    bool closed;                      /* they refer to no other */
    bool distributed;                 /* some are counted by each thread for itself */
    bool hinted, misled;              /* hints were used; and failed */
    bool listed;                      /* the lists are what counts, patches may be out of date */
    struct ouroi_searcher *searchers; /* `workers` of them */
    size_t searcher_room;
    /* what workers share */
    struct ouroi_cursor {
        size_t next __attribute__((aligned(OUROI_CACHE_LINE)));
        size_t first, end;
    } cursors[OUROI_NODES_MAX]; /* of a node's patches */
    struct ouroi_inbox {
        struct ouroi_lock lock __attribute__((aligned(OUROI_CACHE_LINE)));
        struct ouroi_parcel *first;
        unsigned workers; /* of the node */
    } inboxes[OUROI_NODES_MAX];
    uint32_t idle __attribute__((aligned(OUROI_CACHE_LINE)));
};

/* For tests: with fewer objects a worker, there are fewer workers. */
extern size_t ouroi_search_worker_objects OUROI_HIDDEN;
/* The same: so many NUMA nodes, by the addresses of slices; 0: those of the machine. */
extern unsigned ouroi_search_fake_nodes OUROI_HIDDEN;
/* How long a worker waits for work on its own node before it helps another. */
extern uint64_t ouroi_search_patience_ns OUROI_HIDDEN;

/* search.c. The world is stopped but for reset and free. */
/* Makes what generation `generation` and those younger are the candidates. 0; -ENOMEM: see ouroi_search_abandon. */
int ouroi_search_begin(struct ouroi_search *search, int generation);
/* Finds the dead among them, lists them and makes their state DEAD; the others are as after the collection. */
int ouroi_search_run(struct ouroi_search *search, unsigned most_workers);
/* After ouroi_search_run, and finalizers: of the dead that are still there, those that are dead still; the others are
 * survivors. keys: the dead keys of before, held. */
int ouroi_search_again(struct ouroi_search *search, const struct ouroi_list *keys);
/* Takes what the objects of `roots`, some of the dead, lead to off the dead. */
int ouroi_search_spare(struct ouroi_search *search, const struct ouroi_list *roots);
/* After -ENOMEM: all candidates and dead are of the oldest generation, and nothing else has happened. */
void ouroi_search_abandon(struct ouroi_search *search);
void ouroi_search_reset(struct ouroi_search *search);
void ouroi_search_free_searchers(struct ouroi_search *search);
/* A pool that got a young object by other ways than ouro_new. */
void ouroi_search_note_young(const ouro_object *object);

/* In the child of a fork: what a collection that has no thread any more had found dead is old. */
void ouroi_search_fork_child(struct ouroi_search *search);

/* gather.c */
void ouroi_gather_fork_prepare(void);
void ouroi_gather_fork_done(bool child);
void ouroi_gather_mark(struct ouroi_run *run, bool is_candidate);
void ouroi_gather_note_middle(struct ouroi_run *run); /* it got objects of state OLD1 */
void ouroi_gather_lose_middle(void);                  /* any run may have */

/* hints.c */
bool ouroi_hints_take(struct ouroi_search *search);
bool ouroi_hints_hold(const struct ouroi_search *search);
void ouroi_hints_keep(struct ouroi_search *search); /* those that held, and the roots found since, for next time */
void ouroi_hints_drop(void);
void ouroi_hints_note_root(struct ouroi_searcher *searcher, ouro_object *obj, int8_t state);

/* parallel.c */
void ouroi_parallel_free_parcels(void *memory);
void ouroi_parallel_count(struct ouroi_search *search);
void ouroi_parallel_subtract(struct ouroi_search *search);
void ouroi_parallel_reach(struct ouroi_search *search, bool first);
void ouroi_parallel_sweep(struct ouroi_search *search);
int ouroi_parallel_prepare(struct ouroi_search *search);

/* One collection. */
struct ouroi_cycle {
    ouro_gc_info info;
    unsigned workers; /* at most */
    bool save;        /* OURO_GC_DEBUG_SAVEALL */
    bool has_weak;
    size_t distributed; /* objects whose count turned out to be zero */
    uint64_t pause_began_ns, longest_ns;
    struct ouroi_list uncollectable;
    struct ouroi_list keys; /* untracked keys that are held for the time of the finalizers */
    struct ouroi_weak_batch weak;
};

/* collect.c. Collects; the number, or -ENOMEM. */
long ouroi_gc_run(int generation);
/* If it is due still, and nobody else collects. Whether there was a collection. */
bool ouroi_gc_run_if_due(void);
/* Whether the calling thread is in a collection, or in code of the program that one runs. */
bool ouroi_gc_is_inside(void);
void ouroi_gc_set_inside(bool is);
void ouroi_gc_turn_take(void);
void ouroi_gc_turn_give(void);
void ouroi_collect_fork_child(struct ouroi_thread *thread);

/* death.c: what becomes of the dead. */
/* World stopped. Takes objects that no clearing can free, and what they lead to, off the dead; lists them. 0 or -ENOMEM. */
int ouroi_death_spare_uncollectable(struct ouroi_search *search, struct ouroi_list *uncollectable);
/* World stopped. Shows the batch every reference that one of the dead holds. */
void ouroi_death_show_weak(const struct ouroi_search *search, struct ouroi_weak_batch *weak);
/* World stopped; cannot fail. save: they are to live on. */
void ouroi_death_prepare(const struct ouroi_search *search, bool save);
/* World running. */
void ouroi_death_drop_value(ouro_object *value, void *search);
void ouroi_death_free(const struct ouroi_search *search);

/* walk.c: calls fn for each tracked object there is until `stopped`. The world is stopped. */
struct ouroi_walk {
    void (*fn)(ouro_object *obj, int8_t *state, struct ouroi_walk *walk);
    void *arg;
    struct ouroi_list found;
    const ouro_object *object;
    int generation;
    bool hit, stopped, no_memory;
    size_t calls;
};
void ouroi_walk(struct ouroi_walk *walk);
/* Whether the calling thread may stop the world; errno. */
bool ouroi_gc_may_stop(void);

/* policy.c: when to collect. */
void ouroi_policy_start(void);
/* Whether a collection is due, and of which generation. */
bool ouroi_policy_is_due(int *generation);
/* World stopped: the collection begins; it ends. */
void ouroi_policy_begin(int generation);
void ouroi_policy_end(int generation, size_t candidates, size_t dead);
void ouroi_policy_freeze(
    size_t unfrozen); /* world stopped: nothing is left in any generation but so many in the oldest */

/* settings.c: the program's callbacks, debug flags, statistics, the garbage list. */
unsigned ouroi_gc_debug(void);
void ouroi_callbacks_call(ouro_gc_phase phase, const ouro_gc_info *info);
void ouroi_stats_add(const struct ouroi_cycle *cycle, const struct ouroi_search *search, int rc);
bool ouroi_garbage_room(size_t count); /* world stopped: that many can be added */
void ouroi_garbage_add(const struct ouroi_list *objects);
void ouroi_report_begin(const ouro_gc_info *info);
void ouroi_report_dead(const struct ouroi_search *search, const struct ouroi_list *uncollectable);
void ouroi_report_end(const ouro_gc_info *info);
void ouroi_settings_read(void);
void ouroi_settings_fork_prepare(void);
void ouroi_settings_fork_done(bool child);

/* figures.c: by who has the turn to collect. */
void ouroi_figures_start(void);
void ouroi_figures_note_stop(uint64_t ns);
void ouroi_figures_note_pause(int generation, uint64_t ns);
void ouroi_figures_note_end(const struct ouroi_cycle *cycle, const struct ouroi_search *search, int rc);

/* finalizers.c: the thread for finalizers and callbacks. */
bool ouroi_finalizers_have_thread(void);
void ouroi_finalizers_revive(void); /* before the world stops: it is made anew where a fork lost it */
void ouroi_finalizers_waiting(size_t *objects, size_t *batches);
bool ouroi_finalizers_room(size_t count); /* world stopped */
/* World stopped: gives over the objects, of which a reference to each is held. */
void ouroi_finalizers_add(const struct ouroi_list *objects);
/* World running: takes the callbacks over; false: there is no such thread. */
bool ouroi_finalizers_take_weak(struct ouroi_weak_batch *weak);
void ouroi_finalizers_fork_prepare(void);
void ouroi_finalizers_fork_done(bool child);

#endif
