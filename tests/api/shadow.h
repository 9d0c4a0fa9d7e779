/* api/shadow.h: what a heap must not do, watched from outside of it: hand out bytes twice, change what was written.
 *
 * Claimed memory is kept as a bitmap, one bit for 16 bytes, over the whole address space; nothing of it lives in the
 * heap that is watched. Any thread may call anything. A violation prints one line and aborts.
 */
#ifndef SHADOW_H
#define SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A living block, as the test knows it. The content follows from the seed. */
struct shadow_block {
    unsigned char *ptr;
    size_t size; /* as asked for */
    uint64_t seed;
};

/* The block was just handed out: its bytes become its own, and get their content. An empty block owns 16 bytes, too. */
void shadow_claim(struct shadow_block *block, void *ptr, size_t size, uint64_t seed);

/* All content is as written. Blocks over 64 KiB: at both ends and at some pages between. */
void shadow_verify(const struct shadow_block *block);

/* Verified, and about to be given back: its bytes are nobody's. */
void shadow_release(struct shadow_block *block);

/* The block has been resized to `ptr`, `size`; the first `kept` bytes are what they were. The old bytes must have been
 * released before the call that resized, by shadow_release_bytes. */
void shadow_check_kept(const struct shadow_block *block, const void *ptr, size_t kept);
void shadow_release_bytes(const struct shadow_block *block);
void shadow_claim_bytes(const struct shadow_block *block); /* undo, where the resize failed */

bool shadow_is_zero(const void *ptr, size_t size);

/* A generator: the state is the caller's. */
uint64_t shadow_random(uint64_t *state);
/* Sizes as programs ask for: most small, few large, below `max`. */
size_t shadow_random_size(uint64_t *state, size_t max);

void shadow_fail(const char *what, const void *ptr, size_t size) __attribute__((noreturn));

#endif
