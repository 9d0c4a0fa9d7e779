/* Each request of the recorder for memory fails, in turn: what the program asks for is there all the same, untraced. */
#include "unit/unit.h"

#include <errno.h>
#include <string.h>

#include <ouro/ouro.h>
#include <ouro/trace.h>

#include "os/os.h"

enum { DEEP = 40, BLOCKS = 3000 };
static void *blocks[BLOCKS];

static __attribute__((noinline)) void *make(size_t size, unsigned depth, unsigned path)
{
    void *p = depth == 0      ? ouro_malloc(size)
              : path % 2 == 0 ? make(size, depth - 1, path / 2)
                              : make(size, depth - 1, path / 2 + (path == 0));
    __asm__ __volatile__("" : "+r"(p)::"memory");
    return p;
}

static void scenario(void)
{
    size_t now, most;
    for (unsigned i = 0; i < BLOCKS; i++) {
        size_t size = i % 100 == 0 ? 50000 : i % 700;
        blocks[i] = make(size, i % DEEP, i);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, size);
    }
    for (unsigned i = 0; i < BLOCKS; i += 3) {
        void *p = ouro_realloc(blocks[i], i % 900);
        assert_non_null(p);
        blocks[i] = p;
    }
    ouro_snapshot *snapshot = ouro_trace_take_snapshot();
    assert_true(snapshot != NULL || errno == ENOMEM || errno == EINVAL);
    ouro_snapshot_free(snapshot);
    ouro_trace_clear();
    for (unsigned i = 0; i < BLOCKS; i++)
        ouro_free(blocks[i]);
    ouro_trace_get_traced_memory(&now, &most);
    assert_int_equal(now, 0);
}

static void run(bool all_later, size_t sample_bytes)
{
    for (uint64_t n = 1;; n++) {
        /* The heap's own memory is there: what fails is the recorder's, mostly. One failure the heap makes good for. */
        scenario();
        ouroi_os_inject(n, all_later ? n + 3 : n);
        int rc = ouro_trace_start(30, sample_bytes);
        assert_true(rc == 0 || (rc == -1 && errno == ENOMEM));
        scenario();
        bool past = ouroi_os_inject_requests() < n;
        ouroi_os_inject(0, 0);
        ouro_trace_stop();
        assert_int_equal(ouro_debug_check(), 0);
        if (past)
            break;
        assert_true(n < 500);
    }
}

static void test_each_request(void **state)
{
    (void)state;
    run(false, 0);
    run(false, 70000);
    run(false, 300);
}

static void test_some_in_a_row(void **state)
{
    (void)state;
    run(true, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_request),
        cmocka_unit_test(test_some_in_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
