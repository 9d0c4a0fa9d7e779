/* preload/plugin.c: a library that the checks load. It allocates when it is loaded, when it is asked, with a block for
 * each thread in storage of its own, and frees when it goes. */
#define _GNU_SOURCE
#include "plugin.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static void *made_at_load;
static _Thread_local char *of_thread;
static _Thread_local char padding_of_thread[3000];

__attribute__((constructor)) static void load(void)
{
    made_at_load = malloc(5000);
    if (made_at_load != NULL)
        memset(made_at_load, 0x42, 5000);
    free(calloc(3, 70000));
}

__attribute__((destructor)) static void unload(void)
{
    free(made_at_load);
    free(malloc(100));
}

__attribute__((visibility("default"))) void *plugin_take(size_t size)
{
    return malloc(size);
}

__attribute__((visibility("default"))) void plugin_free(void *ptr)
{
    free(ptr);
}

__attribute__((visibility("default"))) void *plugin_grow(void *ptr, size_t size)
{
    return realloc(ptr, size);
}

__attribute__((visibility("default"))) char *plugin_text(const char *text)
{
    return strdup(text);
}

__attribute__((visibility("default"))) size_t plugin_usable(void *ptr)
{
    return malloc_usable_size(ptr);
}

__attribute__((visibility("default"))) bool plugin_thread(void)
{
    free(of_thread);
    of_thread = malloc(200);
    if (of_thread == NULL)
        return false;
    memset(of_thread, 0x33, 200);
    memset(padding_of_thread, 0x44, sizeof padding_of_thread);
    return made_at_load != NULL;
}

__attribute__((visibility("default"))) void plugin_thread_done(void)
{
    free(of_thread);
    of_thread = NULL;
}
