/* tool/other_version.c: a program with a page as a library of another version has it, for `ouro top` to refuse. */
#include <ouro/version.h>

#include "stats/stats.h"

#include <stdio.h>
#include <unistd.h>

struct ouroi_page ouroi_page = { .magic = OUROI_PAGE_MAGIC,
                                 .version = OUROI_PAGE_VERSION + 1,
                                 .bytes = sizeof(struct ouroi_page),
                                 .lib = "libouro",
                                 .lib_version = "99.1.2" };
__asm__(".pushsection .note.ouroboros, \"a\", %note\n"
        "    .balign 4\n"
        "    .long 2f - 1f, 4f - 3f, 1\n"
        "1:  .asciz \"Ouroboros\"\n"
        "2:  .balign 4\n"
        "3:  .quad ouroi_page - 3b\n"
        "4:  .balign 4\n"
        "    .popsection");

int main(void)
{
    char byte;
    puts("ready");
    fflush(stdout);
    return read(STDIN_FILENO, &byte, 1) < 0;
}
