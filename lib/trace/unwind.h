/* trace/unwind.h: who called malloc.
 *
 * Sync        any thread, in signal handlers too: no lock, no memory, nothing that can fault.
 */
#ifndef OUROI_TRACE_UNWIND_H
#define OUROI_TRACE_UNWIND_H

#include "base/base.h"

/* Where a frame's caller is to be found, out of the call frame information of one instruction. CFA is the value of the stack
 * pointer before the call. */
enum ouroi_cfi_kind {
    OUROI_CFI_NONE,   /* no information: the frame pointer may help */
    OUROI_CFI_SP,     /* CFA = sp + cfa_offset */
    OUROI_CFI_FP,     /* CFA = fp + cfa_offset */
    OUROI_CFI_FP_AT,  /* CFA = *(fp + cfa_offset), where a function aligned its stack */
    OUROI_CFI_SIGNAL, /* a signal's frame: the interrupted registers are on the stack */
    OUROI_CFI_END,    /* the outermost frame */
};
struct ouroi_cfi {
    uint8_t kind;
    bool fp_saved;                /* at CFA + fp_offset */
    bool ra_saved;                /* at CFA + ra_offset; else where the call left it */
    int32_t cfa_offset;           /* in bytes; 28 bits */
    int32_t fp_offset, ra_offset; /* 16 bits */
};

/* cfi.c: reads .eh_frame for the instruction at `pc`. */
struct ouroi_cfi ouroi_cfi_find(uintptr_t pc);

/* unwind.c. Writes up to `max` return addresses less one, innermost first, those of the library left out at the inner end;
 * how many. *hash: of them. */
size_t ouroi_unwind(void **frames, size_t max, uint64_t *hash);
/* Before the first: finds out what that needs. Forgets what was known of code that may be gone. */
void ouroi_unwind_prepare(void);

#endif
