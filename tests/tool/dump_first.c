/* tool/dump_first.c: to be preloaded: before its first full collection by hand, a program dumps its graph into the file that
 * DUMP_FIRST names. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <ouro/gc.h>

long ouro_gc_collect(int generation)
{
    const char *path = getenv("DUMP_FIRST");
    long (*collect)(int);
    *(void **)&collect = dlsym(RTLD_NEXT, "ouro_gc_collect");
    if (path != NULL) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (fd < 0 || ouro_gc_dump_graph(fd) != 0)
            _exit(99);
        close(fd);
        unsetenv("DUMP_FIRST");
    }
    return collect(generation);
}
