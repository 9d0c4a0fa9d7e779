/* preload/leaky.c: loses a block, and reads one that is freed: for a tool that should tell. */
#include <stdlib.h>
#include <string.h>

static char *volatile lost;

int main(int argc, char **argv)
{
    (void)argv;
    lost = malloc(123);
    lost = NULL;
    char *volatile freed = malloc(50);
    if (freed == NULL)
        return 1;
    memset(freed, argc, 50);
    free(freed);
    return freed[argc] == 100;
}
