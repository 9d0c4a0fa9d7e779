/* preload/hello.c: what the smallest program costs. Prints its resident size in bytes, and its threads. */
#include "check.h"

#include <stdio.h>

int main(void)
{
    printf("hello, world\n");
    printf("%zu %zu\n", rss_bytes(), status_number("Threads"));
    return 0;
}
