/* fuzz/replay.c: main of the fuzz target for any compiler: runs files, folders of files, or random bytes.
 *
 *   replay PATH...                      every file, and every file of every folder
 *   replay --random COUNT [SEED]        that many inputs made from the seed; each is named before it runs
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/shadow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 1 << 16 };
static uint8_t data[MAX_BYTES];
static size_t inputs;

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    printf("%s\n", path);
    fflush(stdout);
    inputs++;
    return LLVMFuzzerTestOneInput(data, size);
}

static int run_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode))
        return run_file(path);
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort), failed = 0;
    for (int i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            failed |= run_file(name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return failed;
}

static int run_random(unsigned long count, uint64_t seed)
{
    const char *longer = getenv("OURO_TEST_LONG");
    if (longer != NULL && strcmp(longer, "0") != 0)
        count *= 20;
    for (unsigned long i = 0; i < count; i++) {
        uint64_t state = seed + i;
        size_t size = (size_t)(shadow_random(&state) % 2000);
        for (size_t at = 0; at < size; at++)
            data[at] = (uint8_t)shadow_random(&state);
        printf("seed %llu\n", (unsigned long long)(seed + i));
        fflush(stdout);
        if (LLVMFuzzerTestOneInput(data, size) != 0)
            return 1;
        inputs++;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int failed = 0;
    if (argc >= 3 && strcmp(argv[1], "--random") == 0) {
        failed = run_random(strtoul(argv[2], NULL, 10), argc > 3 ? strtoull(argv[3], NULL, 10) : 1);
    } else {
        for (int i = 1; i < argc; i++)
            failed |= run_path(argv[i]);
    }
    printf("%zu inputs\n", inputs);
    return failed != 0 || inputs == 0;
}
