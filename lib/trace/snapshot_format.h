/* trace/snapshot_format.h: the fixed parts of a dump: see docs/formats.md. */
#ifndef OUROI_TRACE_SNAPSHOT_FORMAT_H
#define OUROI_TRACE_SNAPSHOT_FORMAT_H

#include "trace/snapshot_internal.h"

#define OUROI_SNAPSHOT_MAGIC "OUROSNAP"

enum {
    OUROI_SNAPSHOT_VERSION = 1,
    /* The header: magic, then little-endian words. */
    OUROI_HEADER_VERSION = 8,     /* 4 bytes */
    OUROI_HEADER_SIZE = 12,       /* 4 */
    OUROI_HEADER_FILE_BYTES = 16, /* 8 */
    OUROI_HEADER_CRC = 24,        /* 4, of the file with these 4 as zero */
    OUROI_HEADER_BYTES = 32,
    /* Before each section: a tag of 4 letters, 4 of zero, 8 of its length. */
    OUROI_SECTION_BYTES = 16,
};

#endif
