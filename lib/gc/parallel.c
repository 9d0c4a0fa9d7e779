/* gc/parallel.c: the phases of a search, shared out among workers.
 *
 * Invariants  patches lie in the order of their nodes; a worker takes some of its own node's, then of the others'.
 * Sync        [IDLE]: workers with nothing to do; when all are, reaching is over. Patches are taken by a cursor a node. States:
 *             see visit.h. A worker gives away the oldest half of what it has to look into when somebody is idle.
 * Source      termination by counting the idle: Flood, Detlefs, Shavit, Zhang 2001.
 */
#include "gc/visit.h"

#include <errno.h>

enum {
    PATCHES_AT_ONCE = 4,
    GIVEN_AT_ONCE = 64,
    STOLEN_AT_ONCE = 8,
    STACK_ENOUGH = 256, /* roots found, before they are looked into */
    SPINS = 200,
    NAP_NS = 50000,
};

struct phase {
    struct ouroi_search *search;
    bool first;
};

unsigned ouroi_search_fake_nodes;

static unsigned node_count(void)
{
    unsigned nodes = ouroi_search_fake_nodes != 0 ? ouroi_search_fake_nodes : ouroi_machine.nodes;
    return nodes > OUROI_NODES_MAX ? OUROI_NODES_MAX : nodes;
}

static unsigned node_of(const struct ouroi_run *run)
{
    return ouroi_search_fake_nodes != 0 ? (unsigned)(run->start / OUROI_SLICE_BYTES % ouroi_search_fake_nodes)
                                        : run->node % OUROI_NODES_MAX;
}

int ouroi_parallel_prepare(struct ouroi_search *search)
{
    for (unsigned node = 0; node < OUROI_NODES_MAX; node++) {
        search->inboxes[node] = (struct ouroi_inbox){ .lock = OUROI_LOCK_INIT(OUROI_RANK_GC) };
        search->cursors[node].end = 0;
    }
    for (unsigned w = 0; w < search->workers; w++) {
        unsigned node = ouroi_search_fake_nodes != 0 ? w % ouroi_search_fake_nodes : ouroi_worker_node(w);
        search->searchers[w].node = node % OUROI_NODES_MAX;
        search->inboxes[node % OUROI_NODES_MAX].workers++;
    }
    if (node_count() <= 1) {
        search->cursors[0].first = 0;
        search->cursors[0].end = search->patch_count;
        return 0;
    }
    /* In the order of nodes, and of each node's as they are. */
    void *sorted = NULL;
    size_t room = 0, at = 0;
    if (ouroi_memory_grow(&sorted, &room, 0, search->patch_count + 1, sizeof(struct ouroi_patch)) != 0)
        return -ENOMEM;
    struct ouroi_patch *to = sorted;
    for (unsigned node = 0; node < OUROI_NODES_MAX; node++) {
        search->cursors[node].first = at;
        for (size_t i = 0; i < search->patch_count; i++)
            if (node_of(search->patches[i].run) == node)
                to[at++] = search->patches[i];
        search->cursors[node].end = at;
    }
    void *old = search->patches;
    ouroi_memory_free(&old, &search->patch_room, sizeof *to);
    search->patches = to;
    search->patch_room = room;
    return 0;
}

static void rewind_cursors(struct ouroi_search *search)
{
    for (unsigned node = 0; node < OUROI_NODES_MAX; node++)
        search->cursors[node].next = search->cursors[node].first;
}

/* Some patches from [*first, *end), of the worker's node while there are any. False: none are left. */
static bool take_patches(struct ouroi_searcher *searcher, size_t *first, size_t *end)
{
    struct ouroi_search *search = searcher->search;
    unsigned nodes = node_count();
    for (unsigned i = 0; i < nodes; i++) {
        struct ouroi_cursor *cursor = &search->cursors[(searcher->node + i) % nodes];
        /* relaxed: a number that no two get; a look first, so that the word is not written for nothing */
        if (ouroi_atomic_load_relaxed(&cursor->next) >= cursor->end)
            continue;
        *first = ouroi_atomic_fetch_add_relaxed(&cursor->next, (size_t)PATCHES_AT_ONCE); /* relaxed: the same */
        if (*first < cursor->end) {
            *end = cursor->end - *first > PATCHES_AT_ONCE ? *first + PATCHES_AT_ONCE : cursor->end;
            return true;
        }
    }
    return false;
}

static void subtract_visit(ouro_object *obj, void *arg)
{
    ouroi_subtract_visit(arg, obj, true);
}
static void reach_visit(ouro_object *obj, void *arg)
{
    ouroi_reach_visit(arg, obj, false);
}
static void reach_visit_first(ouro_object *obj, void *arg)
{
    ouroi_reach_visit(arg, obj, true);
}

static void count(void *arg, unsigned index, unsigned workers)
{
    struct ouroi_search *search = arg;
    struct ouroi_searcher *searcher = &search->searchers[index];
    size_t first, end;
    (void)workers;
    while (take_patches(searcher, &first, &end))
        for (size_t i = first; i < end; i++)
            ouroi_count_patch(searcher, &search->patches[i]);
}

void ouroi_parallel_count(struct ouroi_search *search)
{
    rewind_cursors(search);
    ouroi_workers_run(search->workers, count, search);
}

static void subtract(void *arg, unsigned index, unsigned workers)
{
    struct ouroi_search *search = arg;
    struct ouroi_searcher *searcher = &search->searchers[index];
    size_t first, end;
    (void)workers;
    while (take_patches(searcher, &first, &end))
        for (size_t i = first; i < end; i++)
            ouroi_subtract_patch(searcher, &search->patches[i], true, subtract_visit);
    ouroi_subtract_ring(searcher, true);
}

void ouroi_parallel_subtract(struct ouroi_search *search)
{
    rewind_cursors(search);
    ouroi_workers_run(search->workers, subtract, search);
}

static void sweep(void *arg, unsigned index, unsigned workers)
{
    struct ouroi_search *search = arg;
    size_t first, end;
    (void)workers;
    while (take_patches(&search->searchers[index], &first, &end))
        for (size_t i = first; i < end; i++)
            ouroi_search_sweep_patch(search, &search->patches[i]);
}

void ouroi_parallel_sweep(struct ouroi_search *search)
{
    rewind_cursors(search);
    ouroi_workers_run(search->workers, sweep, search);
}

/* Reaching. */

static void give_away(struct ouroi_searcher *searcher)
{
    struct ouroi_list *stack = &searcher->stack;
    size_t given = 0, most = stack->count / 2 > GIVEN_AT_ONCE ? GIVEN_AT_ONCE : stack->count / 2;
    while (given < most && ouroi_deque_give(&searcher->deque, stack->items[given]))
        given++;
    for (size_t i = 0; i < given; i++) /* the newest fill the holes */
        stack->items[i] = stack->items[--stack->count];
}

/* Parcels: what lies on another node is for the workers of that node to look into. */

enum { PARCELS_AT_ONCE = 64 };
static size_t parcels_room; /* of one mapping */

static struct ouroi_parcel *empty_parcel(struct ouroi_searcher *searcher)
{
    struct ouroi_parcel *parcel = searcher->empty;
    if (parcel == NULL) {
        void *more = NULL;
        size_t room = 0; /* the same each time */
        if (ouroi_memory_grow(&more, &room, 0, PARCELS_AT_ONCE, sizeof *parcel) != 0)
            return NULL;
        if (!ouroi_list_push(&searcher->parcel_memory, more)) {
            ouroi_memory_free(&more, &room, sizeof *parcel);
            return NULL;
        }
        ouroi_atomic_store_relaxed(&parcels_room, room); /* relaxed: the same from all */
        for (size_t i = 0; i < room; i++) {
            struct ouroi_parcel *fresh = (struct ouroi_parcel *)more + i;
            fresh->next = parcel;
            parcel = fresh;
        }
    }
    searcher->empty = parcel->next;
    parcel->count = 0;
    return parcel;
}

void ouroi_parallel_free_parcels(void *memory)
{
    size_t room = parcels_room;
    ouroi_memory_free(&memory, &room, sizeof(struct ouroi_parcel));
}

static void send(struct ouroi_searcher *searcher, unsigned node)
{
    struct ouroi_parcel *parcel = searcher->parcels[node];
    struct ouroi_inbox *inbox = &searcher->search->inboxes[node];
    searcher->parcels[node] = NULL;
    ouroi_lock_acquire(&inbox->lock);
    parcel->next = inbox->first;
    ouroi_atomic_store_relaxed(&inbox->first, parcel); /* relaxed: under the lock; others have a look without it */
    ouroi_lock_release(&inbox->lock);
}

/* False: it is to be looked into here, for there is nobody else, or no memory. */
static bool pass_on(struct ouroi_searcher *searcher, ouro_object *obj, unsigned node)
{
    if (searcher->search->inboxes[node].workers == 0)
        return false;
    if (searcher->parcels[node] == NULL && (searcher->parcels[node] = empty_parcel(searcher)) == NULL)
        return false;
    struct ouroi_parcel *parcel = searcher->parcels[node];
    parcel->objects[parcel->count++] = obj;
    if (parcel->count == sizeof parcel->objects / sizeof parcel->objects[0])
        send(searcher, node);
    return true;
}

static bool send_all(struct ouroi_searcher *searcher)
{
    bool any = false;
    for (unsigned node = 0; node < node_count(); node++) {
        if (searcher->parcels[node] != NULL) {
            send(searcher, node);
            any = true;
        }
    }
    return any;
}

static struct ouroi_parcel *take_parcel(struct ouroi_inbox *inbox)
{
    if (ouroi_atomic_load_relaxed(&inbox->first) == NULL) /* relaxed: a look without the lock */
        return NULL;
    ouroi_lock_acquire(&inbox->lock);
    struct ouroi_parcel *parcel = inbox->first;
    if (parcel != NULL)
        ouroi_atomic_store_relaxed(&inbox->first, parcel->next); /* relaxed: under the lock */
    ouroi_lock_release(&inbox->lock);
    return parcel;
}

/* Looks into what others have sent, to this node first, to other nodes if there is nothing else. False: nothing. */
OUROI_INLINE bool unpack(struct ouroi_searcher *searcher, bool first, ouro_visit visit, bool all_nodes)
{
    unsigned nodes = node_count();
    for (unsigned i = 0; i < (all_nodes ? nodes : 1); i++) {
        struct ouroi_parcel *parcel = take_parcel(&searcher->search->inboxes[(searcher->node + i) % nodes]);
        if (parcel == NULL)
            continue;
        searcher->near += i == 0 ? parcel->count : 0;
        searcher->far += i == 0 ? 0 : parcel->count;
        for (size_t p = 0; p < parcel->count; p++) {
            if (p + OUROI_QUEUE / 2 < parcel->count)
                ouroi_object_prefetch(parcel->objects[p + OUROI_QUEUE / 2]);
            ouroi_reach_into(searcher, parcel->objects[p], first, visit);
        }
        parcel->next = searcher->empty;
        searcher->empty = parcel;
        return true;
    }
    return false;
}

/* True: another node's workers will look into it. */
static bool is_passed_on(struct ouroi_searcher *searcher, ouro_object *obj)
{
    const struct ouroi_run *run = ouroi_run_find(obj);
    unsigned node = run != NULL ? node_of(run) : searcher->node;
    if (node != searcher->node && pass_on(searcher, obj, node))
        return true;
    searcher->near += node == searcher->node;
    searcher->far += node != searcher->node;
    return false;
}

OUROI_INLINE void drain_with(struct ouroi_searcher *searcher, bool first, ouro_visit visit)
{
    struct ouroi_search *search = searcher->search;
    bool nodes = node_count() > 1;
    for (;;) {
        ouro_object *obj = ouroi_reach_next(searcher, first);
        if (obj == NULL)
            obj = ouroi_deque_take(&searcher->deque);
        if (obj == NULL) {
            if (!nodes || (!unpack(searcher, first, visit, false) && !send_all(searcher) &&
                           !unpack(searcher, first, visit, true)))
                return;
            continue;
        }
        if (OUROI_UNLIKELY(nodes) && is_passed_on(searcher, obj))
            continue;
        ouroi_reach_into(searcher, obj, first, visit);
        /* relaxed: a hint */
        if (OUROI_UNLIKELY(ouroi_atomic_load_relaxed(&search->idle) != 0) && searcher->stack.count >= 2 &&
            ouroi_deque_count(&searcher->deque) == 0)
            give_away(searcher);
    }
}

static void drain(struct ouroi_searcher *searcher, bool first)
{
    if (first)
        drain_with(searcher, true, reach_visit_first);
    else
        drain_with(searcher, false, reach_visit);
}

static void reach_patch(struct ouroi_searcher *searcher, const struct ouroi_patch *patch)
{
    for (uint32_t at = 0; at < patch->blocks; at += 8) {
        uint64_t mask = ouroi_patch_mask(patch, at, ouroi_mask_root);
        while (mask != 0) {
            uint32_t index = ouroi_mask_next(&mask, at);
            ouro_object *obj = ouroi_patch_object(patch, index);
            int8_t state = ouroi_state_get(&patch->states[index]);
            if (!ouroi_state_is_unreached(state)) /* meanwhile */
                continue;
            if (searcher->search->generation == 2)
                ouroi_hints_note_root(searcher, obj, state);
            ouroi_reach_state(searcher, &patch->states[index], obj, false);
            if (searcher->stack.count > STACK_ENOUGH)
                drain(searcher, false);
        }
    }
    drain(searcher, false);
}

/* Takes some of what another has to give. */
static bool steal(struct ouroi_searcher *searcher, unsigned workers)
{
    struct ouroi_search *search = searcher->search;
    unsigned got = 0;
    for (unsigned pass = 0; pass < 2 && got == 0; pass++) { /* other nodes' last */
        for (unsigned i = 1; i < workers && got == 0; i++) {
            struct ouroi_searcher *victim = &search->searchers[(searcher->index + i) % workers];
            if ((victim->node == searcher->node) != (pass == 0))
                continue;
            while (got < STOLEN_AT_ONCE && ouroi_deque_count(&victim->deque) != 0) {
                void *obj = ouroi_deque_steal(&victim->deque);
                if (obj == NULL)
                    break;
                if (!ouroi_list_push(&searcher->stack, obj))
                    searcher->failed = true;
                got++;
            }
        }
    }
    return got != 0;
}

static bool has_post(const struct ouroi_search *search)
{
    for (unsigned node = 0; node < node_count(); node++)
        if (ouroi_atomic_load_relaxed(&search->inboxes[node].first) != NULL) /* relaxed: a guess */
            return true;
    return false;
}

static bool somebody_gives(const struct ouroi_searcher *searcher, unsigned workers)
{
    for (unsigned i = 1; i < workers; i++)
        if (ouroi_deque_count(&searcher->search->searchers[(searcher->index + i) % workers].deque) != 0)
            return true;
    return has_post(searcher->search);
}

/* Waits for something to look into. False: all wait. Who is about to steal is not idle, so that when all are idle nobody has
 * anything, nor will have. */
static bool find_more(struct ouroi_searcher *searcher, unsigned workers)
{
    uint32_t *idle = &searcher->search->idle;
    /* [IDLE in] seq_cst, pairs with [IDLE out]: what this one had is done with. */
    ouroi_atomic_fetch_add_seq_cst(idle, 1u);
    for (unsigned spin = 0;; spin++) {
        /* [IDLE look] seq_cst, pairs with [IDLE in] */
        uint32_t now = ouroi_atomic_load_seq_cst(idle);
        if (now == workers)
            return false;
        if (somebody_gives(searcher, workers)) {
            /* [IDLE out] seq_cst, pairs with [IDLE look]: before it steals. */
            ouroi_atomic_fetch_add_seq_cst(idle, (uint32_t)-1);
            if (steal(searcher, workers) || has_post(searcher->search))
                return true;
            /* [IDLE in] seq_cst, pairs with [IDLE out] */
            ouroi_atomic_fetch_add_seq_cst(idle, 1u);
        } else if (ouroi_machine.cpus > 1 && spin < SPINS) {
            ouroi_pause();
        } else {
            ouroi_os.futex_wait(idle, now, NAP_NS);
        }
    }
}

static void reach(void *arg, unsigned index, unsigned workers)
{
    struct phase *phase = arg;
    struct ouroi_search *search = phase->search;
    struct ouroi_searcher *searcher = &search->searchers[index];
    size_t first, end;
    drain(searcher, phase->first);
    while (!phase->first && take_patches(searcher, &first, &end))
        for (size_t i = first; i < end; i++)
            reach_patch(searcher, &search->patches[i]);
    while (find_more(searcher, workers))
        drain(searcher, phase->first);
}

void ouroi_parallel_reach(struct ouroi_search *search, bool first)
{
    struct phase phase = { search, first };
    search->idle = 0;
    rewind_cursors(search);
    ouroi_workers_run(search->workers, reach, &phase);
}
