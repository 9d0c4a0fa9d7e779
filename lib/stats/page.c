/* stats/page.c: see struct ouroi_page.
 *
 * Sync        written by constructors, before the program's own; magic last.
 */
#include <ouro/version.h>

#include "stats/internal.h"

#include <string.h>

struct ouroi_page ouroi_page;

/* The note. Its section is loaded, survives strip, and is kept by linkers that drop what nobody refers to. */
#if UINTPTR_MAX == UINT64_MAX
__asm__(".pushsection .note.ouroboros, \"a\", %note\n"
        "    .balign 4\n"
        "    .long 2f - 1f, 4f - 3f, 1\n" /* OUROI_NOTE_PAGE */
        "1:  .asciz \"Ouroboros\"\n"      /* OUROI_NOTE_OWNER */
        "2:  .balign 4\n"
        "3:  .quad ouroi_page - 3b\n"
        "4:  .balign 4\n"
        "    .popsection");
#else
#error "the note is written for addresses of 64 bits"
#endif

__attribute__((constructor(102))) static void describe(void)
{
    struct ouroi_page *page = &ouroi_page;
    if (ouroi_heap_start() != 0)
        return;
    page->version = OUROI_PAGE_VERSION;
    page->bytes = sizeof *page;
    memcpy(page->lib, OUROI_LIBRARY, sizeof OUROI_LIBRARY);
    memcpy(page->lib_version, OURO_VERSION_STRING, sizeof OURO_VERSION_STRING);
    ouroi_arena_describe(&page->arena);
    ouroi_pool_describe(&page->pool);
    ouroi_heap_describe(&page->heap);
    /* relaxed: who reads it is another process, and looks again */
    ouroi_atomic_store_relaxed(&page->magic, OUROI_PAGE_MAGIC);
}
