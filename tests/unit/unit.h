/* unit/unit.h: cmocka and what unit tests share. */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Runs fn(arg) in a child; returns its wait status. What it writes to stderr comes back, cut to fit. Child: exit status
 * 0 if fn returns. */
int unit_in_child(void (*fn)(void *), void *arg, char *text, size_t size);

/* That the status is of a child that returned. */
bool unit_child_returned(int status);

/* For children, where cmocka's asserts mean nothing: a line on stderr, and exit. */
#define CHILD_EXPECT(condition)                              \
    do {                                                     \
        if (!(condition))                                    \
            unit_child_fail(#condition, __FILE__, __LINE__); \
    } while (0)
void unit_child_fail(const char *what, const char *file, int line) __attribute__((noreturn));

#endif
