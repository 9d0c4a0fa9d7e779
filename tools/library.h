/* tools/library.h: where this project's libraries are, and what the environment can ask of them. */
#ifndef OURO_TOOL_LIBRARY_H
#define OURO_TOOL_LIBRARY_H

/* The path of a library, to be freed: name "libouro_malloc" or "libouro", suffix ".so" or ".a". Looked for where it is
 * installed and where it is built, from the tool's own place. NULL: nowhere. */
char *library_find(const char *name, const char *suffix);
/* The places that library_find looks in, the tool's own folder before each; NULL at the end. */
extern const char *const library_places[];

/* The tool's own file, to be freed. */
char *library_tool(void);

/* The environment variables that the libraries read; name NULL at the end. */
struct library_variable {
    const char *name, *otherwise, *meaning;
};
extern const struct library_variable library_variables[];
/* The value that a variable had when the tool was started, or NULL. */
const char *library_setting(const char *name);

#endif
