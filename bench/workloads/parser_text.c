/* workloads/parser_text.c: writes the source that the parser load compiles: functions of a small language.
 *
 * Owns        the text, in one block.
 * Invariants  what it writes parses; the same seed writes the same text.
 * Sync        none
 * Source      none
 */
#include "parser_text.h"

#include "rand.h"
#include "stamp.h"

#include <stdarg.h>
#include <stdio.h>

enum { TEXT_NAMES = 300, TEXT_STATEMENTS = 10, TEXT_DEPTH = 4 };

struct writer {
    char *text;
    size_t used;
    size_t room;
    struct ouroi_rand rand;
};

__attribute__((format(printf, 2, 3))) static void writer_print(struct writer *out, const char *format, ...)
{
    if (out->room - out->used < 128) {
        out->room = out->room == 0 ? 4096 : 2 * out->room;
        out->text = ouroi_must(realloc(out->text, out->room));
    }
    va_list args;
    va_start(args, format);
    out->used += (size_t)vsnprintf(out->text + out->used, out->room - out->used, format, args);
    va_end(args);
}

static void writer_name(struct writer *out)
{
    static const char *const stems[] = {
        "i", "count", "buffer_length", "node", "parent_index", "tmp", "request_header_value", "x"
    };
    uint32_t n = ouroi_rand_below(&out->rand, TEXT_NAMES);
    writer_print(out, "%s_%u", stems[n % 8], (unsigned)n);
}

static void writer_expression(struct writer *out, unsigned depth)
{
    static const char operators[] = "+-*<";
    uint32_t kind = ouroi_rand_below(&out->rand, depth > 0 ? 8 : 4);
    if (kind < 2)
        writer_name(out);
    else if (kind == 2)
        writer_print(out, "%u", (unsigned)ouroi_rand_below(&out->rand, 5000));
    else if (kind == 3)
        writer_print(out, "\"message %u of this function\"", (unsigned)ouroi_rand_below(&out->rand, 1000));
    else if (kind == 4) {
        writer_name(out);
        writer_print(out, "(");
        for (uint32_t args = ouroi_rand_below(&out->rand, 5); args > 0; args--) {
            writer_expression(out, depth - 1);
            writer_print(out, args > 1 ? ", " : "");
        }
        writer_print(out, ")");
    } else {
        writer_print(out, "(");
        writer_expression(out, depth - 1);
        writer_print(out, " %c ", operators[ouroi_rand_below(&out->rand, 4)]);
        writer_expression(out, depth - 1);
        writer_print(out, ")");
    }
}

static void writer_block(struct writer *out, unsigned depth)
{
    writer_print(out, "{\n");
    for (uint32_t n = 2 + ouroi_rand_below(&out->rand, TEXT_STATEMENTS); n > 0; n--) {
        if (depth > 0 && ouroi_rand_below(&out->rand, 6) == 0) {
            writer_print(out, "if ");
            writer_expression(out, 1);
            writer_print(out, " ");
            writer_block(out, depth - 1);
            continue;
        }
        writer_print(out, "let ");
        writer_name(out);
        writer_print(out, " = ");
        writer_expression(out, TEXT_DEPTH);
        writer_print(out, ";\n");
    }
    writer_print(out, "}\n");
}

char *ouroi_parser_text_new(uint64_t seed, unsigned functions)
{
    struct writer out = { .rand = ouroi_rand_seed(seed) };
    for (unsigned i = 0; i < functions; i++) {
        writer_print(&out, "fn f_%u(", i);
        for (uint32_t args = ouroi_rand_below(&out.rand, 5); args > 0; args--) {
            writer_name(&out);
            writer_print(&out, args > 1 ? ", " : "");
        }
        writer_print(&out, ") ");
        writer_block(&out, 2);
    }
    return out.text;
}
