/* tool/traced.c: a program that leaks, built for no tracing: run under the drop-in with OURO_TRACE. */
#include <stdlib.h>
#include <string.h>

enum { LEAKS = 500, LEAK_BYTES = 1000 };
static void *kept[LEAKS];

static __attribute__((noinline)) void remember(int i)
{
    kept[i] = malloc(LEAK_BYTES); /* leak */
    memset(kept[i], 1, LEAK_BYTES);
}

int main(void)
{
    for (int i = 0; i < LEAKS; i++) {
        remember(i);
        void *soon = malloc(4000);
        memset(soon, 1, 4000);
        free(soon);
    }
    return 0;
}
