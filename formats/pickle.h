/* formats/pickle.h - Python pickles as data: a closed set of opcodes that builds inert nodes.
 *
 * A pickle is a program for a machine that may import and call anything. Here that machine
 * is not built: a global is a pair of names, a call is a node that holds what would be
 * called and with what, and nothing is ever looked up, imported or run. Payloads are not
 * copied; a node says where they lie in the file.
 *
 * Opcodes: CPython Lib/pickletools.py. Which of them are taken: those that numpy and JAX
 * arrays need in protocols 2 to 5, and exactly those of PyTorch's own restricted reader
 * (pytorch/pytorch torch/_weights_only_unpickler.py @00f730b). Any other is refused. */
#ifndef GK_FORMATS_PICKLE_H
#define GK_FORMATS_PICKLE_H

#include "formats/catalog.h"

#define GK_MAX_PICKLE_NODES 4000000u /* objects and memo entries of one pickle      */
#define GK_MAX_PICKLE_TEXT  65536u   /* bytes; of a longer text only the place is kept */
#define GK_MAX_PICKLE_NAME  255      /* bytes of a module or of a name in it        */

typedef enum gk_pickle_kind {
    GK_PICKLE_NONE,
    GK_PICKLE_BOOL,
    GK_PICKLE_INT,
    GK_PICKLE_LONG, /* an integer past 64 bits; its value is not kept */
    GK_PICKLE_REAL,
    GK_PICKLE_TEXT,
    GK_PICKLE_BYTES,
    GK_PICKLE_TUPLE,
    GK_PICKLE_LIST,
    GK_PICKLE_DICT, /* items are key, value, key, value ...           */
    GK_PICKLE_SET,
    GK_PICKLE_GLOBAL,
    GK_PICKLE_CALL, /* may have items too, as an OrderedDict has      */
    GK_PICKLE_PERSISTENT,
} gk_pickle_kind;

typedef struct gk_pickled gk_pickled;

/* Items in the order in which they came; a list that grows has several runs. */
typedef struct gk_pickle_run {
    const gk_pickled **item;
    uint64_t n;
    struct gk_pickle_run *next;
} gk_pickle_run;

/* A node. It lives in the arena it was read into; nodes may form cycles. */
struct gk_pickled {
    union {
        int64_t integer; /* INT; BOOL: 0 or 1 */
        double real;
        struct {
            uint64_t off, len; /* TEXT, BYTES: where they lie in the file   */
            const char *text;  /* TEXT: NUL-terminated, NULL when too long  */
        };
        struct {
            const char *module, *name; /* GLOBAL, printable ASCII              */
        };
        struct {
            const gk_pickled *callable, *args, *state; /* CALL; state: of BUILD, or NULL */
        };
        const gk_pickled *id; /* PERSISTENT */
    };
    gk_pickle_run *first, *last;
    uint64_t n_items;
    uint64_t at; /* offset of its opcode in the file */
    uint8_t kind;
    bool flag; /* GLOBAL: known; CALL: by NEWOBJ   */
};

/* A global that is understood. A module that ends in '*' stands for all that begin so. */
typedef struct gk_pickle_global {
    const char *module, *name;
} gk_pickle_global;

typedef enum gk_pickle_dialect {
    GK_PICKLE_NUMPY = 1,
    GK_PICKLE_TORCH = 2,
} gk_pickle_dialect;

typedef struct gk_pickle_input {
    const gk_file *file;
    uint64_t begin, end; /* of the pickle in the file              */
    gk_pickle_dialect dialect;
    const gk_pickle_global *known; /* ends with module NULL                  */
    gk_findings *findings;         /* get a warning for each unknown global  */
} gk_pickle_input;

/* Returns the object that the pickle holds, in a. NULL and *err with file and offset:
 * FORMAT for what is malformed, for an opcode outside the set, for anything after STOP;
 * LIMIT; IO; NOMEM. */
const gk_pickled *gk_pickle_read(gk_arena *a, const gk_pickle_input *in, gk_err *err);

/* Walks the items of a node: start with {0}. False at the end. */
typedef struct gk_pickle_iter {
    const gk_pickle_run *run;
    uint64_t i;
    bool begun;
} gk_pickle_iter;
bool gk_pickle_next(const gk_pickled *node, gk_pickle_iter *it, const gk_pickled **item);

/* Returns item i of a tuple, or NULL: no tuple, or fewer. */
const gk_pickled *gk_pickle_item(const gk_pickled *tuple, uint64_t i);

/* Returns the value of a text key in a dict, the last if it stands twice; or NULL. */
const gk_pickled *gk_pickle_get(const gk_pickled *dict, const char *key);

/* Returns whether node is that global (module as in gk_pickle_global), or a call of it. */
bool gk_pickle_is_global(const gk_pickled *node, const char *module, const char *name);
bool gk_pickle_is_call(const gk_pickled *node, const char *module, const char *name);

/* Returns true and the value of an integer >= 0. */
bool gk_pickle_as_uint(const gk_pickled *node, uint64_t *out);

/* Writes what the node is, for messages: "a list", "a call of posix.system". */
#define GK_PICKLE_SAYS 600
void gk_pickle_say(const gk_pickled *node, char out[GK_PICKLE_SAYS]);

/* ---- arrays, formats/pickle_array.c ---------------------------------------------- */

/* An array as numpy or JAX pickles it: where its bytes lie. */
typedef struct gk_pickled_array {
    gk_dtype dtype;
    int ndim;
    uint64_t dim[GK_MAX_DIMS];
    uint64_t stride[GK_MAX_DIMS]; /* elements; column-major ones are legal */
    uint64_t off, bytes;          /* in the file                           */
    uint64_t text_bytes;          /* held as text of so many (protocol 2), else 0 */
} gk_pickled_array;

/* What numpy, JAX and Grok-1 name in their pickles. */
extern const gk_pickle_global gk_pickle_array_globals[];

/* Reads a node as an array. False and *err: FORMAT, or UNSUPPORTED for a dtype that cannot
 * be held. */
bool gk_pickled_array_of(const gk_pickled *node, gk_pickled_array *out, gk_err *err);

/* Returns whether node is a QuantizedWeight8bit; its two fields, which may be NULL. */
bool gk_pickled_quantized(const gk_pickled *node, const gk_pickled **weight,
                          const gk_pickled **scales);

#endif
