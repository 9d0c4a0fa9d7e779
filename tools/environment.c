/* tools/environment.c: sets aside the OURO_ variables before anything reads them: what traces a server must not trace the
 * tool that looks at it. */
#include "tool.h"

#include <string.h>

enum { VARIABLES_MAX = 64 };

char *tool_environment[VARIABLES_MAX + 1];

/* Before all constructors, the library's too. */
static void set_aside(int argc, char **argv, char **environment)
{
    (void)argc;
    (void)argv;
    size_t kept = 0, count = 0;
    for (size_t i = 0; environment[i] != NULL; i++)
        if (strncmp(environment[i], "OURO_", 5) == 0 && count < VARIABLES_MAX)
            tool_environment[count++] = environment[i];
        else
            environment[kept++] = environment[i];
    environment[kept] = NULL;
}
__attribute__((section(".preinit_array"), used)) static void (*const early)(int, char **, char **) = set_aside;
