/* fuzz/graphs.c: a graph of objects changed by operations read from bytes, against a naive oracle.
 *
 * The oracle keeps each object's references once more and knows what is reachable from the roots by walking. Held to: what is
 * reachable was not destroyed, after every operation; what is not, was, after a full collection; a weak reference leads to its
 * target as long as that was not destroyed. Bit 7 of an operation lets the other of two threads do it, by turns, so that the same
 * bytes are the same sequence.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <ouro/ouro.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"

enum { ROOTS = 16, WEAKS = 8, FIELDS = 3, NODES = 600, OPERATIONS = 1500, KINDS = 4 };

struct node {
    ouro_object base;
    unsigned number; /* in `model`, from 1 */
    struct node *refs[2];
    ouro_slot slot;
};

static struct {
    struct node *object;
    unsigned edges[FIELDS]; /* numbers, 0: none */
    unsigned value;         /* in the map, 0: it is no key */
    bool destroyed, finalized, reached;
} model[NODES + 1];
static unsigned made, roots[ROOTS];
static struct {
    ouro_weakref *ref;
    unsigned target;
} weaks[WEAKS];
static ouro_weakmap *map;
/* A distributed object is freed after the collection that finds its count zero, and what it leads to after the next. */
static bool some_distributed;
static bool rises; /* what dies by now puts itself into a root */

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

static void node_destroy(ouro_object *self)
{
    unsigned number = ((struct node *)self)->number;
    CHECK(number >= 1 && number <= made && !model[number].destroyed);
    model[number].destroyed = true;
    model[number].object = NULL;
}

static void node_finalize(ouro_object *self)
{
    unsigned number = ((struct node *)self)->number;
    CHECK(!model[number].destroyed && !model[number].finalized);
    model[number].finalized = true;
    unsigned *root = &roots[number % ROOTS];
    if (rises && *root == 0) {
        ouro_incref(self);
        *root = number;
    }
}

/* As those with a map of references, by hand. */
static void node_traverse(ouro_object *self, ouro_visit visit, void *arg)
{
    struct node *node = (struct node *)self;
    for (unsigned i = 0; i < 2; i++)
        if (node->refs[i] != NULL)
            visit(&node->refs[i]->base, arg);
}
static void node_clear(ouro_object *self)
{
    struct node *node = (struct node *)self;
    OURO_CLEAR(node->refs[0]);
    OURO_CLEAR(node->refs[1]);
}

static ouro_type types[KINDS] = {
    OURO_TYPE(struct node, OURO_REFS(struct node, refs[0], refs[1], slot), .destroy = node_destroy),
    OURO_TYPE(struct node, OURO_REFS(struct node, refs[0], refs[1], slot), .finalize = node_finalize,
              .destroy = node_destroy),
    OURO_TYPE(struct node, OURO_REFS(struct node, slot), .traverse = node_traverse, .clear = node_clear,
              .destroy = node_destroy),
    OURO_TYPE(struct node, .destroy = node_destroy), /* tracked by nobody: it refers to nothing */
};

/* What is reachable; values of the map by their keys. */
static void reach(unsigned number)
{
    if (number == 0 || model[number].reached)
        return;
    model[number].reached = true;
    for (unsigned i = 0; i < FIELDS; i++)
        reach(model[number].edges[i]);
    reach(model[number].value);
}

static void reach_all(void)
{
    for (unsigned i = 1; i <= made; i++)
        model[i].reached = false;
    for (unsigned i = 0; i < ROOTS; i++)
        reach(roots[i]);
}

static void check_weaks(void)
{
    for (unsigned i = 0; i < WEAKS; i++) {
        if (weaks[i].ref == NULL)
            continue;
        struct node *found = ouro_weakref_get(weaks[i].ref);
        CHECK(found == NULL ? !model[weaks[i].target].reached : found->number == weaks[i].target);
        ouro_xdecref(found);
    }
}

static void check(bool all_dead)
{
    reach_all();
    for (unsigned i = 1; i <= made; i++)
        if (model[i].reached)
            CHECK(!model[i].destroyed && model[i].object->number == i);
    check_weaks();
    for (unsigned i = 1; all_dead && !some_distributed && i <= made; i++)
        CHECK(model[i].reached || model[i].destroyed);
}

struct reader {
    const uint8_t *at, *end;
};

static uint8_t next(struct reader *reader)
{
    return reader->at < reader->end ? *reader->at++ : 0;
}

static struct node *root_at(uint8_t which)
{
    return model[roots[which % ROOTS]].object;
}

static void set_root(uint8_t which, unsigned number)
{
    unsigned old = roots[which % ROOTS];
    struct node *object = model[old].object;
    roots[which % ROOTS] = number;
    if (old != 0)
        ouro_decref(object);
}

static void make(struct reader *reader)
{
    unsigned kind = next(reader) % KINDS;
    struct node *node = made < NODES ? ouro_new(&types[kind]) : NULL;
    if (node == NULL)
        return;
    node->number = ++made;
    memset(&model[made], 0, sizeof model[made]);
    model[made].object = node;
    set_root(next(reader), made);
}

static void set_edge(struct reader *reader)
{
    struct node *from = root_at(next(reader)), *to = root_at(next(reader));
    unsigned field = next(reader) % FIELDS;
    if (from == NULL || ouro_typeof(from) == &types[3])
        return;
    model[from->number].edges[field] = to != NULL ? to->number : 0;
    if (field < 2)
        OURO_SETREF(from->refs[field], ouro_xnewref(to));
    else
        ouro_slot_store(&from->slot, to);
}

/* A root becomes what a root refers to. */
static void follow(struct reader *reader)
{
    struct node *from = root_at(next(reader));
    unsigned field = next(reader) % FIELDS;
    if (from == NULL)
        return;
    struct node *to = field < 2 ? ouro_xnewref(from->refs[field]) : ouro_slot_load(&from->slot);
    CHECK(model[from->number].edges[field] == (to != NULL ? to->number : 0));
    set_root(next(reader), to != NULL ? to->number : 0);
}

static void refer_weakly(struct reader *reader)
{
    unsigned at = next(reader) % WEAKS;
    struct node *target = root_at(next(reader));
    OURO_CLEAR(weaks[at].ref);
    if (target == NULL)
        return;
    weaks[at].target = target->number;
    weaks[at].ref = ouro_weakref_new(target, NULL, NULL);
}

static void take_weak(struct reader *reader)
{
    unsigned at = next(reader) % WEAKS;
    struct node *found = weaks[at].ref != NULL ? ouro_weakref_get(weaks[at].ref) : NULL;
    if (found != NULL)
        set_root(next(reader), found->number);
}

static void use_map(struct reader *reader)
{
    struct node *key = root_at(next(reader)), *value = root_at(next(reader));
    if (key == NULL)
        return;
    if (value == NULL) {
        bool was = ouro_weakmap_remove(map, key);
        CHECK(was == (model[key->number].value != 0));
        model[key->number].value = 0;
    } else if (ouro_weakmap_set(map, key, value) == 0) {
        model[key->number].value = value->number;
    }
    struct node *found = ouro_weakmap_get(map, key);
    CHECK((found != NULL ? found->number : 0) == model[key->number].value);
    ouro_xdecref(found);
}

static bool collects_all;
static void collect(struct reader *reader)
{
    uint8_t how = next(reader);
    rises = (how & 64) != 0;
    if ((how & 128) != 0)
        ouroi_os_inject(1 + how % 8, 1 + how % 8);
    long found = ouro_gc_collect(how % 3);
    ouroi_os_inject(UINT64_MAX, UINT64_MAX);
    CHECK(found >= 0 || errno == ENOMEM);
    collects_all = found >= 0 && how % 3 == 2;
    rises = false;
}

static void operate(struct reader *reader, uint8_t code)
{
    struct node *node;
    switch (code % 12) {
    case 0:
    case 1:
    case 2:
        make(reader);
        break;
    case 3:
    case 4:
        set_edge(reader);
        break;
    case 5:
        follow(reader);
        break;
    case 6:
        set_root(next(reader), 0);
        break;
    case 7:
        refer_weakly(reader);
        break;
    case 8:
        take_weak(reader);
        break;
    case 9:
        use_map(reader);
        break;
    case 10:
        collect(reader);
        break;
    default:
        node = next(reader) % 8 == 0 ? root_at(next(reader)) : NULL;
        if (node != NULL) {
            CHECK(ouro_distribute(node) == 0 || errno == ENOMEM);
            some_distributed = true;
        }
    }
}

/* The other thread, asleep in a blocking region but for its turns. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct {
    struct reader *reader;
    uint8_t code;
    bool wanted, ends;
} turn;

static void *take_turns(void *arg)
{
    for (;;) {
        ouro_blocking_begin();
        pthread_mutex_lock(&lock);
        while (!turn.wanted && !turn.ends)
            pthread_cond_wait(&changed, &lock);
        bool ends = turn.ends;
        pthread_mutex_unlock(&lock);
        ouro_blocking_end();
        if (ends)
            return arg;
        operate(turn.reader, turn.code);
        ouro_safepoint();
        ouro_blocking_begin();
        pthread_mutex_lock(&lock);
        turn.wanted = false;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        ouro_blocking_end();
    }
}

static void let_other(struct reader *reader, uint8_t code)
{
    ouro_blocking_begin();
    pthread_mutex_lock(&lock);
    turn.reader = reader;
    turn.code = code;
    turn.wanted = true;
    pthread_cond_broadcast(&changed);
    while (turn.wanted)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    ouro_blocking_end();
    ouro_safepoint();
}

static void finish(void)
{
    for (unsigned i = 0; i < ROOTS; i++)
        set_root((uint8_t)i, 0);
    rises = false;
    for (unsigned i = 0; i < 20; i++)
        CHECK(ouro_gc_collect(2) >= 0);
    for (unsigned i = 1; i <= made; i++)
        CHECK(model[i].destroyed);
    for (unsigned i = 0; i < WEAKS; i++)
        OURO_CLEAR(weaks[i].ref);
    CHECK(ouro_weakmap_size(map) == 0);
    OURO_CLEAR(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader reader = { data, data + size };
    pthread_t other;
    made = 0;
    some_distributed = false;
    turn.ends = false;
    ouro_gc_disable();
    ouro_gc_set_workers(1 + next(&reader) % 3);
    map = ouro_weakmap_new();
    CHECK(map != NULL && pthread_create(&other, NULL, take_turns, NULL) == 0);
    for (unsigned i = 0; i < OPERATIONS && reader.at < reader.end; i++) {
        uint8_t code = next(&reader);
        collects_all = false;
        if ((code & 128) != 0)
            let_other(&reader, code & 127);
        else
            operate(&reader, code);
        check(collects_all);
    }
    ouro_blocking_begin();
    pthread_mutex_lock(&lock);
    turn.ends = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(other, NULL);
    ouro_blocking_end();
    finish();
    CHECK(ouro_debug_check() == 0);
    return 0;
}
