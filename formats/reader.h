/* formats/reader.h - what the readers of model files share while a catalog is
 * being built. Private to formats/. */
#ifndef GK_FORMATS_READER_H
#define GK_FORMATS_READER_H

#include "formats/catalog.h"

/* What a person pointed at, looked at once for all sniffers. An archive is a directory
 * whose files are members; a packed file is the file that is in it, the one member. */
typedef struct gk_source {
    const char  *path;  /* links resolved down to files and folders that exist */
    const char  *index; /* the *.index.json that was named, or NULL            */
    bool         is_dir;
    const char **name; /* directory: its entries, byte-sorted                 */
    uint64_t     n_names;
    const gk_file *const *member; /* archive: what name[i] is; NULL: on disk  */
} gk_source;

/* Looks at path: a file, a directory, a Hugging Face cache repository (which leads on to
 * its snapshot), an index (its directory). */
bool gk_source_look(gk_arena *a, const char *path, gk_source *s, gk_err *err);

/* Returns whether the directory has a regular file of that name. */
bool gk_source_has(gk_arena *a, const gk_source *s, const char *name);

/* Opens a file of the directory, or the file itself when s is one. */
gk_file *gk_source_file(gk_arena *a, const gk_source *s, const char *name, gk_err *err);

/* Returns the parsed file of the directory; NULL and *err with its name. */
gk_json *gk_source_json(gk_arena *a, const gk_source *s, const char *name, gk_err *err);

/* A format that can be read: one row of the table in formats/format.c. */
typedef struct gk_reader {
    const char *name;
    bool (*sniff)(const gk_source *s);
    /* Fills c->input, c->stored and, through gk_catalog_set(), the tensors. */
    bool (*open)(gk_catalog *c, const gk_source *s, gk_err *err);
} gk_reader;

extern const gk_reader gk_reader_release, gk_reader_gguf, gk_reader_hf, gk_reader_safetensors;
extern const gk_reader gk_reader_torch, gk_reader_grok1, gk_reader_pickle, gk_reader_flax;

/* Returns whether name is a file of a Grok-1 checkpoint ("tensor00012_000"). */
bool gk_grok1_is_leaf(const char *name);

/* Reads the first n bytes of the file that s is. False: s is a directory, or the file has
 * fewer or cannot be read. */
bool gk_source_head(const gk_source *s, unsigned char *buf, uint64_t n);

/* Appends an entry to c->stored; *s is copied, its strings are not. False: NOMEM,
 * or LIMIT past GK_MAX_TENSORS. May move c->stored: point into it only after the
 * last file was read. */
bool gk_stored_add(gk_catalog *c, const gk_stored *s, gk_err *err);

/* Returns a hash of a name, for tables that notice the second; only speed depends on it. */
uint64_t gk_name_hash(const char *name);

/* Orders numbers of entries (uint32_t, into stored) by offset, then by size; for qsort_r. */
int gk_stored_by_offset(const void *a, const void *b, void *stored);

/* Opens the file of s called name as the next weight file of c and has its header read
 * (which adds entries, or nothing). What is wrong with the file becomes a malformed
 * finding; false only for NOMEM. c->input must have room. */
bool gk_input_load(gk_catalog *c, const gk_source *s, const char *name, int rank,
                   bool (*read)(gk_catalog *c, uint64_t input, gk_err *err), gk_err *err);

/* Reads the header of a safetensors file and adds its entries. False and FORMAT,
 * LIMIT, IO or NOMEM with file, tensor and byte offset; c->stored is then as
 * before. */
bool gk_safetensors_read(gk_catalog *c, uint64_t input, gk_err *err);

/* The same of a GGUF file, UNSUPPORTED too; leaves its keys in c->gguf. */
bool gk_gguf_read(gk_catalog *c, uint64_t input, gk_err *err);

/* Makes tensors under their Hugging Face names of all entries of c->stored, and a config
 * of the keys in c->gguf (NULL: no file could be read). What does not fit becomes
 * findings; false for NOMEM, LIMIT, or FORMAT for a name that stands twice. */
bool gk_gguf_adopt(gk_catalog *c, gk_err *err);

/* Makes c->config of the keys: those of a Hugging Face config.json. Nothing for an
 * architecture that is not known. False: NOMEM. */
bool gk_gguf_config(gk_catalog *c, gk_err *err);

/* Makes t the tensor that is exactly the entry s. */
void gk_tensor_from_stored(gk_tensor *t, const gk_stored *s);

/* Makes c->config of the sizes of a Grok-1 checkpoint, unless the directory has one that
 * says the same; adds the tokenizer beside the checkpoint to the extras. */
typedef struct gk_grok1_sizes {
    uint64_t vocab, hidden, experts, width, keys, queries, layers;
} gk_grok1_sizes;
bool gk_grok1_describe(gk_catalog *c, const gk_source *s, const gk_grok1_sizes *sizes, gk_err *err);

/* Gives the tensors of a Grok-1 that others converted the names that engines read, and says so
 * in a note. Nothing where the config is of another model. False: FORMAT for a name that
 * then stands twice, NOMEM. */
bool gk_grok1_rename(gk_catalog *c, gk_err *err);

/* An array of plain elements that lie stride[] elements apart from byte off on; dims as in
 * a tensor. */
typedef struct gk_view {
    const gk_stored *stored;
    gk_dtype         dtype;
    int              ndim;
    const uint64_t  *dim, *stride;
    uint64_t         off;
} gk_view;

/* Makes *part the matrix (all dims but the last folded) that v shows. All its elements must
 * lie in the file, and their count be below 2^64. False: NOMEM, or LIMIT past 65,536 pieces. */
bool gk_part_view(gk_arena *a, const gk_view *v, gk_role role, gk_part *part, gk_err *err);

/* Returns whether the elements lie row-major without gaps, as those of a stored entry. */
bool gk_view_is_whole(const gk_view *v);

/* Takes a "-TP-003.safetensors" or "-TP-common.safetensors" file name apart: the
 * rank (-1: common). False when it is no such name. */
bool gk_release_rank(const char *name, int *rank);

/* Reads the directory's index only to say what is wrong with its file names. */
bool gk_index_examine(gk_catalog *c, const gk_source *s, gk_err *err);

/* Returns the distinct files that an index's weight map names, sorted, in the catalog's
 * arena, *n of them; a finding for each that is no plain file name. NULL and NOMEM. */
const char **gk_index_files(gk_catalog *c, const char *index, const gk_json *map, uint64_t *n,
                            gk_err *err);

/* Makes every entry of c->stored a tensor; of a name that stands twice the first
 * is kept and a finding says so. */
bool gk_tensors_from_all(gk_catalog *c, gk_err *err);

#endif
