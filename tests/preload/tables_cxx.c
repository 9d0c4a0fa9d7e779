/* preload/tables_cxx.c: the program of the C++ checks. */
#include "tables.h"

const struct check *const check_tables[] = { checks_cxx, NULL };
