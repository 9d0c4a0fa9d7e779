/* unit/gc/test_dump.c: dumped graphs, read by the tool's reader, are the graphs that there were; with any number of workers,
 * while threads change other parts, and where memory runs out. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <graph.h>

#include "gc/internal.h"

struct node {
    ouro_object base;
    void *to[3];
};
struct leaf {
    ouro_object base;
    uint64_t value;
};
struct list {
    ouro_object base;
    ouro_object *kept; /* that traverse alone knows */
};

static void list_traverse(ouro_object *self, ouro_visit visit, void *arg)
{
    struct list *list = (struct list *)self;
    if (list->kept != NULL)
        visit(list->kept, arg);
}

static void list_clear(ouro_object *self)
{
    OURO_CLEAR(((struct list *)self)->kept);
}

static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, to[0], to[1], to[2]));
static ouro_type leaf_type = OURO_TYPE(struct leaf);
static ouro_type list_type = { .name = "a list \"of\" <many>\n\xff",
                               .size = sizeof(struct list),
                               .item_size = sizeof(void *),
                               .items_are_refs = true,
                               .traverse = list_traverse,
                               .clear = list_clear };

static uint64_t random_state = 1;

static size_t draw(size_t below)
{
    return (size_t)(ouroi_random_next(&random_state) % below);
}

/* Dumps into memory; NULL: it said ENOMEM. */
static struct graph *dump(void)
{
    int fd = memfd_create("graph", 0);
    assert_true(fd >= 0);
    if (ouro_gc_dump_graph(fd) != 0) {
        assert_int_equal(errno, ENOMEM);
        assert_int_equal(lseek(fd, 0, SEEK_END), 0);
        close(fd);
        return NULL;
    }
    size_t size = (size_t)lseek(fd, 0, SEEK_END);
    const char *problem = NULL;
    uint8_t *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_true(bytes != MAP_FAILED);
    close(fd);
    struct graph *graph = graph_parse(bytes, size, &problem);
    if (graph == NULL)
        fail_msg("the graph %s", problem);
    munmap(bytes, size);
    return graph;
}

/* What was made: objects and what they refer to. */
enum { OBJECTS = 30000, REFS_MOST = 40 };
static struct made {
    ouro_object *object;
    size_t held, from_untracked; /* references */
    size_t ref_count;
    ouro_object *refs[REFS_MOST];
    size_t to[REFS_MOST]; /* the same, as places in `made` */
} made[OBJECTS];

static void make_one(struct made *one, size_t number)
{
    size_t items = 0;
    switch (draw(4)) {
    case 0:
        one->object = ouro_new(&leaf_type);
        return;
    case 1:
        items = draw(30) == 0 ? REFS_MOST - 1 : draw(5);
        one->object = ouro_new_items(&list_type, items);
        break;
    default:
        one->object = ouro_new(&node_type);
    }
    for (size_t i = 0; i < (items != 0 ? items : 3) && number != 0; i++) {
        size_t place = draw(number);
        ouro_object *to = made[place].object;
        if (draw(3) == 0 || (ouro_typeof(one->object) == &list_type && items == 0))
            continue;
        void **at = items != 0 ? (void **)ouro_items(one->object) + i : &((struct node *)one->object)->to[i];
        *at = ouro_newref(to);
        one->to[one->ref_count] = place;
        one->refs[one->ref_count++] = to;
    }
    if (ouro_typeof(one->object) == &list_type && number != 0) {
        size_t place = draw(number);
        ((struct list *)one->object)->kept = ouro_newref(made[place].object);
        one->to[one->ref_count] = place;
        one->refs[one->ref_count++] = made[place].object;
    }
}

/* The first is immortal, and the same each time. */
static void make(void)
{
    static ouro_object *forever;
    if (forever == NULL) {
        forever = ouro_new(&node_type);
        ouro_immortalize(forever);
    }
    made[0] = (struct made){ .object = forever };
    for (size_t i = 1; i < OBJECTS; i++) {
        memset(&made[i], 0, sizeof made[i]);
        make_one(&made[i], i);
        made[i].held = 1;
        for (; draw(20) == 0; made[i].held++)
            ouro_incref(made[i].object);
        if (draw(300) == 0)
            assert_int_equal(ouro_distribute(made[i].object), 0);
        if (draw(300) == 0)
            ouro_gc_untrack(made[i].object);
    }
}

static void drop(void)
{
    for (size_t i = 0; i < OBJECTS; i++)
        for (; made[i].held != 0; made[i].held--)
            ouro_decref(made[i].object);
    while (ouro_gc_collect(2) > 0) /* one that is distributed may hold another */
        continue;
}

/* References of untracked objects are from outside. */
static void count_untracked(void)
{
    for (size_t i = 0; i < OBJECTS; i++)
        made[i].from_untracked = 0;
    for (size_t i = 0; i < OBJECTS; i++)
        for (size_t k = 0; made[i].ref_count != 0 && !ouro_gc_is_tracked(made[i].object) && k < made[i].ref_count; k++)
            made[made[i].to[k]].from_untracked++;
}

static void check(const struct graph *graph)
{
    size_t there = 0;
    count_untracked();
    assert_int_equal(graph->dangling, 0);
    for (size_t i = 0; i < OBJECTS; i++) {
        const struct made *one = &made[i];
        uint32_t at = graph_find(graph, (uintptr_t)one->object);
        if (at == GRAPH_NONE) { /* a leaf that nothing refers to */
            assert_ptr_equal(ouro_typeof(one->object), &leaf_type);
            assert_int_equal(one->held + one->from_untracked, ouro_refcount(one->object));
            continue;
        }
        there++;
        const struct graph_shape *shape = graph_shape_of(graph, at);
        const char *name = ouro_typeof(one->object) == &list_type ? "a list \"of\" <many>\\x0a\\xff"
                                                                  : ouroi_type_name(ouro_typeof(one->object));
        assert_string_equal(graph->types[shape->type].name, name);
        assert_int_equal(shape->bytes, ouro_sizeof(one->object));
        assert_int_equal(shape->block_bytes, ouro_block_size(one->object));
        assert_int_equal(graph->flags[at] & GRAPH_IMMORTAL, i == 0 ? GRAPH_IMMORTAL : 0);
        if (i != 0)
            assert_int_equal(graph->outside[at], one->held + one->from_untracked);
        else
            assert_in_range(graph->outside[at], 1, UINT32_MAX);
        int generation = ouro_gc_generation_of(one->object);
        assert_int_equal(graph->flags[at] & GRAPH_GENERATION, generation < 0 ? GRAPH_UNTRACKED : generation);
        size_t listed = generation < 0 ? 0 : one->ref_count;
        assert_int_equal(graph_degree(graph, at), listed);
        for (size_t k = 0; k < listed; k++)
            assert_int_equal(graph_address(graph, graph_refs(graph, at)[k]), (uintptr_t)one->refs[k]);
    }
    assert_int_equal(graph->count, there);
}

static void whole(void **state)
{
    (void)state;
    ouroi_search_worker_objects = 256;
    ouro_gc_disable();
    for (unsigned round = 0; round < 3; round++) {
        make();
        for (unsigned workers = 1; workers <= 4; workers++) {
            if (workers == 2)
                ouro_gc_collect(0);
            if (workers == 4)
                ouro_gc_freeze();
            ouro_gc_set_workers(workers);
            struct graph *graph = dump();
            check(graph);
            graph_free(graph);
        }
        ouro_gc_unfreeze();
        drop();
    }
}

/* An object with more references than a chunk has room for. */
static void large(void **state)
{
    (void)state;
    enum { REFS = 3000000 };
    struct leaf *leaf = ouro_new(&leaf_type);
    struct list *list = ouro_new_items(&list_type, REFS);
    void **items = ouro_items(list);
    for (size_t i = 0; i < REFS; i++)
        items[i] = ouro_newref(i % 2 == 0 ? (void *)leaf : (void *)list);
    struct graph *graph = dump();
    uint32_t at = graph_find(graph, (uintptr_t)list);
    assert_int_equal(graph_degree(graph, at), REFS);
    assert_int_equal(graph->outside[at], 1);
    assert_int_equal(graph_shape_of(graph, at)->bytes, ouro_sizeof(list));
    graph_free(graph);
    ouro_decref(leaf);
    ouro_decref(list);
    assert_int_equal(ouro_gc_collect(2), 1);
}

/* Threads that change what is theirs. */
static bool ending;

static void *churn(void *arg)
{
    uint64_t random = (uintptr_t)arg;
    struct node *top = ouro_new(&node_type);
    while (!__atomic_load_n(&ending, __ATOMIC_RELAXED)) {
        struct node *node = ouro_new(&node_type);
        node->to[0] = ouro_new(&leaf_type);
        node->to[1] = ouro_newref(top);
        node->to[2] = ouro_newref(made[ouroi_random_next(&random) % OBJECTS].object);
        OURO_SETREF(top->to[ouroi_random_next(&random) % 2], (void *)node);
    }
    ouro_decref(top);
    return NULL;
}

static void while_threads_run(void **state)
{
    (void)state;
    pthread_t threads[3];
    ouro_gc_enable();
    ouro_gc_set_workers(2);
    make();
    for (uintptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
    count_untracked();
    for (unsigned round = 0; round < 10; round++) {
        struct graph *graph = dump();
        assert_int_equal(graph->dangling, 0);
        for (size_t i = 1; i < OBJECTS; i++) {
            uint32_t at = graph_find(graph, (uintptr_t)made[i].object);
            if (at == GRAPH_NONE)
                continue;
            /* A thread may have a reference that it has not stored yet. */
            size_t held = made[i].held + made[i].from_untracked;
            assert_in_range(graph->outside[at], held, held + 3);
            if (ouro_gc_is_tracked(made[i].object))
                assert_int_equal(graph_degree(graph, at), made[i].ref_count);
        }
        graph_free(graph);
    }
    __atomic_store_n(&ending, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 3; i++)
        OURO_BLOCKING
            pthread_join(threads[i], NULL);
    drop();
}

/* Into a pipe that takes little at a time, and does not wait. */
struct reader {
    int fd;
    uint8_t *bytes;
    size_t used;
};

static void *read_slowly(void *arg)
{
    struct reader *reader = arg;
    enum { PIECE = 10007 };
    ssize_t got;
    do {
        reader->bytes = realloc(reader->bytes, reader->used + PIECE);
        got = read(reader->fd, reader->bytes + reader->used, PIECE);
        reader->used += got > 0 ? (size_t)got : 0;
        usleep(50);
    } while (got > 0);
    return NULL;
}

static void into_a_pipe(void **state)
{
    (void)state;
    int ends[2];
    pthread_t thread;
    struct reader reader = { 0 };
    make();
    assert_int_equal(pipe2(ends, 0), 0);
    assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    reader.fd = ends[0];
    assert_int_equal(pthread_create(&thread, NULL, read_slowly, &reader), 0);
    assert_int_equal(ouro_gc_dump_graph(ends[1]), 0);
    close(ends[1]);
    OURO_BLOCKING
        pthread_join(thread, NULL);
    close(ends[0]);
    assert_true(reader.used > 100000); /* more than a pipe has room for */
    const char *problem;
    struct graph *graph = graph_parse(reader.bytes, reader.used, &problem);
    assert_non_null(graph);
    check(graph);
    graph_free(graph);
    free(reader.bytes);
    drop();
}

/* From a finalizer that a collection runs: what that has found dead is there, and holds nothing up. */
static struct graph *last_words;

static void finalize(ouro_object *self)
{
    (void)self;
    last_words = dump();
}

static ouro_type final_type = OURO_TYPE(struct node, .finalize = finalize, OURO_REFS(struct node, to[0], to[1], to[2]));

static void from_a_finalizer(void **state)
{
    (void)state;
    ouro_gc_disable();
    struct node *dying = ouro_new(&final_type), *living = ouro_new(&node_type);
    uintptr_t address = (uintptr_t)dying;
    dying->to[0] = ouro_newref(dying);
    dying->to[1] = ouro_newref(living);
    ouro_decref(dying);
    assert_int_equal(ouro_gc_collect(2), 1);
    assert_non_null(last_words);
    uint32_t at = graph_find(last_words, address), other = graph_find(last_words, (uintptr_t)living);
    assert_int_equal(last_words->flags[at], GRAPH_UNTRACKED | GRAPH_DEAD | GRAPH_FINALIZED);
    assert_int_equal(last_words->outside[at], 0);
    assert_int_equal(last_words->outside[other], 2);
    graph_free(last_words);
    ouro_decref(living);
}

/* No memory. */

static struct ouroi_os real;
static unsigned long calls, failing;

static void *map_or_not(void *at, size_t bytes, unsigned flags, int *error)
{
    if (__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) != failing)
        return real.map(at, bytes, flags, error);
    *error = -ENOMEM;
    return NULL;
}

static void without_memory(void **state)
{
    (void)state;
    unsigned failures = 0;
    ouro_gc_disable();
    ouro_gc_set_workers(2);
    make();
    ouroi_workers_prepare(2);
    real = ouroi_os;
    for (failing = 1;; failing++) {
        calls = 0;
        ouroi_os.map = map_or_not;
        struct graph *graph = dump();
        ouroi_os.map = real.map;
        failures += graph == NULL;
        if (graph != NULL) {
            check(graph);
            graph_free(graph);
        }
        if (calls < failing)
            break;
    }
    assert_true(failures >= 6);
    drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(large),
        cmocka_unit_test(while_threads_run),
        cmocka_unit_test(into_a_pipe),
        cmocka_unit_test(from_a_finalizer),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
