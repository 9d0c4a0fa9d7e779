/* os/inject.c: requests for memory that fail on purpose (OURO_FAIL_NTH, debug builds).
 *
 * Owns        the count of requests.
 * Sync        the count is a relaxed atomic: which of two racing requests is the n-th does not matter.
 */
#include "os/os.h"

#include <errno.h>

static uint64_t fail_first, fail_last, requests;
static struct ouroi_os real;

static bool fails(void)
{
    /* relaxed: a counter on its own */
    uint64_t n = ouroi_atomic_fetch_add_relaxed(&requests, 1) + 1;
    return n >= fail_first && n <= fail_last;
}

static void *failing_map(void *at, size_t bytes, unsigned flags, int *error)
{
    if (!fails())
        return real.map(at, bytes, flags, error);
    *error = -ENOMEM;
    return NULL;
}

static int failing_resize(void *at, size_t old_bytes, size_t new_bytes)
{
    return new_bytes > old_bytes && fails() ? -ENOMEM : real.resize(at, old_bytes, new_bytes);
}

static int failing_move(void *from, size_t bytes, void *to, size_t to_bytes)
{
    return fails() ? -ENOMEM : real.move(from, bytes, to, to_bytes);
}

void ouroi_os_inject(uint64_t first, uint64_t last)
{
    if (real.map == NULL)
        real = ouroi_os;
    fail_first = first;
    fail_last = last;
    /* relaxed: set while no other thread runs */
    ouroi_atomic_store_relaxed(&requests, 0);
    ouroi_os.map = failing_map;
    ouroi_os.resize = failing_resize;
    ouroi_os.move = failing_move;
}

uint64_t ouroi_os_inject_requests(void)
{
    return ouroi_atomic_load_relaxed(&requests); /* relaxed: a counter on its own */
}

void ouroi_os_inject_from_environment(void)
{
    const char *value = ouroi_os_getenv("OURO_FAIL_NTH");
    if (!OURO_DEBUG || value == NULL)
        return;
    uint64_t n = 0;
    const char *at = value;
    for (; *at >= '0' && *at <= '9' && n < UINT64_MAX / 100; at++)
        n = n * 10 + (uint64_t)(*at - '0');
    if (n == 0 || (*at != '\0' && !(at[0] == '+' && at[1] == '\0')))
        ouroi_warn("OURO_FAIL_NTH=%s is neither N nor N+; ignored", value);
    else
        ouroi_os_inject(n, *at == '+' ? UINT64_MAX : n);
}
