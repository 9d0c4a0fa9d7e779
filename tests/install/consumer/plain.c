/* A program that knows nothing of us: says by argument whether malloc should be another than libc's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, "malloc");
    if (address == NULL || dladdr(address, &info) == 0)
        return 2;
    int preloaded = strstr(info.dli_fname, "libouro_malloc") != NULL;
    char *text = malloc(100);
    if (text == NULL)
        return 3;
    snprintf(text, 100, "malloc is %s", info.dli_fname);
    puts(text);
    free(text);
    (void)argv;
    return preloaded != (argc > 1);
}
