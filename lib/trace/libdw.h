/* trace/libdw.h: elfutils' libdw, opened when names are first asked for: docs/decisions says why it is not linked. */
#ifndef OUROI_TRACE_LIBDW_H
#define OUROI_TRACE_LIBDW_H

#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>

/* What is used of it; each becomes a member of struct ouroi_libdw. */
#define OUROI_LIBDW_FUNCTIONS(one)     \
    one(dwfl_begin);                   \
    one(dwfl_end);                     \
    one(dwfl_report_elf);              \
    one(dwfl_report_end);              \
    one(dwfl_module_getdwarf);         \
    one(dwfl_module_getsymtab);        \
    one(dwfl_module_getsym_info);      \
    one(dwfl_module_build_id);         \
    one(dwfl_standard_find_debuginfo); \
    one(dwarf_get_units);              \
    one(dwarf_ranges);                 \
    one(dwarf_child);                  \
    one(dwarf_siblingof);              \
    one(dwarf_tag);                    \
    one(dwarf_haspc);                  \
    one(dwarf_attr);                   \
    one(dwarf_attr_integrate);         \
    one(dwarf_formstring);             \
    one(dwarf_formudata);              \
    one(dwarf_getsrc_die);             \
    one(dwarf_getsrcfiles);            \
    one(dwarf_filesrc);                \
    one(dwarf_linesrc);                \
    one(dwarf_lineno)

struct ouroi_libdw {
#define OUROI_MEMBER(name) __typeof__(&name) name
    OUROI_LIBDW_FUNCTIONS(OUROI_MEMBER);
#undef OUROI_MEMBER
    char *(*demangle)(const char *name, char *buffer, size_t *size, int *status); /* NULL: no C++ in reach */
};

/* NULL where it is not installed, or the program is linked statically. */
const struct ouroi_libdw *ouroi_libdw_get(void);

/* Opens a library. NULL: not there, or a program that is linked statically. */
void *ouroi_libdw_open(const char *name);
/* A function of it, or NULL. */
void *ouroi_libdw_function(void *library, const char *name);

#endif
