/* unit/trace/known.h: see known.c. */
#ifndef KNOWN_H
#define KNOWN_H

/* Which function a line is in. */
enum { KNOWN_DEEPEST, KNOWN_INLINED, KNOWN_INNER, KNOWN_MIDDLE, KNOWN_OUTER, KNOWN_LINES };
/* frames[0] is in known_deepest, inlined into known_inlined, inlined into known::inner(int); [1] in known_middle, which is
 * static; [2] in known_run. */
enum { KNOWN_FRAMES = 3 };

struct known {
    const void *frames[KNOWN_FRAMES];
    unsigned lines[KNOWN_LINES];
};

const struct known *known_run(void);

#endif
