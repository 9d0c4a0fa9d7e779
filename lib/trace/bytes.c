/* trace/bytes.c: bytes in memory that grow at the end, and numbers in them as LEB128: seven bits a byte, lowest first.
 *
 * Sync        none.
 */
#include "trace/snapshot_internal.h"

#include <errno.h>
#include <string.h>

void ouroi_bytes_put(struct ouroi_bytes *bytes, const void *from, size_t count)
{
    if (bytes->error != 0 || (bytes->error = ouroi_array_reserve(&bytes->array, count, 1)) != 0)
        return;
    memcpy((uint8_t *)bytes->array.items + bytes->array.count, from, count);
    bytes->array.count += count;
}

void ouroi_bytes_number(struct ouroi_bytes *bytes, uint64_t value)
{
    if (bytes->error != 0 || (bytes->error = ouroi_array_reserve(&bytes->array, 10, 1)) != 0)
        return;
    uint8_t *at = (uint8_t *)bytes->array.items + bytes->array.count;
    size_t used = 0;
    for (; value >= 128; value >>= 7)
        at[used++] = (uint8_t)(value | 128);
    at[used++] = (uint8_t)value;
    bytes->array.count += used;
}

void ouroi_bytes_free(struct ouroi_bytes *bytes)
{
    ouroi_array_free(&bytes->array);
}
