/* preload/tables.h: the tables of checks, one a file. A program is made of some of them; check_tables lists which. */
#ifndef TABLES_H
#define TABLES_H

#include "check.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const struct check *const check_tables[]; /* ends with NULL */

extern const struct check checks_sizes[];   /* impossible sizes, errno, alignments */
extern const struct check checks_content[]; /* realloc, calloc, usable sizes, shadow model */
extern const struct check checks_memory[];  /* what is taken from the OS and what goes back */
extern const struct check checks_threads[];
extern const struct check checks_process[]; /* fork, exec, exit, signals, the shape of the process */
extern const struct check checks_limits[];  /* rlimits, mlockall */
extern const struct check checks_first[];   /* each entry point as the first call */
extern const struct check checks_dynamic[]; /* dlopen */
extern const struct check checks_info[];    /* mallinfo and its like, __libc_ names */
extern const struct check checks_cxx[];

#ifdef __cplusplus
}
#endif

#endif
