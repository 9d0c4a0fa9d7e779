/* A stranger's C program: DROPIN says whether its own malloc should be ours. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ouro/ouro.h>

static int failures;

static void expect(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "wrong: %s\n", what);
        failures++;
    }
}

/* Out of the compiler's sight, which knows what malloc returns. */
static void *(*volatile const theirs)(size_t) = malloc;
static void (*volatile const theirs_free)(void *) = free;

int main(void)
{
    char *ours = ouro_malloc(1000);
    expect(ours != NULL && ouro_owns(ours), "ouro_owns(ouro_malloc(1000))");
    expect(ouro_usable_size(ours) >= 1000, "ouro_usable_size");
    memset(ours, 7, 1000);
    ours = ouro_realloc(ours, 5000);
    expect(ours != NULL && ours[999] == 7, "ouro_realloc keeps what was there");
    ouro_free(ours);

    void *block = theirs(1000);
    expect(block != NULL && (uintptr_t)block % 16 == 0, "malloc(1000)");
    expect(ouro_owns(block) == (DROPIN != 0), "whose malloc is it");
    /* libc's own calls are what would be missed if part of the drop-in had been linked. */
    char *copy = strdup("a string that libc allocates");
    expect(copy != NULL && ouro_owns(copy) == (DROPIN != 0), "whose malloc has libc");
    free(copy);
    void *aligned = NULL;
    expect(posix_memalign(&aligned, 4096, 100) == 0 && ouro_owns(aligned) == (DROPIN != 0), "posix_memalign");
    free(aligned);
    theirs_free(block);

    ouro_alloc_stats stats;
    ouro_stats_get(&stats);
    if (failures == 0)
        puts("c: right");
    return failures != 0;
}
