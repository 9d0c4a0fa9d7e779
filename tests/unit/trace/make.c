/* unit/trace/make.c: see make.h. */
#include "unit/trace/make.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace/snapshot.h"

const struct known *load_known(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s%s", name[0] == '/' ? "" : KNOWN_FOLDER "/", name);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fail_msg("%s", dlerror());
    const struct known *(*run)(void);
    void *address = dlsym(library, "known_run");
    assert_non_null(address);
    memcpy(&run, &address, sizeof address);
    return run();
}

ouro_snapshot *snapshot_of_all(const struct known *known, const struct made *made, size_t count)
{
    ouro_snapshot *snapshot = ouroi_snapshot_begin(8, 0);
    assert_non_null(snapshot);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ouroi_snapshot_add(snapshot, known->frames + made[i].first, made[i].count, made[i].type,
                                            made[i].size, made[i].blocks),
                         0);
    snapshot = ouroi_snapshot_finish(snapshot);
    assert_non_null(snapshot);
    return snapshot;
}

ouro_snapshot *snapshot_of(const struct known *known)
{
    struct made made = { .count = KNOWN_FRAMES, .size = 100, .blocks = 1 };
    return snapshot_of_all(known, &made, 1);
}

static char folder[] = "/tmp/ouro-trace-XXXXXX";

static void remove_folder(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0)
        perror(folder);
}

const char *scratch(const char *name)
{
    static char path[256];
    static bool made;
    if (!made) {
        assert_non_null(mkdtemp(folder));
        made = atexit(remove_folder) == 0;
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

char *read_whole(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *all = malloc(*bytes + 1);
    assert_non_null(all);
    assert_int_equal(fread(all, 1, *bytes, file), *bytes);
    all[*bytes] = '\0';
    fclose(file);
    return all;
}

void write_whole(const char *path, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}
