/* trace/libdw.c: opens elfutils' libdw and libstdc++'s demangler, at the first name that is asked for. Nothing is closed
 * again.
 *
 * Sync        pthread_once. dlopen allocates by the process's malloc: no lock of ours is held.
 */
#include "trace/libdw.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "base/base.h"

/* Weak: an archive that is linked statically does without. */
extern __typeof__(dlopen) dlopen __attribute__((weak));
extern __typeof__(dlsym) dlsym __attribute__((weak));

static struct ouroi_libdw libdw;
static bool found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

void *ouroi_libdw_open(const char *name)
{
    return dlopen != NULL && dlsym != NULL ? dlopen(name, RTLD_NOW | RTLD_LOCAL) : NULL;
}

void *ouroi_libdw_function(void *library, const char *name)
{
    return dlsym(library, name);
}

/* ISO C has no way from an object's pointer to a function's but through their bytes. */
#define OUROI_LOAD(name)                                      \
    do {                                                      \
        void *address = ouroi_libdw_function(library, #name); \
        all &= address != NULL;                               \
        memcpy(&libdw.name, &address, sizeof address);        \
    } while (0)

static void load(void)
{
    void *library = ouroi_libdw_open("libdw.so.1");
    bool all = library != NULL;
    if (!all)
        return;
    OUROI_LIBDW_FUNCTIONS(OUROI_LOAD);
    found = all;
    void *cxx = ouroi_libdw_open("libstdc++.so.6");
    void *demangle = cxx != NULL ? ouroi_libdw_function(cxx, "__cxa_demangle") : NULL;
    memcpy(&libdw.demangle, &demangle, sizeof demangle);
}

const struct ouroi_libdw *ouroi_libdw_get(void)
{
    pthread_once(&once, load);
    return found ? &libdw : NULL;
}
