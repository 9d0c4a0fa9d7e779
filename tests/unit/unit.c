/* unit/unit.c: see unit.h. */
#define _GNU_SOURCE
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const int deadly[] = { SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS };

int unit_in_child(void (*fn)(void *), void *arg, char *text, size_t size)
{
    int ends[2], status = -1;
    char rest[256];
    size_t used = 0;
    fflush(NULL);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        for (size_t i = 0; i < COUNT_OF(deadly); i++) /* cmocka catches them */
            signal(deadly[i], SIG_DFL);
        fn(arg);
        _exit(0);
    }
    close(ends[1]);
    for (;;) {
        bool room = used + 1 < size;
        ssize_t n = read(ends[0], room ? text + used : rest, room ? size - 1 - used : sizeof rest);
        if (n <= 0)
            break;
        used += room ? (size_t)n : 0;
    }
    close(ends[0]);
    if (size > 0)
        text[used] = '\0';
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

bool unit_child_returned(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void unit_child_fail(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not so: %s\n", strrchr(file, '/') != NULL ? strrchr(file, '/') + 1 : file, line, what);
    fflush(stderr);
    _exit(1);
}
