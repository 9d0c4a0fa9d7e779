/* tools/library.c: see library.h. */
#include "library.h"

#include "tool.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ouro/version.h>

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define ABI "." TEXT(OURO_VERSION_MAJOR) "." TEXT(OURO_VERSION_MINOR)

/* TOOL_LIBDIR: from where the tool is installed to where the libraries are. */
const char *const library_places[] = { TOOL_LIBDIR, "../lib", NULL };

char *library_tool(void)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0)
        return tool_format("ouro");
    path[length] = '\0';
    return tool_format("%s", path);
}

char *library_find(const char *name, const char *suffix)
{
    const char *version = strcmp(suffix, ".so") == 0 ? ABI : "";
    char *tool = library_tool(), *slash = strrchr(tool, '/'), *found = NULL;
    if (slash != NULL)
        *slash = '\0';
    for (size_t i = 0; library_places[i] != NULL && found == NULL; i++) {
        char *path = tool_format("%s/%s/%s%s%s", tool, library_places[i], name, suffix, version);
        found = realpath(path, NULL);
        free(path);
    }
    free(tool);
    return found;
}

const struct library_variable library_variables[] = {
    { "OURO_PURGE_DELAY_MS", "1000", "milliseconds that unused memory is kept before it goes back to the kernel" },
    { "OURO_THP", "auto", "transparent huge pages: auto (as a rule none), never, always" },
    { "OURO_NUMA", "auto", "memory from the thread's own node: auto, off, interleave" },
    { "OURO_SECURE", "0", "1: the hardened heap" },
    { "OURO_STATS_AT_EXIT", "unset", "text, json: statistics when the process ends" },
    { "OURO_STATS_FILE", "stderr", "where these go; %p is the process's number" },
    { "OURO_TRACE", "unset", "FRAMES[:SAMPLE_BYTES]: allocations are traced" },
    { "OURO_TRACE_FILE", "unset", "where the snapshot of what is traced goes" },
    { "OURO_TRACE_SIGNAL", "unset", "the signal at which a snapshot is written" },
    { "OURO_GC_DISABLE", "0", "1: no collection comes by itself" },
    { "OURO_GC_THRESHOLD", "adapts", "N[,N[,N]]: when collections come, as in Python's gc module" },
    { "OURO_GC_WORKERS", "0", "threads that a collection may use; 0: from the machine" },
    { "OURO_GC_DEBUG", "0", "stats, collectable, uncollectable, saveall, leak: what collections say on stderr" },
    { "OURO_STW_WARN_MS", "1000", "milliseconds until a thread that does not stop is named; 0: never" },
    { "OURO_STW_SIGNAL", "unset", "the signal that stops threads which reach no safepoint" },
    { "OURO_FAIL_NTH", "unset", "N, N+: debug builds: requests to the kernel for memory that fail" },
    { NULL, NULL, NULL },
};

const char *library_setting(const char *name)
{
    size_t length = strlen(name);
    for (char **entry = tool_environment; *entry != NULL; entry++)
        if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
            return *entry + length + 1;
    return NULL;
}
