/* unit/trace/make.h: snapshots made by hand, of known code. */
#ifndef MAKE_H
#define MAKE_H

#include <ouro/trace.h>

#include "unit/trace/known.h"
#include "unit/unit.h"

/* Loads a shared object of known.c, by its name in KNOWN_FOLDER or its path, and runs it. It stays loaded. */
const struct known *load_known(const char *name);

/* A snapshot of the whole traceback: one block of 100 bytes. */
ouro_snapshot *snapshot_of(const struct known *known);

/* One trace of `count` frames from known->frames. */
struct made {
    unsigned first, count;
    const char *type;
    size_t size, blocks;
};
ouro_snapshot *snapshot_of_all(const struct known *known, const struct made *made, size_t count);

/* A path in a folder that is the test's own, made at the first call; the same memory at each call. */
const char *scratch(const char *name);

/* All bytes of a file, to be freed. */
char *read_whole(const char *path, size_t *bytes);
void write_whole(const char *path, const void *bytes, size_t count);

#endif
