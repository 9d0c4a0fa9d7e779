/* api/tests.c: see tests.h. */
#define _GNU_SOURCE
#include "tests.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

const size_t test_sizes[] = {
    0,       1,           8,       15,          16,        17,           24,        32,
    33,      48,          64,      100,         127,       128,          129,       200,
    256,     500,         1000,    1024,        1025,      2000,         4095,      4096,
    4097,    8192,        10000,   16 * KIB,    20000,     32 * KIB - 1, 32 * KIB,  32 * KIB + 1,
    40000,   64 * KIB,    65537,   100000,      128 * KIB, 200 * KIB,    256 * KIB, 500 * KIB,
    1 * MIB, 1 * MIB + 1, 2 * MIB, 3 * MIB + 7, 8 * MIB,   16 * MIB,     17 * MIB,  33 * MIB,
};
const size_t test_size_count = COUNT_OF(test_sizes);

void pattern_write(void *ptr, size_t size, unsigned seed)
{
    unsigned char *bytes = ptr;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(seed + i * 7 + (i >> 8));
}

bool pattern_holds(const void *ptr, size_t size, unsigned seed)
{
    const unsigned char *bytes = ptr;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != (unsigned char)(seed + i * 7 + (i >> 8)))
            return false;
    }
    return true;
}

size_t resident_bytes(void)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "Rss: %zu", &kib) != 1)
        continue;
    fclose(file);
    return kib * KIB;
}

int heap_is_sound(void **state)
{
    (void)state;
    return ouro_debug_check();
}
