/* unit/trace/known.c: code of which tests know every line: compiled with -g and -O2 to a shared object, which is stripped
 * in several ways (CMakeLists.txt here).
 *
 * known_run leaves the return addresses, less one, of a chain of calls, innermost first, and the lines they are on.
 */
#include "unit/trace/known.h"

#define NOINLINE __attribute__((noinline, used))
#define CALLER ((const char *)__builtin_return_address(0) - 1)
#define KEEP __asm__ volatile("") /* so that the call before is no jump */

static struct known known;

static NOINLINE void note(void)
{
    known.frames[0] = CALLER;
}

static inline __attribute__((always_inline)) void known_deepest(void)
{
    known.lines[KNOWN_DEEPEST] = __LINE__, note();
    KEEP;
}

static inline __attribute__((always_inline)) void known_inlined(void)
{
    known.lines[KNOWN_INLINED] = __LINE__, known_deepest();
    KEEP;
}

/* Its name in the symbol table is as C++ would have it. */
NOINLINE void known_inner(int depth) __asm__("_ZN5known5innerEi");
NOINLINE void known_inner(int depth)
{
    known.frames[1] = CALLER;
    known.lines[KNOWN_INNER] = __LINE__, known_inlined();
    __asm__ volatile("" ::"r"(depth));
}

static NOINLINE void known_middle(void)
{
    known.frames[2] = CALLER;
    known.lines[KNOWN_MIDDLE] = __LINE__, known_inner(1);
    KEEP;
}

const struct known *known_run(void)
{
    known.lines[KNOWN_OUTER] = __LINE__, known_middle();
    KEEP;
    return &known;
}

/* Another name of it, which is not the one to show. */
const struct known *__known_run_alias(void) __attribute__((alias("known_run")));
