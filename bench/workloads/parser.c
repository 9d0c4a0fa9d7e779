/* workloads/parser.c: a compiler's front end on one thread: names, scopes, trees, folding, code; then all of it is freed.
 *
 * Owns        a few compiled modules at a time; a module owns its symbols, its chunks of strings, its functions' trees and code.
 * Invariants  the same text compiles to the same code, whose hash is checked at every turn.
 * Sync        none
 * Source      none
 */
#include "loads.h"
#include "parser_text.h"
#include "rand.h"
#include "stamp.h"

#include <stdbool.h>

enum {
    PARSER_FUNCTIONS = 40,
    PARSER_MODULES = 6,
    PARSER_TEXTS = 4,
    PARSER_CHUNK_BYTES = 4096,
    PARSER_SCOPE_BUCKETS = 16
};

enum node_kind { NODE_NUMBER, NODE_NAME, NODE_STRING, NODE_CALL, NODE_BINARY, NODE_LET, NODE_IF, NODE_BLOCK };

struct symbol {
    struct symbol *chain;
    uint64_t hash;
    unsigned id;
    unsigned length;
    char name[];
};

struct node {
    enum node_kind kind;
    unsigned kid_count;
    unsigned kid_room;
    char op;
    struct node **kids;
    long number;
    const struct symbol *symbol;
    const char *string;
};

struct binding {
    struct binding *chain;
    const struct symbol *symbol;
    unsigned slot;
};

struct scope {
    struct scope *parent;
    struct binding **buckets;
    unsigned bound;
};

struct chunk {
    struct chunk *next;
    size_t used;
    char bytes[PARSER_CHUNK_BYTES];
};

struct function {
    struct function *next;
    struct node *body;
    unsigned char *code;
    size_t code_used;
    size_t code_room;
};

struct module {
    struct symbol **buckets;
    size_t bucket_count;
    size_t symbol_count;
    struct chunk *chunks;
    struct function *functions;
    struct scope *scope;
    const char *at;
    uint64_t hash;
};

static void module_grow(struct module *module)
{
    size_t count = module->bucket_count == 0 ? 32 : 2 * module->bucket_count;
    struct symbol **buckets = ouroi_must(calloc(count, sizeof(struct symbol *)));
    for (size_t i = 0; i < module->bucket_count; i++)
        for (struct symbol *s = module->buckets[i], *next; s != NULL; s = next) {
            next = s->chain;
            s->chain = buckets[s->hash % count];
            buckets[s->hash % count] = s;
        }
    free(module->buckets);
    module->buckets = buckets;
    module->bucket_count = count;
}

static const struct symbol *module_intern(struct module *module, const char *name, unsigned length)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (unsigned i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)name[i]) * UINT64_C(0x100000001b3);
    if (module->symbol_count * 2 >= module->bucket_count)
        module_grow(module);
    struct symbol **bucket = &module->buckets[hash % module->bucket_count];
    for (struct symbol *s = *bucket; s != NULL; s = s->chain)
        if (s->hash == hash && s->length == length && memcmp(s->name, name, length) == 0)
            return s;
    struct symbol *symbol = ouroi_must(malloc(sizeof *symbol + length + 1));
    symbol->chain = *bucket;
    symbol->hash = hash;
    symbol->id = (unsigned)module->symbol_count++;
    symbol->length = length;
    memcpy(symbol->name, name, length);
    symbol->name[length] = '\0';
    *bucket = symbol;
    return symbol;
}

static const char *module_string(struct module *module, const char *text, size_t length)
{
    struct chunk *chunk = module->chunks;
    if (chunk == NULL || PARSER_CHUNK_BYTES - chunk->used < length + 1) {
        chunk = ouroi_must(malloc(sizeof *chunk));
        chunk->next = module->chunks;
        chunk->used = 0;
        module->chunks = chunk;
    }
    char *copy = chunk->bytes + chunk->used;
    memcpy(copy, text, length);
    copy[length] = '\0';
    chunk->used += length + 1;
    return copy;
}

static struct node *node_new(enum node_kind kind)
{
    struct node *node = ouroi_must(calloc(1, sizeof *node));
    node->kind = kind;
    return node;
}

static void node_add(struct node *node, struct node *kid)
{
    if (node->kid_count == node->kid_room) {
        node->kid_room = node->kid_room == 0 ? 2 : 2 * node->kid_room;
        node->kids = ouroi_must(realloc(node->kids, node->kid_room * sizeof(struct node *)));
    }
    node->kids[node->kid_count++] = kid;
}

static void node_free(struct node *node)
{
    for (unsigned i = 0; i < node->kid_count; i++)
        node_free(node->kids[i]);
    free(node->kids);
    free(node);
}

static void scope_push(struct module *module)
{
    struct scope *scope = ouroi_must(malloc(sizeof *scope));
    scope->parent = module->scope;
    scope->bound = module->scope != NULL ? module->scope->bound : 0;
    scope->buckets = ouroi_must(calloc(PARSER_SCOPE_BUCKETS, sizeof(struct binding *)));
    module->scope = scope;
}

static void scope_pop(struct module *module)
{
    struct scope *scope = module->scope;
    for (size_t i = 0; i < PARSER_SCOPE_BUCKETS; i++)
        for (struct binding *b = scope->buckets[i], *next; b != NULL; b = next) {
            next = b->chain;
            free(b);
        }
    module->scope = scope->parent;
    free(scope->buckets);
    free(scope);
}

static void scope_bind(struct scope *scope, const struct symbol *symbol)
{
    struct binding *binding = ouroi_must(malloc(sizeof *binding));
    struct binding **bucket = &scope->buckets[symbol->id % PARSER_SCOPE_BUCKETS];
    *binding = (struct binding){ .chain = *bucket, .symbol = symbol, .slot = scope->bound++ };
    *bucket = binding;
}

static unsigned scope_find(const struct scope *scope, const struct symbol *symbol)
{
    for (; scope != NULL; scope = scope->parent)
        for (const struct binding *b = scope->buckets[symbol->id % PARSER_SCOPE_BUCKETS]; b != NULL; b = b->chain)
            if (b->symbol == symbol)
                return b->slot;
    return 0;
}

static bool letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

static void skip(struct module *module)
{
    while (*module->at == ' ' || *module->at == '\n')
        module->at++;
}

static bool accept(struct module *module, char c)
{
    skip(module);
    if (*module->at != c)
        return false;
    module->at++;
    return true;
}

static void expect(struct module *module, char c)
{
    if (!accept(module, c))
        ouroi_bench_die("the parser expected '%c' and saw '%c'", c, *module->at);
}

static const struct symbol *parse_name(struct module *module)
{
    skip(module);
    const char *start = module->at;
    while (letter(*module->at))
        module->at++;
    return module_intern(module, start, (unsigned)(module->at - start));
}

static bool accept_word(struct module *module, const char *word)
{
    skip(module);
    size_t length = strlen(word);
    if (strncmp(module->at, word, length) != 0 || letter(module->at[length]))
        return false;
    module->at += length;
    return true;
}

static struct node *parse_expression(struct module *module);

static struct node *parse_string(struct module *module)
{
    const char *start = module->at;
    while (*module->at != '"')
        module->at++;
    struct node *node = node_new(NODE_STRING);
    node->string = module_string(module, start, (size_t)(module->at - start));
    module->at++;
    return node;
}

static struct node *parse_term(struct module *module)
{
    if (accept(module, '"'))
        return parse_string(module);
    if (accept(module, '(')) {
        struct node *node = parse_expression(module);
        expect(module, ')');
        return node;
    }
    if (*module->at >= '0' && *module->at <= '9') {
        struct node *node = node_new(NODE_NUMBER);
        while (*module->at >= '0' && *module->at <= '9')
            node->number = 10 * node->number + (*module->at++ - '0');
        return node;
    }
    struct node *node = node_new(NODE_NAME);
    node->symbol = parse_name(module);
    if (accept(module, '(')) {
        node->kind = NODE_CALL;
        while (!accept(module, ')')) {
            node_add(node, parse_expression(module));
            accept(module, ',');
        }
    }
    return node;
}

static struct node *parse_expression(struct module *module)
{
    struct node *left = parse_term(module);
    for (skip(module); *module->at != '\0' && strchr("+-*<", *module->at) != NULL; skip(module)) {
        struct node *node = node_new(NODE_BINARY);
        node->op = *module->at++;
        node_add(node, left);
        node_add(node, parse_term(module));
        left = node;
    }
    return left;
}

static struct node *parse_block(struct module *module)
{
    struct node *block = node_new(NODE_BLOCK);
    expect(module, '{');
    while (!accept(module, '}')) {
        struct node *node;
        if (accept_word(module, "if")) {
            node = node_new(NODE_IF);
            node_add(node, parse_expression(module));
            node_add(node, parse_block(module));
        } else {
            accept_word(module, "let");
            node = node_new(NODE_LET);
            node->symbol = parse_name(module);
            expect(module, '=');
            node_add(node, parse_expression(module));
            expect(module, ';');
        }
        node_add(block, node);
    }
    return block;
}

/* Replaces operations on two numbers by a new node with the result. */
static struct node *fold(struct node *node)
{
    for (unsigned i = 0; i < node->kid_count; i++)
        node->kids[i] = fold(node->kids[i]);
    if (node->kind != NODE_BINARY || node->kids[0]->kind != NODE_NUMBER || node->kids[1]->kind != NODE_NUMBER)
        return node;
    long a = node->kids[0]->number;
    long b = node->kids[1]->number;
    struct node *result = node_new(NODE_NUMBER);
    switch (node->op) {
    case '+':
        result->number = (a + b) % 5000;
        break;
    case '-':
        result->number = a > b ? a - b : b - a;
        break;
    case '*':
        result->number = a * b % 5000;
        break;
    default:
        result->number = a < b;
        break;
    }
    node_free(node);
    return result;
}

static void emit(struct function *function, unsigned opcode, unsigned operand)
{
    if (function->code_room - function->code_used < 4) {
        function->code_room = function->code_room == 0 ? 64 : 2 * function->code_room;
        function->code = ouroi_must(realloc(function->code, function->code_room));
    }
    unsigned char *at = function->code + function->code_used;
    at[0] = (unsigned char)opcode;
    at[1] = (unsigned char)operand;
    at[2] = (unsigned char)(operand >> 8);
    at[3] = (unsigned char)(operand >> 16);
    function->code_used += 4;
}

static void generate(struct module *module, struct function *function, const struct node *node)
{
    if (node->kind == NODE_BLOCK)
        scope_push(module);
    for (unsigned i = 0; i < node->kid_count; i++)
        generate(module, function, node->kids[i]);
    switch (node->kind) {
    case NODE_NUMBER:
        emit(function, NODE_NUMBER, (unsigned)node->number);
        break;
    case NODE_NAME:
        emit(function, NODE_NAME, scope_find(module->scope, node->symbol));
        break;
    case NODE_STRING:
        emit(function, NODE_STRING, (unsigned)(unsigned char)node->string[8]);
        break;
    case NODE_CALL:
        emit(function, NODE_CALL, node->symbol->id);
        break;
    case NODE_BINARY:
        emit(function, NODE_BINARY, (unsigned)node->op);
        break;
    case NODE_LET:
        scope_bind(module->scope, node->symbol);
        emit(function, NODE_LET, module->scope->bound);
        break;
    case NODE_IF:
        emit(function, NODE_IF, node->kid_count);
        break;
    case NODE_BLOCK:
        scope_pop(module);
        break;
    }
}

static void module_function(struct module *module)
{
    struct function *function = ouroi_must(calloc(1, sizeof *function));
    function->next = module->functions;
    module->functions = function;
    scope_push(module);
    parse_name(module);
    expect(module, '(');
    while (!accept(module, ')')) {
        scope_bind(module->scope, parse_name(module));
        accept(module, ',');
    }
    function->body = fold(parse_block(module));
    generate(module, function, function->body);
    scope_pop(module);
    for (size_t i = 0; i < function->code_used; i += 4)
        module->hash =
            (module->hash ^ function->code[i] ^ ((uint64_t)function->code[i + 1] << 8)) * UINT64_C(0x9fb21c651e98df25);
}

static struct module *module_compile(const char *text)
{
    struct module *module = ouroi_must(calloc(1, sizeof *module));
    module->at = text;
    while (accept_word(module, "fn"))
        module_function(module);
    return module;
}

static void module_free(struct module *module)
{
    for (struct function *f = module->functions, *next; f != NULL; f = next) {
        next = f->next;
        node_free(f->body);
        free(f->code);
        free(f);
    }
    for (size_t i = 0; i < module->bucket_count; i++)
        for (struct symbol *s = module->buckets[i], *next; s != NULL; s = next) {
            next = s->chain;
            free(s);
        }
    for (struct chunk *c = module->chunks, *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
    free(module->buckets);
    free(module);
}

void ouroi_parser_run(const struct ouroi_job *job)
{
    struct module *kept[PARSER_MODULES] = { NULL };
    char *texts[PARSER_TEXTS];
    uint64_t hashes[PARSER_TEXTS] = { 0 };
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    for (unsigned i = 0; i < PARSER_TEXTS; i++)
        texts[i] = ouroi_parser_text_new(job->seed * PARSER_TEXTS + i, PARSER_FUNCTIONS);
    for (uint64_t done = 0; done < job->ops; done += PARSER_FUNCTIONS) {
        unsigned which = ouroi_rand_below(&rand, PARSER_TEXTS);
        unsigned place = ouroi_rand_below(&rand, PARSER_MODULES);
        if (kept[place] != NULL)
            module_free(kept[place]);
        kept[place] = module_compile(texts[which]);
        if (hashes[which] != 0 && hashes[which] != kept[place]->hash)
            ouroi_bench_die("text %u compiled to other code than before", which);
        hashes[which] = kept[place]->hash;
    }
    for (unsigned i = 0; i < PARSER_MODULES; i++)
        if (kept[i] != NULL)
            module_free(kept[i]);
    for (unsigned i = 0; i < PARSER_TEXTS; i++)
        free(texts[i]);
}
