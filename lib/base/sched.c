/* base/sched.c: the scheduling point of the `sched` build: nothing, unless a test's scheduler takes its place. */
#include "base/base.h"

#if OURO_SCHED
__attribute__((weak)) void ouroi_sched_point(void)
{
}
#else
typedef int ouroi_no_scheduler;
#endif
