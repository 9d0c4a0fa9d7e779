/* preload/tables_c.c: the program without C++. */
#include "tables.h"

#ifdef BATTERY_NO_DLOPEN
const struct check *const check_tables[] = { checks_sizes,   checks_content, checks_memory,
                                             checks_threads, checks_process, checks_limits,
                                             checks_first,   checks_info,    NULL };
#else
const struct check *const check_tables[] = {
    checks_sizes,  checks_content, checks_memory,  checks_threads, checks_process,
    checks_limits, checks_first,   checks_dynamic, checks_info,    NULL
};
#endif
