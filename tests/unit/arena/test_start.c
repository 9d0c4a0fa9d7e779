/* unit/arena/test_start.c: machines that the layer cannot start on. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <string.h>

#include "arena/arena.h"

static void start_with_page(void *arg)
{
    ouroi_os_init();
    ouroi_machine.page_bytes = *(size_t *)arg;
    CHILD_EXPECT(ouroi_arena_init() == 0);
}

/* Slices must hold whole pages: said in words at the start, not found out later. */
static void test_pages_larger_than_slices(void **state)
{
    (void)state;
    char text[512];
    size_t page = 2 * OUROI_SLICE_BYTES;
    assert_false(unit_child_returned(unit_in_child(start_with_page, &page, text, sizeof text)));
    assert_non_null(strstr(text, "pages of"));
    page = OUROI_SLICE_BYTES;
    assert_true(unit_child_returned(unit_in_child(start_with_page, &page, text, sizeof text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_pages_larger_than_slices) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
