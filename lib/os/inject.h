/* os/inject.h: requests for memory that fail on purpose. */
#ifndef OUROI_INJECT_H
#define OUROI_INJECT_H

#include <stdint.h>

/* Makes the requests numbered first to last, counted from 1 at this call, fail. first 0: none. */
void ouroi_os_inject(uint64_t first, uint64_t last);

/* Requests since then. */
uint64_t ouroi_os_inject_requests(void);

/* As OURO_FAIL_NTH says; debug builds only. */
void ouroi_os_inject_from_environment(void);

#endif
