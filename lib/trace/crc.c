/* trace/crc.c: CRC-32 as gzip has it (ISO 3309), eight bytes at a time (Kounavis, Berry 2005: slicing by eight).
 *
 * Sync        pthread_once makes the tables.
 */
#include "trace/snapshot_internal.h"

#include <pthread.h>
#include <string.h>

static uint32_t tables[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
        tables[0][byte] = crc;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        for (unsigned i = 1; i < 8; i++)
            tables[i][byte] = (tables[i - 1][byte] >> 8) ^ tables[0][tables[i - 1][byte] & 255];
    }
}

uint32_t ouroi_crc(uint32_t crc, const void *bytes, size_t count)
{
    const uint8_t *at = bytes;
    pthread_once(&once, make_tables);
    crc = ~crc;
    for (; count >= 8; at += 8, count -= 8) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
        crc = tables[7][low & 255] ^ tables[6][(low >> 8) & 255] ^ tables[5][(low >> 16) & 255] ^ tables[4][low >> 24] ^
              tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^ tables[0][at[7]];
    }
    for (; count > 0; at++, count--)
        crc = (crc >> 8) ^ tables[0][(crc ^ *at) & 255];
    return ~crc;
}
