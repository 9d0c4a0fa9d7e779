/* preload/check_main.c: main of the check programs.
 *
 *   PROGRAM --list         a line for each check: name, needs
 *   PROGRAM --run NAME     runs one; exit status 0, 1 with a line on stderr, or CHECK_SKIPPED
 *
 * Nothing runs before the check: no stdio, no allocation, so that the check's is the first call that the program makes.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "tables.h"

static const struct check *find_check(const char *name)
{
    for (size_t t = 0; check_tables[t] != NULL; t++) {
        for (const struct check *c = check_tables[t]; c->name != NULL; c++) {
            if (strcmp(c->name, name) == 0)
                return c;
        }
    }
    return NULL;
}

static int list_checks(void)
{
    for (size_t t = 0; check_tables[t] != NULL; t++) {
        for (const struct check *c = check_tables[t]; c->name != NULL; c++)
            printf("%s %s\n", c->name, c->needs);
    }
    return 0;
}

static void before_constructors(int argc, char **argv, char **envp)
{
    (void)envp;
    if (argc < 3 || strcmp(argv[1], "--run") != 0)
        return;
    const struct check *c = find_check(argv[2]);
    if (c != NULL && c->early != NULL)
        c->early();
}

__attribute__((section(".preinit_array"),
               used)) static void (*before_constructors_entry)(int, char **, char **) = before_constructors;

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0)
        return list_checks();
    if (argc >= 3 && strcmp(argv[1], "--run") == 0) {
        const struct check *c = find_check(argv[2]);
        if (c == NULL) {
            fputs("no such check\n", stderr);
            return 2;
        }
        if (c->run != NULL)
            c->run();
        return 0;
    }
    fputs("usage: --list | --run NAME\n", stderr);
    return 2;
}
