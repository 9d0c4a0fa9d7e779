/* unit/pool/test_pool.c: size classes; pools by themselves: carving, freeing, remote frees, owners. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "pool/pool.h"

static void test_size_classes(void **state)
{
    (void)state;
    unsigned last = 0;
    for (size_t size = 0; size <= OUROI_SMALL_MAX; size++) {
        unsigned c = ouroi_class_of(size);
        assert_in_range(c, 1, OUROI_CLASSES - 1);
        assert_true(c >= last);
        assert_true(ouroi_class_bytes(c) >= size);
        assert_true(c == 1 || ouroi_class_bytes(c - 1) < size); /* the smallest that fits */
        last = c;
    }
    assert_int_equal(last, OUROI_CLASSES - 1);
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        assert_int_equal(ouroi_class_of(ouroi_class_bytes(c)), c);
        assert_int_equal(ouroi_class_bytes(c) % 16, 0);
        if (c > 8) /* waste: at most an eighth, and the granule */
            assert_true(ouroi_class_bytes(c) <= ouroi_class_bytes(c - 1) * 9 / 8 + 16);
    }
}

/* Takes one block of an owned pool, as malloc does. */
static void *take(struct ouroi_pool *pool)
{
    if (pool->source.free == NULL && !ouroi_pool_replenish(pool))
        return NULL;
    struct ouroi_block *block = pool->source.free;
    pool->source.free = block->next;
    block->key = NULL;
    return block;
}

static struct ouroi_pool *new_pool(unsigned size_class)
{
    struct ouroi_pool *pool = ouroi_pool_new(0, size_class, false);
    assert_non_null(pool);
    ouroi_pool_arm(pool, OUROI_ARMED_CURRENT);
    return pool;
}

static void test_every_class_hands_out_its_capacity(void **state)
{
    (void)state;
    static void *blocks[70000];
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        struct ouroi_pool *pool = new_pool(c);
        size_t bytes = ouroi_class_bytes(c), count = 0;
        assert_int_equal(pool->block_bytes, bytes);
        while (count < COUNT_OF(blocks) && (blocks[count] = take(pool)) != NULL) {
            char *p = blocks[count];
            assert_int_equal((uintptr_t)p % 16, 0);
            assert_true((uintptr_t)p >= pool->run.start && (uintptr_t)p + bytes <= pool->run.start + pool->run.bytes);
            assert_true(ouroi_pool_is_block(pool, p));
            assert_ptr_equal(ouroi_run_find(p + bytes - 1), &pool->run);
            memset(p, (int)count, bytes);
            count++;
        }
        assert_int_equal(count, pool->capacity);
        assert_true(count >= 1);
        assert_int_equal(ouroi_pool_used(pool), count);
        for (size_t i = 0; i < count; i++) {
            char *p = blocks[i];
            assert_int_equal(p[0], (char)i);
            assert_int_equal(p[bytes - 1], (char)i);
        }
        for (size_t i = 0; i < count; i++)
            ouroi_pool_put(pool, blocks[i]);
        assert_int_equal(ouroi_pool_used(pool), 0);
        ouroi_pool_release(pool);
    }
}

static void test_what_is_a_block(void **state)
{
    (void)state;
    for (unsigned c = 1; c < OUROI_CLASSES; c += 5) {
        struct ouroi_pool *pool = new_pool(c);
        char *a = take(pool), *b = take(pool);
        assert_true(ouroi_pool_is_block(pool, a));
        if (b != NULL)
            assert_true(ouroi_pool_is_block(pool, b));
        assert_false(ouroi_pool_is_block(pool, a + 1));
        assert_false(ouroi_pool_is_block(pool, a + 8));
        if (pool->block_bytes > 16)
            assert_false(ouroi_pool_is_block(pool, a + 16));
        ouroi_pool_put(pool, (struct ouroi_block *)(void *)a);
        assert_true(ouroi_pool_has_free(pool, (struct ouroi_block *)(void *)a));
        if (b != NULL) {
            assert_false(ouroi_pool_has_free(pool, (struct ouroi_block *)(void *)b));
            ouroi_pool_put(pool, (struct ouroi_block *)(void *)b);
        }
        ouroi_pool_release(pool);
    }
}

/* Debug builds have a table for each pool, which serves the next one. */
static void test_pools_leave_no_descriptors_behind(void **state)
{
    (void)state;
    struct ouroi_arena_counts before, after;
    for (unsigned round = 0; round < 2000; round++) {
        struct ouroi_pool *pool = new_pool(1 + round % (OUROI_CLASSES - 1));
        ouroi_pool_put(pool, take(pool));
        ouroi_pool_release(pool);
        if (round == 500)
            ouroi_arena_count(&before, -1);
    }
    ouroi_arena_count(&after, -1);
    assert_int_equal(after.meta_bytes, before.meta_bytes);
}

struct remote {
    struct ouroi_pool *pool;
    void **blocks;
    size_t count, batch;
};

static void *free_remotely(void *arg)
{
    struct remote *r = arg;
    for (size_t i = 0; i < r->count; i += r->batch) {
        struct ouroi_block *head = NULL, *tail = NULL;
        uint32_t n = 0;
        for (size_t k = i; k < i + r->batch && k < r->count; k++) {
            struct ouroi_block *block = r->blocks[k];
            block->next = head;
            block->key = r->pool;
            head = block;
            tail = tail == NULL ? block : tail;
            n++;
        }
        ouroi_pool_push(r->pool, head, tail, n);
    }
    return NULL;
}

static void test_remote_frees_come_back(void **state)
{
    (void)state;
    static void *blocks[8192];
    static const size_t batches[] = { 1, 2, 7, 32, 8192 };
    for (size_t b = 0; b < COUNT_OF(batches); b++) {
        struct ouroi_pool *pool = new_pool(ouroi_class_of(64));
        size_t count = 0;
        while (count < COUNT_OF(blocks) && (blocks[count] = take(pool)) != NULL)
            count++;
        pthread_t threads[4];
        struct remote parts[4];
        for (size_t t = 0; t < 4; t++) {
            size_t from = count * t / 4, to = count * (t + 1) / 4;
            parts[t] = (struct remote){ pool, blocks + from, to - from, batches[b] };
            assert_int_equal(pthread_create(&threads[t], NULL, free_remotely, &parts[t]), 0);
        }
        for (size_t t = 0; t < 4; t++)
            pthread_join(threads[t], NULL);
        assert_int_equal(ouroi_remote_count(pool->remote), count);
        size_t again = 0;
        static bool seen[8192];
        memset(seen, 0, sizeof seen);
        for (void *p; (p = take(pool)) != NULL; again++) { /* each once */
            size_t index = ((uintptr_t)p - (uintptr_t)pool->run.start) / pool->block_bytes;
            assert_true(ouroi_pool_is_block(pool, p) && index < COUNT_OF(seen) && !seen[index]);
            seen[index] = true;
            blocks[again] = p;
        }
        assert_int_equal(again, count);
        for (size_t i = 0; i < again; i++)
            ouroi_pool_put(pool, blocks[i]);
        ouroi_pool_release(pool);
    }
}

static void test_disown_and_claim(void **state)
{
    (void)state;
    struct ouroi_pool *pool = new_pool(ouroi_class_of(256));
    struct ouroi_block *block = take(pool);
    ouroi_pool_arm(pool, 1);
    assert_false(ouroi_pool_claim(pool)); /* it has an owner */
    assert_int_equal(ouroi_pool_disown(pool, NULL, false), OUROI_DISOWNED);
    assert_true(ouroi_pool_claim(pool));
    assert_false(ouroi_pool_claim(pool));
    assert_int_equal(ouroi_pool_used(pool), 1);
    ouroi_pool_put(pool, block);
    pool->countdown--;
    assert_int_equal(ouroi_pool_used(pool), 0);
    assert_int_equal(ouroi_pool_disown(pool, NULL, false), OUROI_DISOWN_EMPTY);
    ouroi_pool_release(pool);
}

int main(void)
{
    ouroi_os_init();
    if (ouroi_arena_init() != 0)
        return 1;
    ouroi_pool_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size_classes),           cmocka_unit_test(test_every_class_hands_out_its_capacity),
        cmocka_unit_test(test_what_is_a_block),        cmocka_unit_test(test_pools_leave_no_descriptors_behind),
        cmocka_unit_test(test_remote_frees_come_back), cmocka_unit_test(test_disown_and_claim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
