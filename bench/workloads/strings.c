/* workloads/strings.c: text handling: builders that append by realloc to the exact length, splitting, copying, joining.
 *
 * Owns        a table of lines and the fields split from the line at hand.
 * Invariants  joining what was split gives the line again.
 * Sync        none
 * Source      none
 */
#include "loads.h"
#include "rand.h"
#include "stamp.h"

enum { STRINGS_LINES = 2000, STRINGS_FIELDS_MAX = 40 };

/* Appends field by field, growing to the exact length each time, as much C code does. */
static char *line_new(struct ouroi_rand *rand)
{
    char field[80];
    char *line = NULL;
    size_t used = 0;
    for (uint32_t fields = ouroi_rand_between(rand, 2, STRINGS_FIELDS_MAX - 1); fields > 0; fields--) {
        size_t length = ouroi_rand_between(rand, 1, ouroi_rand_below(rand, 8) == 0 ? 72 : 20);
        memset(field, (int)('a' + ouroi_rand_below(rand, 26)), length);
        field[length] = ',';
        line = ouroi_must(realloc(line, used + length + 2));
        memcpy(line + used, field, length + 1);
        used += length + 1;
    }
    line[used] = '\0';
    return line;
}

static unsigned line_split(const char *line, char **fields)
{
    unsigned count = 0;
    for (const char *comma; (comma = strchr(line, ',')) != NULL; line = comma + 1) {
        size_t length = (size_t)(comma - line);
        fields[count] = ouroi_must(malloc(length + 1));
        memcpy(fields[count], line, length);
        fields[count++][length] = '\0';
    }
    return count;
}

static char *fields_join(char **fields, unsigned count)
{
    size_t length = 0;
    for (unsigned i = 0; i < count; i++)
        length += strlen(fields[i]) + 1;
    char *line = ouroi_must(malloc(length + 1));
    char *at = line;
    for (unsigned i = 0; i < count; i++) {
        size_t bytes = strlen(fields[i]);
        memcpy(at, fields[i], bytes);
        at += bytes;
        *at++ = ',';
        free(fields[i]);
    }
    *at = '\0';
    return line;
}

void ouroi_strings_run(const struct ouroi_job *job)
{
    static char *lines[STRINGS_LINES];
    char *fields[STRINGS_FIELDS_MAX];
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    for (uint64_t i = 0; i < job->ops; i++) {
        char **line = &lines[ouroi_rand_below(&rand, STRINGS_LINES)];
        if (*line == NULL || ouroi_rand_below(&rand, 2) == 0) {
            free(*line);
            *line = line_new(&rand);
            continue;
        }
        unsigned count = line_split(*line, fields);
        char *joined = fields_join(fields, count);
        if (strcmp(joined, *line) != 0)
            ouroi_bench_die("a line was not the same after split and join");
        free(*line);
        *line = joined;
    }
    for (size_t i = 0; i < STRINGS_LINES; i++) {
        free(lines[i]);
        lines[i] = NULL;
    }
}
